"""Runs a graph on some inputs, each in a fresh process, and prints by how many bytes each process grew at its peak.

    python -m benchmarks.mechanisms.peak model.onnx context,outputs inputs-0.npz inputs-1.npz

The session is as the server opens it, with its arena. It has run before, on the first of the inputs, so that what is
loaded once is not counted. Nothing here imports torch, whose memory would only blur the reading.
"""

import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import numpy as np

from server.runtime.session import Session
from server.tensors import Array

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What makes Linux forget the highest resident size so far."""


def main() -> None:
    """Prints a list of numbers as JSON, null where the system does not tell."""
    graph, names, *files = sys.argv[1:]
    measure = partial(growth, Path(graph), names.split(","), Path(files[0]))
    # One process an input, forked before any session is opened.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as fresh:
        print(json.dumps(fresh.map(measure, map(Path, files), chunksize=1)))


def growth(graph: Path, names: list[str], first: Path, file: Path) -> int | None:
    """Bytes by which this process grows at its peak while the graph runs on the inputs in `file`."""
    session = Session.open(graph)
    session.run(load(first), names)
    inputs = load(file)
    try:
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
        before = resident("VmRSS")
    except OSError:
        return None
    session.run(inputs, names)
    return max(0, resident("VmHWM") - before)


def load(file: Path) -> dict[str, Array]:
    """The arrays in an .npz file."""
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def resident(field: str) -> int:
    """Bytes that this process holds in memory: VmRSS now, VmHWM at most so far."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS} has no {field}")


if __name__ == "__main__":
    main()
