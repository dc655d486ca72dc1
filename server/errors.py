"""Everything that can go wrong with a request or a bundle, as one exception tree.

ServeError
├── InvalidRequest                 the caller must change the request
│   ├── MalformedMessage           the bytes are no message of the expected type
│   ├── MalformedTensor            a tensor's bytes, shape and dtype disagree
│   ├── SignatureMismatch          an input is missing, doubled, unknown, or of the wrong dtype or rank
│   ├── EmptyInput                 zero rows, an empty text, no bytes
│   ├── UndecodableInput           not an image, not UTF-8
│   ├── ParameterInvalid           a parameter out of range, unknown, or contradicting another
│   └── LimitExceeded
│       ├── RowLimitExceeded
│       ├── SequenceTooLong
│       ├── PayloadTooLarge        pixels, seconds, bytes
│       └── AttentionTooLarge
├── NotFound
│   ├── ModelNotFound
│   ├── VersionNotFound            a version or an alias
│   └── RegionNotFound             a region of shared memory, or the object behind it
├── RegionExists                   a region of shared memory of this name is registered already
├── TaskNotSupported               the model exists, the call is not for its task
├── NotImplementedHere             the call is part of the protocol, not of this server
├── Unavailable                    try again, here or elsewhere
│   ├── ModelNotReady
│   └── ServerDraining
├── Overloaded                     try again after the hint
│   ├── QueueFull
│   ├── DeadlineUnreachable
│   ├── ReaderTooSlow
│   └── RegionLimitExceeded        no more regions of shared memory, or no more bytes of them
├── DeadlineExpired
├── RequestCancelled
├── InferenceFailed                the session failed on this request
└── ArtifactCorrupt                the bundle cannot be trusted or read

`server/rpc/status.py` maps each leaf to its gRPC code. Messages say what was wrong and what was expected, for the
caller to read; a library's own exception text goes to the log, never into a message.
"""

from collections.abc import Mapping
from typing import ClassVar


class ServeError(Exception):
    """Base of all errors whose message may reach a caller.

    `reason` is the stable machine-readable cause; `metadata` holds facts that a client may act on, as strings.
    """

    reason: ClassVar[str]

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidRequest(ServeError):
    """The same request will fail again."""


class MalformedMessage(InvalidRequest):
    """The bytes do not parse as the expected protobuf message."""

    reason = "MESSAGE_MALFORMED"


class MalformedTensor(InvalidRequest):
    """A tensor contradicts itself: bytes against shape, a negative or overflowing dimension, both kinds of contents."""

    reason = "TENSOR_MALFORMED"


class SignatureMismatch(InvalidRequest):
    """Inputs or outputs differ from the model's signature."""

    reason = "SIGNATURE_MISMATCH"


class EmptyInput(InvalidRequest):
    """There is nothing to compute on."""

    reason = "INPUT_EMPTY"


class UndecodableInput(InvalidRequest):
    """The codec cannot decode the content."""

    reason = "INPUT_UNDECODABLE"


class ParameterInvalid(InvalidRequest):
    """A parameter is unknown, out of range, or contradicts another."""

    reason = "PARAMETER_INVALID"


class LimitExceeded(InvalidRequest):
    """The request is over a stated limit."""


class RowLimitExceeded(LimitExceeded):
    """More rows in one request than the model or the server takes."""

    reason = "TOO_MANY_ROWS"


class SequenceTooLong(LimitExceeded):
    """A sequence is longer than the model takes and truncation was not asked for."""

    reason = "SEQUENCE_TOO_LONG"


class PayloadTooLarge(LimitExceeded):
    """An image has too many pixels, an audio clip too many seconds, a tensor too many bytes."""

    reason = "PAYLOAD_TOO_LARGE"


class AttentionTooLarge(LimitExceeded):
    """The attention maps asked for exceed the bound; the message names it and a reduction that fits."""

    reason = "ATTENTION_TOO_LARGE"


class NotFound(ServeError):
    """What was named does not exist here."""


class ModelNotFound(NotFound):
    """No model of this name."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFound(NotFound):
    """The model exists, this version or alias of it does not."""

    reason = "VERSION_NOT_FOUND"


class RegionNotFound(NotFound):
    """No region of shared memory is registered under this name, or no object has this key."""

    reason = "REGION_NOT_FOUND"


class RegionExists(ServeError):
    """A region of shared memory is registered under this name; unregister it first."""

    reason = "REGION_EXISTS"


class TaskNotSupported(ServeError):
    """The model does not do what this call is for."""

    reason = "TASK_NOT_SUPPORTED"


class NotImplementedHere(ServeError):
    """A call of the protocol that this server does not offer, or has switched off."""

    reason = "NOT_IMPLEMENTED"


class Unavailable(ServeError):
    """Not now; a retry, perhaps at another replica, may succeed."""


class ModelNotReady(Unavailable):
    """The version exists but is loading, unloading, or failed to load."""

    reason = "MODEL_NOT_READY"


class ServerDraining(Unavailable):
    """The server is about to stop and takes no new work."""

    reason = "DRAINING"


class Overloaded(ServeError):
    """More work than fits; retry after the hint in `metadata`."""


class QueueFull(Overloaded):
    """The model's queue has no room; refused without waiting."""

    reason = "QUEUE_FULL"


class DeadlineUnreachable(Overloaded):
    """The predicted finish lies past the caller's deadline."""

    reason = "DEADLINE_UNREACHABLE"


class ReaderTooSlow(Overloaded):
    """The caller does not read its stream as fast as it is written."""

    reason = "READER_TOO_SLOW"


class RegionLimitExceeded(Overloaded):
    """The server keeps no more regions of shared memory, or no more bytes of them, until others are unregistered."""

    reason = "TOO_MANY_REGIONS"


class DeadlineExpired(ServeError):
    """The caller's deadline passed before the answer was there."""

    reason = "DEADLINE_EXPIRED"


class RequestCancelled(ServeError):
    """The caller withdrew the request."""

    reason = "CANCELLED"


class InferenceFailed(ServeError):
    """The session failed; the cause is in the log under the request's id."""

    reason = "INFERENCE_FAILED"


class ArtifactCorrupt(ServeError):
    """A bundle is unreadable, tampered with, of a future schema, or points outside itself."""

    reason = "ARTIFACT_CORRUPT"
