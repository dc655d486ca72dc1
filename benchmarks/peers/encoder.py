"""The same plain graph in every peer: ONNX Runtime sessions of one thread, told by environment variables.

One thread a session, and as many sessions as cores, is every peer's best setting, in fp32 and in int8 alike: a run of
two threads does no more for one request than two runs of one do for two, and its threads wait for each other at each
operator. A peer whose workers are processes takes a session in each; one whose workers are threads takes `encoders`.

This module runs in the peers' environments: it needs numpy and ONNX Runtime, and nothing of the project.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vector = NDArray[np.float32]

GRAPH, PORT, BATCH, WORKERS, PRECISION = (
    "BENCH_GRAPH",
    "BENCH_PORT",
    "BENCH_BATCH",
    "BENCH_WORKERS",
    "BENCH_PRECISION",
)
"""The variables: the ONNX file; the port to listen on; the largest batch, 1 for none; sessions; fp32, int8 or bf16."""

BATCH_WAIT_S = 0.005
"""How long a peer's dynamic batching may wait for company."""


def number(name: str) -> int:
    """An environment variable as a whole number."""
    return int(os.environ[name])


def bf16_on_openvino(streams: int) -> str:
    """The OpenVINO provider's `load_config`: bf16, and so many runs of one thread at once.

    OpenVINO pins the threads of a session to cores, counting from the first. The streams of one session therefore get a
    core each, but the only threads of two processes get the same one, and together do half of what they could
    (8,800 tokens/s against 19,000): a session of one stream, which has its like in other processes, is not pinned.
    """
    plan = {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(streams)}
    return json.dumps({"CPU": plan if streams > 1 else {**plan, "ENABLE_CPU_PINNING": "NO"}})


def open_session(graph: str, precision: str, streams: int = 1, unfused: Sequence[str] = ()) -> Any:
    """A session whose runs take one thread each; in bf16 no more than `streams` of them go on at once.

    `unfused` names fusions of the runtime to leave out; a peer has them all, as whoever opens a session gets them.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    providers: list[Any] = ["CPUExecutionProvider"]
    if unfused:
        options.add_session_config_entry("optimization.disable_specified_optimizers", ";".join(unfused))
    if precision == "bf16":
        providers = [("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": bf16_on_openvino(streams)})]
    return onnxruntime.InferenceSession(graph, options, providers=providers)


def sessions(graph: str, precision: str, threads: int, unfused: Sequence[str] = ()) -> list[Any]:
    """A session for each of so many threads of one process; in bf16 they share one with a stream for each.

    `unfused` is as in `open_session`, and nothing to OpenVINO.
    """
    if precision == "bf16":
        return [open_session(graph, precision, threads)] * threads
    return [open_session(graph, precision, unfused=unfused) for _ in range(threads)]


class Encoder:
    """Token ids to an embedding, alone or as a padded batch in the order of arrival."""

    def __init__(self, session: Any = None) -> None:
        """Opens a session of its own where it gets none."""
        self._session = session or open_session(os.environ[GRAPH], os.environ[PRECISION])

    def one(self, ids: Ids) -> Vector:
        """[length] -> [width]."""
        vector: Vector = self._run(ids[None], np.ones((1, len(ids)), dtype=np.bool_))[0]
        return vector

    def many(self, rows: Sequence[Ids]) -> list[Vector]:
        """One run of all rows, padded to the longest."""
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        lengths = np.array([len(row) for row in rows])
        return list(self._run(ids, np.arange(longest)[None] < lengths[:, None]))

    def _run(self, ids: Ids, mask: NDArray[np.bool_]) -> Vector:
        outputs = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})
        embeddings: Vector = outputs[0]
        return embeddings


def encoders(threads: int) -> list[Encoder]:
    """One for each of so many threads of this process."""
    opened = sessions(os.environ[GRAPH], os.environ[PRECISION], threads)
    return [Encoder(session) for session in opened]
