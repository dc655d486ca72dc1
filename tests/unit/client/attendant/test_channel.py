import json

import pytest
from attendant.channel import Connection, service_config


def test_service_config_retries_unavailable_and_nothing_else():
    (method,) = json.loads(service_config(3))["methodConfig"]
    assert method["name"] == [{"service": "attendant.v1.AttendantService"}]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert method["retryPolicy"]["maxAttempts"] == 4


def test_zero_retries_leave_no_policy():
    assert json.loads(service_config(0)) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"timeout_s": float("nan")},
        {"retries": -1},
        {"retries": 5},
        {"max_message_bytes": 0},
    ],
)
def test_numbers_out_of_range_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Connection(**wrong)


def test_channel_options_of_the_caller_win():
    options = Connection(
        channel_options=[("grpc.max_reconnect_backoff_ms", 7), ("grpc.keepalive_time_ms", 9)]
    ).options()
    assert len(dict(options)) == len(options)
    assert dict(options)["grpc.max_reconnect_backoff_ms"] == 7
    assert dict(options)["grpc.keepalive_time_ms"] == 9
