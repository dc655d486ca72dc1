import grpc
import pytest
from attendant import errors
from attendant.errors import AttendantError, error_from_status
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

Code = grpc.StatusCode


def trailers(*details: Message) -> list[tuple[str, str | bytes]]:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return [("date", "today"), ("grpc-status-details-bin", status_pb2.Status(details=packed).SerializeToString())]


def refused(code: Code, reason: str) -> AttendantError:
    return error_from_status(code, "why", trailers(error_details_pb2.ErrorInfo(reason=reason, domain="attendant")))


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (Code.INVALID_ARGUMENT, "SIGNATURE_MISMATCH", errors.InvalidInput),
        (Code.INVALID_ARGUMENT, "INPUT_EMPTY", errors.InvalidInput),
        (Code.INVALID_ARGUMENT, "TOO_MANY_ROWS", errors.TooLarge),
        (Code.INVALID_ARGUMENT, "SEQUENCE_TOO_LONG", errors.TooLarge),
        (Code.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE", errors.TooLarge),
        (Code.INVALID_ARGUMENT, "ATTENTION_TOO_LARGE", errors.TooLarge),
        (Code.NOT_FOUND, "VERSION_NOT_FOUND", errors.NotFound),
        (Code.FAILED_PRECONDITION, "TASK_NOT_SUPPORTED", errors.NotSupported),
        (Code.UNIMPLEMENTED, "NOT_IMPLEMENTED", errors.NotSupported),
        (Code.UNAVAILABLE, "MODEL_NOT_READY", errors.Unavailable),
        (Code.UNAVAILABLE, "DRAINING", errors.Unavailable),
        (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", errors.Overloaded),
        (Code.RESOURCE_EXHAUSTED, "DEADLINE_UNREACHABLE", errors.Overloaded),
        (Code.DEADLINE_EXCEEDED, "DEADLINE_EXPIRED", errors.DeadlineExceeded),
        (Code.CANCELLED, "CANCELLED", errors.Cancelled),
        (Code.INTERNAL, "INFERENCE_FAILED", errors.ServerError),
        (Code.DATA_LOSS, "ARTIFACT_CORRUPT", errors.ServerError),
        (Code.INTERNAL, "UNEXPECTED", errors.ServerError),
    ],
)
def test_reason_of_the_server_becomes_the_class_to_act_on(code, reason, kind):
    error = refused(code, reason)
    assert type(error) is kind
    assert (error.code, error.reason) == (code, reason)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_status_code_becomes_an_error(code):
    assert isinstance(error_from_status(code, "", []), AttendantError)


def test_error_carries_metadata_hint_and_request_id():
    error = error_from_status(
        Code.RESOURCE_EXHAUSTED,
        "the queue is full",
        trailers(
            error_details_pb2.ErrorInfo(reason="QUEUE_FULL", metadata={"max_queue_rows": "8"}),
            error_details_pb2.RetryInfo(retry_delay=Duration(nanos=250_000_000)),
        ),
        "id-1",
    )
    assert error.metadata == {"max_queue_rows": "8"}
    assert error.retry_after_s == 0.25
    assert str(error) == "QUEUE_FULL: the queue is full (request id-1)"


def test_request_id_of_the_server_wins_over_the_callers():
    info = error_details_pb2.ErrorInfo(reason="INPUT_EMPTY", metadata={"request_id": "servers"})
    assert error_from_status(Code.INVALID_ARGUMENT, "", trailers(info), "mine").request_id == "servers"


def test_unavailable_without_a_reason_means_that_no_server_answered():
    assert type(error_from_status(Code.UNAVAILABLE, "connection refused", [])) is errors.Unreachable


def test_resource_exhausted_without_a_reason_is_overload_unless_a_message_was_too_large():
    assert type(error_from_status(Code.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", [])) is errors.Overloaded
    oversized = error_from_status(Code.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", [])
    assert type(oversized) is errors.TooLarge


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"", "text"])
def test_details_that_do_not_parse_are_ignored(details):
    error = error_from_status(Code.NOT_FOUND, "gone", [("grpc-status-details-bin", details)])
    assert (type(error), error.reason, error.retry_after_s) == (errors.NotFound, "", None)


def test_broken_detail_does_not_hide_the_others():
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff\xff")
    good = any_pb2.Any()
    good.Pack(error_details_pb2.ErrorInfo(reason="DRAINING"))
    status = status_pb2.Status(details=[broken, good]).SerializeToString()
    assert error_from_status(Code.UNAVAILABLE, "", [("grpc-status-details-bin", status)]).reason == "DRAINING"
