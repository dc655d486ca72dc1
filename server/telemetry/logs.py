"""Logs: one line a record, each with the id of the request that caused it.

Records carry facts in `extra`, never a request's content: ids, names, sizes and counts only. Libraries are heard from
WARNING upwards whatever the level, since some of them quote their input below that.
"""

import json
import logging
import math
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "text"]

OWN_LOGGER = "server"
"""The logger above all of the server's modules."""

_request_id: ContextVar[str] = ContextVar("request_id", default="")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came by `extra`."""


def set_request_id(request_id: str) -> None:
    """Puts the id into every record that this task, and those that it starts, will log."""
    _request_id.set(request_id)


def configure_logging(level: LogLevel, format: LogFormat) -> None:
    """Sends all logs to standard error. May be called again to switch level and format while running."""
    root = logging.getLogger()
    handler = next((handler for handler in root.handlers if isinstance(handler, _Handler)), None)
    if handler is None:
        handler = _Handler()
        root.addHandler(handler)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN_LOGGER).setLevel(level.upper())
    logging.captureWarnings(True)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Ours among the root's handlers; looks up standard error at each record, so that a redirect is followed."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        """Standard error as it is now."""
        return sys.stderr


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: ts, level, logger, message, request_id, the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, object] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = _request_id.get()
        if request_id:
            entry["request_id"] = request_id
        for key, value in _fields(record).items():
            entry.setdefault(key, value)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """For a terminal: time, level, logger, message, then key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, followed by the traceback, if any."""
        fields = _fields(record)
        request_id = _request_id.get()
        if request_id:
            fields["request_id"] = request_id
        told = "".join(f" {key}={value}" for key, value in fields.items())
        line = _one_line(f"{_timestamp(record)} {record.levelname:<7} {record.name}: {record.getMessage()}{told}")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _timestamp(record: logging.LogRecord) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}


def _plain(value: object) -> object:
    """What JSON has a form for; anything else as text."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _one_line(text: str) -> str:
    """Control characters made visible: a name that a caller sends must not be able to forge a line of the log."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
