"""What comes in with a call: its headers, its message, and the id that either carries."""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from server.errors import MalformedMessage, ParameterInvalid

REQUEST_ID_HEADER = "x-request-id"
MAX_REQUEST_ID_CHARACTERS = 128

Request = TypeVar("Request", bound=Message)
Headers = Iterable[tuple[str, str | bytes]]


def parse(request_type: type[Request], content: bytes) -> tuple[Request, str]:
    """(the message, the id that it carries, or nothing).

    Raises MalformedMessage, or ParameterInvalid for an id that cannot stand in logs and headers.
    """
    try:
        request = request_type.FromString(content)
    except DecodeError as error:
        raise MalformedMessage(f"the {len(content)} bytes are no {request_type.DESCRIPTOR.full_name}") from error
    own_id = _message_id(request)
    if own_id and not valid_request_id(own_id):
        raise ParameterInvalid(f"a request id is at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")
    return request, own_id


def header(headers: Headers | None, name: str) -> str:
    """The first header of this name; empty where there is none."""
    return next((value for key, value in headers or () if key == name and isinstance(value, str)), "")


def header_id(headers: Headers | None) -> str:
    """The caller's header, which a proxy may have set: one that cannot be used is ignored, not refused."""
    value = header(headers, REQUEST_ID_HEADER)
    return value if valid_request_id(value) else ""


def valid_request_id(text: str) -> bool:
    """Whether an id may stand in logs and headers as it is."""
    return 0 < len(text) <= MAX_REQUEST_ID_CHARACTERS and text.isascii() and text.isprintable()


def _message_id(request: Message) -> str:
    """The field that carries the caller's id: `id` in the Open Inference Protocol, `request_id` in attendant.v1."""
    for name in ("request_id", "id"):
        if name in request.DESCRIPTOR.fields_by_name:
            return str(getattr(request, name))
    return ""
