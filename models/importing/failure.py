"""What stops an import.

ExportError
└── ImportRefused       the folder is no export of an encoder-decoder, or one that could not be served as it is meant
"""

from models.export.failure import ExportError


class ImportRefused(ExportError):
    """The folder is no export that can be imported; the message says what is wrong and how to export anew."""
