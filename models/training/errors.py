"""What refuses a training, in words for the person who started it."""


class TrainingRefused(Exception):
    """The training cannot start or go on; the message says why and what to do."""
