"""KServe's own client, unmodified, against the real server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.contract_store import write_contract_store
from tests.support.serving_thread import serving_in_thread


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    store = write_contract_store(tmp_path_factory.mktemp("store"))
    with serving_in_thread(store) as served:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("kserve_calls.py")), served.address],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_liveness_and_readiness(report):
    assert (report["live"], report["ready"]) == (True, True)
    assert (report["model_ready"], report["unknown_ready"]) == (True, False)


def test_every_datatype_goes_there_and_back_raw(report):
    assert report["raw"]
    assert all(report["raw"].values()), report["raw"]


def test_every_datatype_goes_there_and_back_typed(report):
    assert report["typed"]
    assert all(report["typed"].values()), report["typed"]


def test_text_named_outputs_and_request_id(report):
    assert report["named"] == {
        "id": "mine",
        "model": "areas",
        "version": "1",
        "outputs": ["logits", "attention_0"],
        "logits": [[0, 1, 1], [0, 0, 3]],
    }


def test_errors_carry_the_code(report):
    assert (report["unknown"], report["mismatch"]) == ("NOT_FOUND", "INVALID_ARGUMENT")
