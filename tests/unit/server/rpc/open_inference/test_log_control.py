"""Triton's log switches against one level and one format."""

import logging
from collections.abc import Iterator

import pytest

from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.call import Call
from server.rpc.open_inference.log_control import LogControl
from server.settings import TelemetrySettings
from server.telemetry.logs import JsonFormatter, TextFormatter
from server.wire.grpc_service_pb2 import LogSettingsRequest, LogSettingsResponse

CALL = Call("r", 0.0, None)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("server")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logging.captureWarnings(False)


def control(level: str = "info", *, allowed: bool = True) -> LogControl:
    return LogControl(TelemetrySettings(log_level=level), allowed=allowed)


def request(**settings: bool | int | str | None) -> LogSettingsRequest:
    """A setting of None is sent without a value."""
    made = LogSettingsRequest()
    for name, value in settings.items():
        kind = {bool: "bool_param", int: "uint32_param", str: "string_param"}.get(type(value))
        made.settings[name].SetInParent()
        if kind:
            setattr(made.settings[name], kind, value)
    return made


def told(response: LogSettingsResponse) -> dict[str, object]:
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in response.settings.items()}


async def level_after(start: str, **settings: bool | int | None) -> str:
    switches = told(await control(start).settings(request(**settings), CALL))
    own = logging.getLevelName(logging.getLogger("server").level).lower()
    on = [bool(switches[name]) for name in ("log_verbose_level", "log_info", "log_warning", "log_error")]
    assert on == sorted(on), "a level is on with all above it"
    level = ("debug", "info", "warning", "error")[on.index(True)]
    assert level in (own, start), "what is told is what is logged, or nothing has changed"
    return level


async def test_an_empty_request_tells_and_changes_nothing():
    response = await control("warning", allowed=False).settings(LogSettingsRequest(), CALL)
    assert told(response) == {
        "log_file": "",
        "log_verbose_level": 0,
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_format": "json",
    }


async def test_changes_are_refused_where_they_are_switched_off():
    with pytest.raises(NotImplementedHere, match=r"security\.log_control"):
        await control(allowed=False).settings(request(log_info=True), CALL)


@pytest.mark.parametrize(
    ("start", "settings", "level"),
    [
        ("info", {"log_verbose_level": 1}, "debug"),
        ("info", {"log_verbose_level": 9}, "debug"),
        ("debug", {"log_verbose_level": 0}, "info"),
        ("warning", {"log_verbose_level": 0}, "warning"),
        ("error", {"log_info": True}, "info"),
        ("debug", {"log_info": True}, "debug"),
        ("debug", {"log_info": False}, "warning"),
        ("info", {"log_warning": False}, "error"),
        ("error", {"log_warning": True}, "warning"),
        ("info", {"log_error": True}, "info"),
        ("info", {"log_info": False, "log_warning": True, "log_error": True, "log_verbose_level": 0}, "warning"),
        ("error", {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 1}, "debug"),
    ],
)
async def test_switches_move_the_level_as_far_as_they_must(start, settings, level):
    assert await level_after(start, **settings) == level


async def test_a_switch_without_a_value_goes_back_to_the_start():
    logs = control("warning")
    await logs.settings(request(log_verbose_level=1), CALL)
    assert told(await logs.settings(request(log_verbose_level=None, log_info=None), CALL))["log_info"] is False


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"log_error": False}, "log_error"),
        ({"log_info": False, "log_verbose_level": 1}, "log_info"),
        ({"log_info": True, "log_warning": False}, "log_warning"),
        ({"log_info": 1}, "log_info"),
        ({"log_verbose_level": True}, "log_verbose_level"),
        ({"log_verbose_level": "1"}, "log_verbose_level"),
        ({"log_format": "ISO8601"}, "log_format"),
        ({"log_format": True}, "log_format"),
        ({"log_file": "/tmp/log"}, "log_file"),
        ({"log_file": True}, "log_file"),
        ({"log_colour": True}, "log_colour"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(settings, parameter):
    logs = control()
    before = told(await logs.settings(LogSettingsRequest(), CALL))
    with pytest.raises(ParameterInvalid) as caught:
        await logs.settings(
            request(log_warning=True, **settings) if parameter != "log_warning" else request(**settings), CALL
        )
    assert caught.value.metadata == {"parameter": parameter}
    assert told(await logs.settings(LogSettingsRequest(), CALL)) == before


async def test_a_refused_format_names_what_is_allowed():
    with pytest.raises(ParameterInvalid, match="json, text, default"):
        await control().settings(request(log_format="ISO8601"), CALL)


async def test_what_was_told_may_be_sent_back():
    logs = control("warning")
    now = await logs.settings(LogSettingsRequest(), CALL)
    again = LogSettingsRequest.FromString(now.SerializeToString())
    assert await logs.settings(again, CALL) == now


async def test_the_format_switches_and_goes_back():
    logs = control()
    assert told(await logs.settings(request(log_format="text"), CALL))["log_format"] == "text"
    assert any(isinstance(handler.formatter, TextFormatter) for handler in logging.getLogger().handlers)
    assert told(await logs.settings(request(log_format="default"), CALL))["log_format"] == "json"
    assert any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


@pytest.mark.parametrize(("start", "settings"), [("info", {"log_warning": False}), ("error", {"log_info": True})])
async def test_a_change_stands_in_the_log(caplog, start, settings):
    with caplog.at_level(logging.WARNING, "server"):
        await control(start).settings(request(**settings), CALL)
    (record,) = caplog.records
    assert "changed by a call" in record.message
    assert record.before == f"{start} json"
