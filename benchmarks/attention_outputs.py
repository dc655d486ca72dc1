"""Do attention maps, as further outputs of the one graph, cost a caller who does not fetch them?

Exports the `areas` network twice, with and without its attention outputs, and times plain runs of both (logits only) on
one thread, in interleaved pairs ABBA so that drift of the machine falls on both alike. Prints the ratio of medians and
a bootstrap interval for each shape. Below 1.02 one graph is enough.

    python -m benchmarks.attention_outputs [--blocks 200]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.export.graph import GRAPH_FILE, export_graph
from models.registry import MODELS
from models.tasks.task import Exportable, Signature
from server.manifest import TextCodecSpec
from server.runtime.session import Session
from server.tensors import Array

MODEL = "areas"
SHAPES = ((1, 24), (1, 128), (8, 64), (4, 256))
"""(rows, tokens): single short and long texts, a usual batch, a batch of the longest."""
WARM_UP_RUNS = 20
RESAMPLES = 2000

Run = Callable[[], object]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Time with attention outputs over time without, from medians; `low` to `high` holds 95% of the resamples."""

    value: float
    low: float
    high: float


def main() -> None:
    """Prints one line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200, help="ABBA blocks for each shape; each runs both twice")
    blocks: int = parser.parse_args().blocks
    torch.manual_seed(0)
    with TemporaryDirectory() as scratch:
        with_maps, without_maps = export_both(Path(scratch))
        print(f"{'rows x tokens':>14} {'without ms':>11} {'with ms':>9} {'ratio':>7}  95% interval")
        for rows, length in SHAPES:
            inputs = batch(rows, length)
            times = interleaved(plain(with_maps, inputs), plain(without_maps, inputs), blocks)
            found = ratio(*times)
            medians = [float(np.median(one)) * 1000 for one in times]
            print(
                f"{rows:>7} x {length:<4} {medians[1]:>11.3f} {medians[0]:>9.3f} {found.value:>7.4f}  "
                f"{found.low:.4f} to {found.high:.4f}"
            )


def export_both(directory: Path) -> tuple[Session, Session]:
    """The graph as it is published, and one whose outputs are the logits alone."""
    registered = MODELS[MODEL]
    task, config = registered.task, registered.config
    network = task.build(config)
    whole = task.signature(config, TextCodecSpec(max_length=config.max_len))
    plain_only = Signature(whole.inputs, whole.outputs[:1])
    sessions = []
    for name, signature in (("with", whole), ("without", plain_only)):
        (directory / name).mkdir()
        export_graph(network, partial(first_outputs, task, len(signature.outputs)), signature, directory / name)
        sessions.append(Session.open(directory / name / GRAPH_FILE))
    return sessions[0], sessions[1]


def first_outputs(task: Exportable[Any], kept: int, output: object) -> tuple[torch.Tensor, ...]:
    """The first of the graph's outputs, in the signature's order."""
    return task.flatten(output)[:kept]


def batch(rows: int, length: int) -> dict[str, Array]:
    """Random ids; the first row is full, the others up to half padding."""
    rng = np.random.default_rng(0)
    lengths = np.append(length, rng.integers(length // 2, length + 1, size=rows - 1))
    ids = rng.integers(0, MODELS[MODEL].config.vocab_size, size=(rows, length), dtype=np.int64)
    return {"input_ids": ids, "mask": np.arange(length)[None] < lengths[:, None]}


def plain(session: Session, inputs: dict[str, Array]) -> Run:
    """A run that fetches no attention."""
    return lambda: session.run(inputs, ["logits"])


def interleaved(a: Run, b: Run, blocks: int) -> tuple[Seconds, Seconds]:
    """Seconds of single runs of `a` and of `b`, in blocks ABBA; two of each in every block: [blocks, 2]."""
    for _ in range(WARM_UP_RUNS):
        a(), b()
    seconds = [[timed(run) for run in (a, b, b, a)] for _ in range(blocks)]
    times = np.array(seconds)
    return times[:, [0, 3]], times[:, [1, 2]]


def timed(run: Run) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(with_maps: Seconds, without_maps: Seconds) -> Ratio:
    """The ratio of medians, with an interval by resampling whole blocks."""
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(with_maps), size=len(with_maps))
        resampled.append(np.median(with_maps[chosen]) / np.median(without_maps[chosen]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Ratio(float(np.median(with_maps) / np.median(without_maps)), float(low), float(high))


if __name__ == "__main__":
    main()
