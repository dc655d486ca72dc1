"""MLServer as its users write it: a runtime of their own, parallel workers, settings in files.

Ids and embedding travel as BYTES of one element a row: MLServer turns numbers into Python lists, and its batching joins
only what has equal shapes.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.cli import main as mlserver_main
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.encoder import BATCH, BATCH_WAIT_S, PORT, WORKERS, Encoder, number
from benchmarks.peers.orders import SCRATCH


class Embed(MLModel):  # type: ignore[misc]
    """One session in each worker."""

    async def load(self) -> bool:
        """Called in each worker."""
        self.encoder = Encoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One row, or as many as the batching has joined."""
        rows = [np.frombuffer(_bytes(row), dtype="<i8") for row in payload.inputs[0].data]
        vectors = [self.encoder.one(rows[0])] if len(rows) == 1 else self.encoder.many(rows)
        data = [vector.astype("<f4").tobytes() for vector in vectors]
        output = ResponseOutput(name="embedding", datatype="BYTES", shape=[len(data)], data=data)
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])


def _bytes(row: bytes | str) -> bytes:
    return row if isinstance(row, bytes) else row.encode("latin-1")


def main() -> None:
    """Writes the settings and serves until SIGTERM."""
    folder, port, batch = Path(os.environ[SCRATCH]), number(PORT), number(BATCH)
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": number("BENCH_SPARE_PORT_1"),
        "metrics_port": number("BENCH_SPARE_PORT_2"),
        "parallel_workers": number(WORKERS),
        "debug": False,
        "gzip_enabled": False,
    }
    model: dict[str, object] = {"name": "embed", "implementation": "benchmarks.peers.mlserver.serve.Embed"}
    if batch > 1:
        model |= {"max_batch_size": batch, "max_batch_time": BATCH_WAIT_S}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    sys.argv = ["mlserver", "start", str(folder)]
    mlserver_main()


if __name__ == "__main__":
    main()
