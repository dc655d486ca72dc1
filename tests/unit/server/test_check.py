"""What is found before the server starts, without loading anything."""

from pathlib import Path

import pytest

from server import check
from server.__main__ import WRONG_USAGE, main
from server.check import before_start
from server.runtime.providers import Provider, installed_providers
from server.settings import Settings
from tests.support.graphs import doubling_graph, write_version


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_version(tmp_path, "m", 1, doubling_graph())
    return tmp_path


def test_a_sound_start_has_no_problems(store):
    assert before_start(Settings(store={"path": store, "models": ("m",)})) == ([], [])


def test_a_store_that_cannot_be_read_keeps_the_server_from_starting(tmp_path):
    (problem,), _ = before_start(Settings(store={"path": tmp_path / "none"}))
    assert "none cannot be read" in problem


def test_two_runtimes_keep_the_server_from_starting(store, monkeypatch):
    monkeypatch.setattr(check, "runtime_problems", lambda: ["two of them"])
    assert before_start(Settings(store={"path": store})) == (["two of them"], [])


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ({"precision": "bf16", "provider": "cpu"}, "the cpu provider does not compute in bf16; openvino does"),
        (
            {"request_precisions": ("fp32", "bf16"), "provider": "cpu"},
            "the cpu provider does not compute in bf16; openvino does",
        ),
        ({"precision": "int8", "provider": "openvino"}, "the openvino provider does not compute in int8; cpu does"),
    ],
)
def test_a_precision_that_the_provider_has_not_keeps_the_server_from_starting(store, runtime, says, capsys):
    settings = Settings(store={"path": store}, runtime=runtime)
    assert before_start(settings) == ([says], [])
    assert check.check(settings) == 1
    assert capsys.readouterr().out == f"runtime   FAILED  {says}\n"


@pytest.mark.skipif(Provider.CUDA in installed_providers(), reason="the installed ONNX Runtime is the one with CUDA")
def test_a_provider_that_is_not_installed_keeps_the_server_from_starting(store):
    (problem,), _ = before_start(Settings(store={"path": store}, runtime={"provider": "cuda"}))
    assert "needs the extra `gpu`" in problem


def test_the_check_tells_which_providers_are_installed(store, capsys):
    check.check(Settings(store={"path": store}))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("runtime   ok      ONNX Runtime ")
    assert "providers: cpu" in first


def test_names_that_the_store_does_not_have_are_told(store):
    settings = Settings(store={"path": store, "models": ("m", "n"), "version_policies": {"o": "all"}})
    assert before_start(settings)[1] == [
        "store.models names 'n'; the store has no such model",
        "store.version_policies names 'o'; the store has no such model",
    ]


def test_the_check_fails_for_a_name_that_the_store_does_not_have(store, capsys):
    assert check.check(Settings(store={"path": store, "models": ("n",)})) == 1
    assert "settings  FAILED  store.models names 'n'" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["serve", "check"])
def test_settings_that_contradict_each_other_are_told_by_both_commands(command, capsys):
    assert main([command, "--grpc.port", "9000", "--telemetry.metrics-port", "9000"]) == WRONG_USAGE
    told = capsys.readouterr().err
    assert told == "settings: grpc.port and telemetry.metrics_port are both 9000; each needs a port of its own\n"
