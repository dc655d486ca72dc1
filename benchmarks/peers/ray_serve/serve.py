"""Ray Serve as its users write it: one deployment, a replica a session, ids and embedding as raw bytes."""

import os
import signal
import threading

import numpy as np
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.encoder import BATCH, BATCH_WAIT_S, GRAPH, PORT, PRECISION, WORKERS, Encoder, Ids, Vector, number


class Embed:
    """One session, one request at a time."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    async def __call__(self, request: Request) -> Response:
        """INT64 in, FP32 out, little-endian."""
        return _answer(self.encoder.one(_ids(await request.body())))


class EmbedBatches:
    """One session, requests joined by Ray Serve's own batching."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    @serve.batch(max_batch_size=number(BATCH), batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def embed(self, rows: list[Ids]) -> list[Vector]:
        """All rows in one run."""
        return self.encoder.many(rows)

    async def __call__(self, request: Request) -> Response:
        """INT64 in, FP32 out, little-endian."""
        return _answer(await self.embed(_ids(await request.body())))


def _ids(body: bytes) -> Ids:
    return np.frombuffer(body, dtype="<i8")


def _answer(vector: Vector) -> Response:
    return Response(vector.astype("<f4").tobytes(), media_type="application/octet-stream")


def main() -> None:
    """Serves until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    workers, batch = number(WORKERS), number(BATCH)
    variables = {name: os.environ[name] for name in (GRAPH, BATCH, PRECISION, "PYTHONPATH", "OMP_NUM_THREADS")}
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=number(PORT)))
    # Each replica takes a core; the proxy and the controller ask for none.
    deployment = serve.deployment(num_replicas=workers, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1})
    serve.run(deployment(EmbedBatches if batch > 1 else Embed).bind(), name="embed", route_prefix="/")
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
