"""Mosec as its users write it: one stage of workers, ids and embedding as raw bytes."""

import sys

import numpy as np
from mosec import Server, Worker

from benchmarks.peers.encoder import BATCH, BATCH_WAIT_S, PORT, WORKERS, Encoder, Ids, Vector, number


class Embed(Worker):  # type: ignore[misc]
    """One session."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def deserialize(self, data: bytes) -> Ids:
        """INT64, little-endian."""
        return np.frombuffer(data, dtype="<i8")

    def forward(self, data: Ids | list[Ids]) -> Vector | list[Vector]:
        """One request, or a list of them where there is a batch."""
        return self.encoder.many(data) if isinstance(data, list) else self.encoder.one(data)

    def serialize(self, data: Vector) -> bytes:
        """FP32, little-endian."""
        return data.astype("<f4").tobytes()


def main() -> None:
    """Serves until SIGTERM."""
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(number(PORT)), "--log-level", "warning"]
    server = Server()
    server.append_worker(
        Embed, num=number(WORKERS), max_batch_size=number(BATCH), max_wait_time=round(BATCH_WAIT_S * 1000)
    )
    server.run()


if __name__ == "__main__":
    main()
