"""What all commands share: the options that reach a server, and the exit codes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import grpc
import typer
from rich.console import Console
from rich.text import Text

from attendant.channel import DEFAULT_ADDRESS
from attendant.cli.rendering import printable
from attendant.client import Client
from attendant.errors import AttendantError, DeadlineExceeded, Unreachable

REFUSED, WRONG_USE, UNREACHED = 1, 2, 3

Address = Annotated[str, typer.Option("--address", metavar="HOST:PORT", help="Where the server listens.")]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="Time for the whole call, retries included.")
]
Tls = Annotated[
    bool, typer.Option("--tls", help="Encrypt; roots from GRPC_DEFAULT_SSL_ROOTS_FILE_PATH if that is set.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table, errors too.")]

ADDRESS = DEFAULT_ADDRESS
TIMEOUT_S = 10.0


@contextmanager
def connected(address: str, timeout_s: float, tls: bool, as_json: bool) -> Iterator[Client]:
    """A client for one command; what it raises becomes a message on the terminal and an exit code."""
    credentials = grpc.ssl_channel_credentials() if tls else None
    try:
        with Client(address, timeout_s=timeout_s, tls=credentials) as client:
            yield client
    except AttendantError as error:
        _fail(error, as_json)
    except (ValueError, OSError) as error:
        wrong_use(str(error))


def wrong_use(message: str) -> NoReturn:
    """Ends the command: what was asked cannot be done as it was asked."""
    _complain(message)
    raise typer.Exit(WRONG_USE)


def _fail(error: AttendantError, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": _facts(error)}))
    else:
        _complain(str(error))
    unreached = isinstance(error, Unreachable) or (isinstance(error, DeadlineExceeded) and not error.reason)
    raise typer.Exit(UNREACHED if unreached else REFUSED)


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(printable(f"attendant: {message}")))


def _facts(error: AttendantError) -> dict[str, object]:
    return {
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "request_id": error.request_id,
        "retry_after_s": error.retry_after_s,
    }
