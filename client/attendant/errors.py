"""What a call can fail with, by what the caller would do next.

AttendantError
├── InvalidInput          change the request; the same one will fail again
│   └── TooLarge          send less: fewer rows, a shorter text, a smaller image, fewer attention maps
├── NotFound              no such model, version or alias here
├── NotSupported          this model, or this server, does not do that
├── AccessDenied          a proxy or the TLS set-up refused the caller
├── Unavailable           try again, here or at another replica
│   └── Unreachable       nothing that speaks Attendant's protocol answered at the address
├── Overloaded            try again after `retry_after_s`
├── DeadlineExceeded      allow more time, or give up
├── Cancelled             the call was withdrawn
└── ServerError           report it, with `request_id`

`reason` is the server's stable cause (`SEQUENCE_TOO_LONG`), taken from the `google.rpc.ErrorInfo` that every status of
the server carries. It is empty where something else answered: the gRPC library on either side, or a proxy.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_LIMIT_REASONS = frozenset({"TOO_MANY_ROWS", "SEQUENCE_TOO_LONG", "PAYLOAD_TOO_LARGE", "ATTENTION_TOO_LARGE"})
# The gRPC library refuses an oversized message itself, on either side, without ErrorInfo; only its text tells it from
# its other use of RESOURCE_EXHAUSTED, too many calls at once.
_OVERSIZE_TEXT = "larger than max"


class AttendantError(Exception):
    """Base of all errors that a call raises.

    `code` is the gRPC status, `metadata` holds facts for a program to act on, `request_id` finds the call in the
    server's log, and `retry_after_s` is the server's hint in seconds, None where it gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = MappingProxyType(dict(metadata))
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        cause = self.reason or self.code.name
        return f"{cause}: {self.message} (request {self.request_id})" if self.request_id else f"{cause}: {self.message}"


class InvalidInput(AttendantError):
    """The request cannot be answered as it is."""


class TooLarge(InvalidInput):
    """The request is over a limit that the message names."""


class NotFound(AttendantError):
    """What was named does not exist here."""


class NotSupported(AttendantError):
    """The model is not for this task, or the server does not offer the call."""


class AccessDenied(AttendantError):
    """The caller is not known, or not allowed."""


class Unavailable(AttendantError):
    """Not now: loading, draining, or gone."""


class Unreachable(Unavailable):
    """No server answered."""


class Overloaded(AttendantError):
    """More work than fits."""


class DeadlineExceeded(AttendantError):
    """The call's time ran out, here or at the server."""


class Cancelled(AttendantError):
    """The call was withdrawn."""


class ServerError(AttendantError):
    """The server failed; the cause is in its log under the request's id."""


_BY_CODE: Mapping[grpc.StatusCode, type[AttendantError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: NotSupported,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def error_from_status(
    code: grpc.StatusCode, message: str, trailers: Iterable[tuple[str, str | bytes]], request_id: str = ""
) -> AttendantError:
    """Builds the typed error from a failed call's code, text and trailing metadata.

    Details that do not parse are ignored: a proxy's status still becomes an error of the right class.
    """
    info, retry_after_s = _details(trailers)
    return _error_class(code, info.reason, message)(
        message or code.name,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        # The server's own spelling is the one in its log.
        request_id=info.metadata.get("request_id") or request_id,
        retry_after_s=retry_after_s,
    )


def _error_class(code: grpc.StatusCode, reason: str, message: str) -> type[AttendantError]:
    if reason in _LIMIT_REASONS:
        return TooLarge
    if not reason:
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _OVERSIZE_TEXT in message:
            return TooLarge
        if code is grpc.StatusCode.UNAVAILABLE:
            return Unreachable
    return _BY_CODE.get(code, ServerError)


def _details(trailers: Iterable[tuple[str, str | bytes]]) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """The status's ErrorInfo (empty where there is none) and its retry hint in seconds."""
    info, retry_after_s = error_details_pb2.ErrorInfo(), None
    retry = error_details_pb2.RetryInfo()
    for detail in _status(trailers).details:
        try:
            if detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        except (DecodeError, OverflowError):
            continue
    return info, retry_after_s


def _status(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()
