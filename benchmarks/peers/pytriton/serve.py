"""PyTriton as its users write it: two instances of an inference function behind Triton, in threads of one process.

Triton joins only requests of equal shape, so with its batching the ids come padded to the longest that the model takes,
and are cut to the longest of the batch before they run.
"""

import os

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.encoder import BATCH, BATCH_WAIT_S, PORT, WORKERS, Encoder, Ids, Vector, encoders, number
from benchmarks.peers.orders import SCRATCH


def alone(encoder: Encoder):  # type: ignore[no-untyped-def]  # noqa: ANN201 - the library's own types are not here
    """An inference function of requests that come one by one."""

    def infer(requests):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return [{"embedding": encoder.one(request["input_ids"])} for request in requests]

    return infer


def together(encoder: Encoder):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """An inference function of joined requests."""

    @batch  # type: ignore[untyped-decorator]
    def infer(input_ids: Ids) -> dict[str, Vector]:
        lengths = np.count_nonzero(input_ids, axis=1)
        rows = [row[:length] for row, length in zip(input_ids, lengths, strict=True)]
        return {"embedding": np.stack(encoder.many(rows))}

    return infer


def main() -> None:
    """Serves until SIGTERM."""
    rows = number(BATCH)
    make = together if rows > 1 else alone
    functions = [make(encoder) for encoder in encoders(number(WORKERS))]
    longest = number("BENCH_MAX_LENGTH") if rows > 1 else -1
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=number(PORT),
        http_address="127.0.0.1",
        http_port=number("BENCH_SPARE_PORT_1"),
        allow_metrics=False,
        log_verbose=0,
    )
    batcher = DynamicBatcher(max_queue_delay_microseconds=round(BATCH_WAIT_S * 1e6))
    with Triton(config=config, workspace=os.path.join(os.environ[SCRATCH], "workspace")) as triton:  # noqa: PTH118
        triton.bind(
            model_name="embed",
            infer_func=functions,
            inputs=[Tensor(name="input_ids", dtype=np.int64, shape=(longest,))],
            outputs=[Tensor(name="embedding", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(batching=rows > 1, max_batch_size=rows, batcher=batcher),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
