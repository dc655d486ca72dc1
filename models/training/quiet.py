"""Keeps what Lightning says to its own developers from those who only train."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Each is true and of no use to who trains: the reason stands beside it.
IRRELEVANT = (
    r".*does not have many workers.*",  # the data is in memory: workers would only copy it
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # between Lightning and torch
    r".*GPU available but not used.*",  # the caller said so
    r".*Checkpoint directory .* exists and is not empty.*",  # it does when a training goes on
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning's tips and the warnings above; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in IRRELEVANT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
