"""LitServe as its users write it: JSON in, and the embedding's bytes out, which is its leanest way."""

import os
from collections.abc import Mapping

import litserve
import numpy as np
from fastapi import Response

from benchmarks.peers.encoder import BATCH, BATCH_WAIT_S, PORT, WORKERS, Encoder, Ids, Vector, number


class Embed(litserve.LitAPI):  # type: ignore[misc]
    """One session in each worker."""

    def setup(self, device: str) -> None:
        """Called once in each worker."""
        self.encoder = Encoder()

    def decode_request(self, request: Mapping[str, list[int]]) -> Ids:
        """`{"input_ids": [...]}`."""
        return np.array(request["input_ids"], dtype=np.int64)

    def batch(self, inputs: list[Ids]) -> list[Ids]:
        """Rows differ in length: they are padded in `predict`."""
        return inputs

    def predict(self, x: Ids | list[Ids]) -> Vector | list[Vector]:
        """One request, or a list of them where there is a batch."""
        return self.encoder.many(x) if isinstance(x, list) else self.encoder.one(x)

    def unbatch(self, output: list[Vector]) -> list[Vector]:
        """One entry a request already."""
        return output

    def encode_response(self, output: Vector) -> Response:
        """FP32, little-endian."""
        return Response(output.astype("<f4").tobytes(), media_type="application/octet-stream")


def main() -> None:
    """Serves until SIGTERM."""
    batch = number(BATCH)
    api = Embed(max_batch_size=batch, batch_timeout=BATCH_WAIT_S if batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=number(WORKERS), timeout=False)
    os.chdir(os.environ["BENCH_SCRATCH"])
    server.run(
        host="127.0.0.1",
        port=number(PORT),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
