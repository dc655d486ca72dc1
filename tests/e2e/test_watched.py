"""A real Prometheus over a real server: everything that is shipped to watch it has something to show."""

import json
import shutil
import time
from pathlib import Path
from urllib.request import urlopen

import attendant
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from deploy.prometheus.expressions import expressions, missing
from tests.support.contract_store import write_contract_store
from tests.support.graphs import write_version
from tests.support.prometheus import PATIENCE_S, free_port, prometheus, scrapes
from tests.support.serving_thread import serving_in_thread

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

QUEUE_ROWS = 4
UNWATCHED = ("envoy_", "attendant_generation_")
"""No Envoy runs here, and the store has no model that writes token by token."""


def looking_up_graph() -> onnx.GraphProto:
    """y = table[x] of a table of three: fails while it runs on any other index."""
    return helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "looking_up",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["rows", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])],
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = write_contract_store(tmp_path / "store")
    write_version(store, "looking_up", 1, looking_up_graph())
    (store / "broken" / "1").mkdir(parents=True)
    (store / "broken" / "1" / "model.onnx").write_bytes(b"\xff")
    return store


def infer(client: triton.InferenceServerClient, model: str, datatype: str, array: np.ndarray) -> None:
    held = triton.InferInput("x", list(array.shape), datatype)
    held.set_data_from_numpy(array)
    client.infer(model, [held])


def call(address: str) -> None:
    """Answers, attention, a full queue, a run that fails, a model that did not load."""
    with attendant.Client(address) as client:
        client.classify("areas", ["a b c", "d"], attention=True)
    with triton.InferenceServerClient(address) as client:
        infer(client, "looking_up", "INT64", np.array([[2]]))
        for model, datatype, array, says in (
            ("echo_fp32", "FP32", np.zeros((QUEUE_ROWS + 1, 1), np.float32), "do not fit"),
            ("looking_up", "INT64", np.array([[99]]), "failed"),
            ("broken", "FP32", np.zeros((1, 1), np.float32), "not ready|no ready"),
        ):
            with pytest.raises(triton.InferenceServerException, match=says):
                infer(client, model, datatype, array)


def firing(url: str) -> set[str]:
    with urlopen(f"{url}/api/v1/alerts") as reply:  # noqa: S310
        alerts = json.load(reply)["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def test_every_expression_has_an_answer_once_what_it_tells_of_has_happened(tmp_path, store):
    with serving_in_thread(store, batching={"max_queue_rows": QUEUE_ROWS}) as served:
        targets = {"attendant": served.metrics_url.removeprefix("http://"), "envoy": f"127.0.0.1:{free_port()}"}
        with prometheus(tmp_path, targets) as url:
            deadline = time.monotonic() + PATIENCE_S
            while scrapes(url) < 3 and time.monotonic() < deadline:
                call(served.address)
            while (problems := missing(url, without=UNWATCHED, strict=True)) and time.monotonic() < deadline:
                call(served.address)
            assert problems == []
            assert {"AttendantReloadRefused"} <= firing(url)
            assert "AttendantNoReadyReplica" not in firing(url)


def test_what_prometheus_does_not_have_is_told(tmp_path):
    nothing = f"127.0.0.1:{free_port()}"
    with prometheus(tmp_path, {"attendant": nothing, "envoy": nothing}) as url:
        deadline = time.monotonic() + PATIENCE_S
        while scrapes(url) < 1 and time.monotonic() < deadline:
            pass
        problems = missing(url)
    told = {problem.partition(":")[0] for problem in problems}
    shown = {one.where for one in expressions() if one.where.startswith("Attendant / ")}
    assert shown - told == {"Attendant / Overview, panel Alerts firing"}  # Prometheus' own, and always a number
    assert "AttendantLatencyHigh" in told
