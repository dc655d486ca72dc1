"""The one table from error to gRPC status, and the rich status that every refused call carries.

A status holds `google.rpc.ErrorInfo` (reason, domain, metadata) and, where a retry after a while may succeed,
`google.rpc.RetryInfo`, both inside `grpc-status-details-bin`. For clients that retry by gRPC's own service config
the same hint stands in `grpc-retry-pushback-ms`, which their library obeys by itself.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import grpc
from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from server import errors
from server.errors import ServeError

logger = logging.getLogger(__name__)

DOMAIN = "attendant"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
UNEXPECTED = "UNEXPECTED"
RETRY_AFTER_KEY = "retry_after_s"
"""The metadata key under which an Overloaded error states its hint, in seconds."""
DEFAULT_RETRY_AFTER_S = 0.25
"""The hint of an Overloaded error that states none: a few batches' time."""
MAX_RETRY_AFTER_S = 3600.0
MAX_MESSAGE_CHARACTERS = 2000
"""A status travels in HTTP/2 headers, which clients bound at 8 KiB by default."""

_CODES: dict[type[ServeError], grpc.StatusCode] = {
    errors.MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MalformedTensor: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SignatureMismatch: grpc.StatusCode.INVALID_ARGUMENT,
    errors.EmptyInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UndecodableInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ParameterInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RowLimitExceeded: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SequenceTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PayloadTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.AttentionTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionNotFound: grpc.StatusCode.NOT_FOUND,
    errors.RegionNotFound: grpc.StatusCode.NOT_FOUND,
    errors.RegionExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.TaskNotSupported: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotImplementedHere: grpc.StatusCode.UNIMPLEMENTED,
    errors.ModelNotReady: grpc.StatusCode.UNAVAILABLE,
    errors.ServerDraining: grpc.StatusCode.UNAVAILABLE,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineUnreachable: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ReaderTooSlow: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RegionLimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExpired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.RequestCancelled: grpc.StatusCode.CANCELLED,
    errors.InferenceFailed: grpc.StatusCode.INTERNAL,
    errors.ArtifactCorrupt: grpc.StatusCode.DATA_LOSS,
}
CODES: Mapping[type[ServeError], grpc.StatusCode] = MappingProxyType(_CODES)


@dataclass(frozen=True, slots=True)
class RichStatus:
    """What a refused call ends with."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]
    reason: str
    """The ErrorInfo's reason; also the label under which the call is counted."""


def rich_status(error: BaseException, request_id: str) -> RichStatus:
    """The status of a call that failed with `error`.

    An error that is no ServeError is a fault of this server: it is logged with its traceback, and the caller gets
    INTERNAL with a fixed text and the request's id only.
    """
    if not isinstance(error, ServeError):
        logger.error("unexpected error in a call", exc_info=error)
        text = f"internal error; the server's log has the cause under request id {request_id}"
        return _status(grpc.StatusCode.INTERNAL, text, UNEXPECTED, {"request_id": request_id}, None)
    metadata = {**error.metadata, "request_id": request_id}
    return _status(_code(type(error)), error.message, error.reason, metadata, _retry_after_s(error))


def _code(kind: type[ServeError]) -> grpc.StatusCode:
    """The nearest row up the class's ancestry; a class without any would be a fault of this table."""
    return next((CODES[ancestor] for ancestor in kind.__mro__ if ancestor in CODES), grpc.StatusCode.INTERNAL)


def _retry_after_s(error: ServeError) -> float | None:
    """When to try again: only for overload, where it helps to wait; None otherwise."""
    if not isinstance(error, errors.Overloaded):
        return None
    try:
        return min(max(0.0, float(error.metadata[RETRY_AFTER_KEY])), MAX_RETRY_AFTER_S)
    except (KeyError, ValueError):
        return DEFAULT_RETRY_AFTER_S


def _status(
    code: grpc.StatusCode, message: str, reason: str, metadata: Mapping[str, str], retry_after_s: float | None
) -> RichStatus:
    details: list[PackedMessage] = [PackedMessage()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    trailing: list[tuple[str, str | bytes]] = []
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(PackedMessage())
        details[1].Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        trailing.append((PUSHBACK_KEY, str(int(retry_after_s * 1000))))
    text = message if len(message) <= MAX_MESSAGE_CHARACTERS else message[: MAX_MESSAGE_CHARACTERS - 3] + "..."
    status = status_pb2.Status(code=code.value[0], message=text, details=details)
    trailing.append((DETAILS_KEY, status.SerializeToString()))
    return RichStatus(code, text, tuple(trailing), reason)
