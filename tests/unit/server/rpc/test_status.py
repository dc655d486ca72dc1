import logging

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from server import errors
from server.errors import ServeError
from server.rpc.status import (
    CODES,
    DEFAULT_RETRY_AFTER_S,
    DETAILS_KEY,
    MAX_MESSAGE_CHARACTERS,
    PUSHBACK_KEY,
    rich_status,
)


def leaves(kind: type[ServeError] = ServeError) -> list[type[ServeError]]:
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [leaf for child in children for leaf in leaves(child)] if children else [kind]


def unpack(status) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None]:
    message = status_pb2.Status.FromString(dict(status.trailing_metadata)[DETAILS_KEY])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert message.details[0].Unpack(info)
    return message, info, retry if len(message.details) > 1 and message.details[1].Unpack(retry) else None


@pytest.mark.parametrize("kind", leaves())
def test_every_leaf_of_the_error_tree_has_a_row(kind):
    assert kind in CODES


def test_the_table_has_no_row_for_anything_else():
    assert set(CODES) == set(leaves())


def test_reasons_are_unique():
    reasons = [kind.reason for kind in leaves()]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("kind", leaves())
def test_status_carries_code_reason_domain_message_and_metadata(kind):
    status = rich_status(kind("what was wrong", {"limit": "7"}), "id-1")
    message, info, _ = unpack(status)
    assert status.code is CODES[kind]
    assert message.code == status.code.value[0]
    assert message.message == status.details == "what was wrong"
    assert (info.reason, info.domain) == (kind.reason, "attendant")
    assert dict(info.metadata) == {"limit": "7", "request_id": "id-1"}


@pytest.mark.parametrize("kind", leaves())
def test_only_overload_hints_at_a_retry(kind):
    status = rich_status(kind("no"), "id-1")
    _, _, retry = unpack(status)
    assert (retry is not None) == issubclass(kind, errors.Overloaded)
    assert (PUSHBACK_KEY in dict(status.trailing_metadata)) == issubclass(kind, errors.Overloaded)


def test_retry_hint_of_the_error_is_used():
    status = rich_status(errors.QueueFull("full", {"retry_after_s": "1.5"}), "id-1")
    _, _, retry = unpack(status)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert dict(status.trailing_metadata)[PUSHBACK_KEY] == "1500"


@pytest.mark.parametrize("hint", ["soon", "nan", "-1", "inf"])
def test_a_senseless_hint_still_gives_a_sensible_delay(hint):
    _, _, retry = unpack(rich_status(errors.QueueFull("full", {"retry_after_s": hint}), "id-1"))
    assert 0 <= retry.retry_delay.ToSeconds() <= 3600


def test_overload_without_a_hint_gets_the_default():
    _, _, retry = unpack(rich_status(errors.QueueFull("full"), "id-1"))
    assert retry.retry_delay.ToNanoseconds() == int(DEFAULT_RETRY_AFTER_S * 1e9)


def test_an_unexpected_error_tells_the_caller_nothing_but_the_request_id(caplog):
    with caplog.at_level(logging.ERROR):
        status = rich_status(KeyError("secret path /etc"), "id-1")
    message, info, _ = unpack(status)
    assert status.code is grpc.StatusCode.INTERNAL
    assert info.reason == status.reason == "UNEXPECTED"
    assert "secret" not in message.message + str(status.trailing_metadata)
    assert "id-1" in status.details
    assert isinstance(caplog.records[0].exc_info[1], KeyError)


def test_a_long_message_is_cut_to_fit_the_headers():
    status = rich_status(errors.ParameterInvalid("x" * 100_000), "id-1")
    assert len(status.details) == MAX_MESSAGE_CHARACTERS
    assert len(dict(status.trailing_metadata)[DETAILS_KEY]) < 8192
