import sys

from benchmarks.measure.environment import environment


def test_environment_says_where_and_with_what(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/benchmarks/__main__.py", "run", "engine"])

    found = environment()

    assert found.command == "python -m benchmarks run engine"
    assert found.cores >= 1
    assert found.memory_gib >= 0
    assert found.versions["python"] == sys.version.split()[0]
    assert "onnxruntime" in found.versions
    assert "/some/where" not in found.model_dump_json()
