import sys
from pathlib import Path

import pytest

from benchmarks.load.requests import request_list
from benchmarks.peers import ours
from benchmarks.peers.ours import PRECISIONS, SETTINGS, ExplainedInference, our_python, our_server
from server.settings import load_settings
from server.wire.grpc_service_pb2 import ModelInferRequest


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_this_environment_runs_what_needs_no_other_build(precision, tmp_path):
    assert our_python(precision, tmp_path) == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_bf16_gets_an_environment_with_the_openvino_build(tmp_path, monkeypatch):
    asked = []

    def environment(name, title, wanted, cache, *, depends):
        asked.append((name, wanted, depends))
        return cache / "python"

    monkeypatch.setattr(ours, "environment", environment)

    assert our_python("bf16", tmp_path) == tmp_path / "python"
    ((name, wanted, depends),) = asked
    assert name == "ours"
    assert any(part.endswith("[openvino]") for part in wanted)
    assert "uvloop" in depends
    assert "onnxruntime-openvino" in depends


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_flags_are_settings_of_the_server(setting, precision, tmp_path):
    command = our_server(tmp_path, [*SETTINGS[setting], *PRECISIONS[precision]], Path(sys.executable))

    settings = load_settings(command.arguments[command.arguments.index("serve") + 1 :])

    assert settings.grpc.port == command.port
    assert settings.batching.enabled == (setting != "off")
    assert settings.generation.static == (setting == "static")
    assert settings.runtime.precision == ("manifest" if precision == "fp32" else precision)


def asked_outputs(framed: bytes) -> list[str]:
    return [output.name for output in ModelInferRequest.FromString(framed[5:]).outputs]


def test_one_request_in_a_hundred_asks_for_attention_and_they_are_of_all_lengths():
    rows = request_list("mixed", 512, 1000, seed=1).rows

    prepared = ExplainedInference("m", ["attention_0", "attention_1"]).prepare(rows, port=1)
    asking = [len(ids) for ids, framed in zip(rows, prepared.requests, strict=True) if len(asked_outputs(framed)) == 3]

    assert len(asking) == 5
    assert min(asking) < 10
    assert 70 < max(asking) < 170
    assert asked_outputs(prepared.requests[0])[0] == "embedding"
