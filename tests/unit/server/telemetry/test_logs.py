"""One line a record, with its request's id."""

import asyncio
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from server.telemetry.logs import JsonFormatter, configure_logging, set_request_id

log = logging.getLogger("server.something")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("server")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logging.captureWarnings(False)
    set_request_id("")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_record_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    log.info("loaded %s", "m", extra={"version": 3, "seconds": 0.5})

    (entry,) = lines(capsys)
    ts = str(entry.pop("ts"))
    assert entry == {
        "level": "info",
        "logger": "server.something",
        "message": "loaded m",
        "version": 3,
        "seconds": 0.5,
    }
    assert ts.endswith("Z")
    assert len(ts) == len("2024-01-01T00:00:00.000Z")


async def test_each_task_logs_its_own_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    async def handle(request_id: str) -> None:
        set_request_id(request_id)
        await asyncio.sleep(0)
        log.info("handled")

    await asyncio.gather(handle("a"), handle("b"))
    log.info("outside")

    assert [entry.get("request_id") for entry in lines(capsys)] == ["a", "b", None]


def test_exception_stands_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    try:
        raise ValueError("cause")
    except ValueError:
        log.exception("failed")

    (entry,) = lines(capsys)
    assert entry["level"] == "error"
    assert "ValueError: cause" in str(entry["exception"])


def test_extra_fields_never_replace_the_standard_ones(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    set_request_id("real")

    log.info("told", extra={"level": "fake", "ts": "fake", "logger": "fake", "request_id": "fake"})

    (entry,) = lines(capsys)
    assert (entry["level"], entry["logger"], entry["request_id"]) == ("info", "server.something", "real")
    assert entry["ts"] != "fake"


def test_any_value_has_a_form() -> None:
    extra = {"ratio": float("nan"), "path": object, "list": (1, {2}), "map": {1: b"x"}}
    record = logging.makeLogRecord({"msg": "\ud800", "levelname": "INFO", **extra})

    entry = json.loads(JsonFormatter().format(record))
    assert entry["ratio"] == "nan"
    assert entry["list"] == [1, [2]]
    assert entry["map"] == {"1": "b'x'"}


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_name_cannot_forge_a_line(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging("info", "json" if log_format == "json" else "text")

    log.info("no model %s", "m\n2024 ERROR server: forged\x1b[2J", extra={"name_sent": "a\r\nb"})

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b" not in written
    assert "\r" not in written


def test_text_is_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    set_request_id("r1")

    log.warning("queue full", extra={"model": "m"})

    written = capsys.readouterr().err
    assert written.endswith("WARNING server.something: queue full model=m request_id=r1\n")


def test_text_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")

    try:
        raise ValueError("cause")
    except ValueError:
        log.exception("failed")

    assert capsys.readouterr().err.rstrip().endswith("ValueError: cause")


def test_configuring_again_switches_and_never_doubles(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "text")
    configure_logging("error", "json")
    log.warning("below the level")
    log.error("told once")

    configure_logging("debug", "json")
    log.debug("now heard")

    assert [entry["message"] for entry in lines(capsys)] == ["told once", "now heard"]


def test_libraries_are_heard_from_warnings_upwards(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")

    for name in ("PIL.PngImagePlugin", "asyncio", "grpc"):
        logging.getLogger(name).info("noise")
        logging.getLogger(name).warning("worth hearing")

    assert [entry["message"] for entry in lines(capsys)] == ["worth hearing"] * 3


def test_python_warnings_become_records(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old call", UserWarning, stacklevel=1)

    (entry,) = lines(capsys)
    assert entry["logger"] == "py.warnings"
    assert "old call" in str(entry["message"])
