"""What comes in with a call: its headers, its message, and the id that either carries."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from server.errors import MalformedMessage, ParameterInvalid, ServeError

REQUEST_ID_HEADER = "x-request-id"
MAX_REQUEST_ID_CHARACTERS = 128

Request = TypeVar("Request", bound=Message)
Headers = Iterable[tuple[str, str | bytes]]


class RequestIds:
    """Makes ids for calls that bring none: random digits, the same for all of this process, then a count."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._count = count()

    def next(self) -> str:
        """32 hexadecimal digits that no other call has."""
        return f"{self._prefix}{next(self._count):016x}"


def parse(request_type: type[Request], content: bytes) -> tuple[Request, str]:
    """(the message, the id that it carries, or nothing).

    Raises MalformedMessage, or ParameterInvalid for an id that cannot stand in logs and headers.
    """
    try:
        request = request_type.FromString(content)
    except DecodeError as error:
        raise MalformedMessage(f"the {len(content)} bytes are no {request_type.DESCRIPTOR.full_name}") from error
    field = _id_field(request_type)  # type: ignore[arg-type]  # mypy takes the class for unhashable, as messages are
    own_id = str(getattr(request, field)) if field else ""
    if own_id and not valid_request_id(own_id):
        raise ParameterInvalid(f"a request id is at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")
    return request, own_id


@dataclass(frozen=True, slots=True)
class Asked(Generic[Request]):
    """One request of a stream: what its bytes held, or why they cannot be used."""

    request: Request | None
    own_id: str = ""
    problem: ServeError | None = None

    @classmethod
    def read(cls, request_type: type[Request], content: bytes) -> "Asked[Request]":
        """Parses; what `parse` raises is kept for `message`."""
        try:
            return cls(*parse(request_type, content))
        except ServeError as error:
            return cls(None, problem=error)

    def message(self) -> Request:
        """The message. Raises what `parse` raised."""
        if self.request is None:
            raise self.problem or MalformedMessage("the request could not be read")
        return self.request


def header(headers: Headers | None, name: str) -> str:
    """The first header of this name; empty where there is none."""
    for key, value in headers or ():
        if key == name and isinstance(value, str):
            return value
    return ""


def header_id(headers: Headers | None) -> str:
    """The caller's header, which a proxy may have set: one that cannot be used is ignored, not refused."""
    value = header(headers, REQUEST_ID_HEADER)
    return value if value and valid_request_id(value) else ""


def valid_request_id(text: str) -> bool:
    """Whether an id may stand in logs and headers as it is."""
    return 0 < len(text) <= MAX_REQUEST_ID_CHARACTERS and text.isascii() and text.isprintable()


@cache
def _id_field(request_type: type[Message]) -> str:
    """The field that carries the caller's id: `id` in the Open Inference Protocol, `request_id` in attendant.v1."""
    return next((name for name in ("request_id", "id") if name in request_type.DESCRIPTOR.fields_by_name), "")
