"""The same plain graph in every peer: one ONNX Runtime session of one thread, told by environment variables.

This module runs in the peers' environments: it needs numpy and ONNX Runtime, and nothing of the project.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vector = NDArray[np.float32]

GRAPH, PORT, BATCH, WORKERS, PRECISION, SCRATCH = (
    "BENCH_GRAPH",
    "BENCH_PORT",
    "BENCH_BATCH",
    "BENCH_WORKERS",
    "BENCH_PRECISION",
    "BENCH_SCRATCH",
)
"""The variables: the ONNX file; the port to listen on; the largest batch, 1 for none; sessions; fp32, int8 or bf16; a
folder to write to."""

BATCH_WAIT_S = 0.005
"""How long a peer's dynamic batching may wait for company."""

BF16_ON_OPENVINO = '{"CPU": {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}}'


def number(name: str) -> int:
    """An environment variable as a whole number."""
    return int(os.environ[name])


class Encoder:
    """Token ids to an embedding, alone or as a padded batch in the order of arrival."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        providers: list[Any] = ["CPUExecutionProvider"]
        if os.environ[PRECISION] == "bf16":
            providers = [("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": BF16_ON_OPENVINO})]
        self._session = onnxruntime.InferenceSession(os.environ[GRAPH], options, providers=providers)

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
