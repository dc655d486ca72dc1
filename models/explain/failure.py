"""What stops an explanation; each message is one line for the person at the keyboard."""

from models.export.failure import ExportError


class NothingToExplain(ExportError):
    """The model gives no attention weights."""


class FolderUnwritable(ExportError):
    """The operating system would not write what was drawn."""
