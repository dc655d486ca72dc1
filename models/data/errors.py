"""What goes wrong with data, in words for the person who brought it."""


class DataError(Exception):
    """The data cannot be used; the message says what was found and what was expected."""
