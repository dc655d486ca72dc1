"""How much memory a run takes at its peak, beyond what was held before it.

PyTorch: the bytes of all tensors that live at once, exactly, as its profiler sees them allocated and freed; scratch of
the libraries beneath is not in it. ONNX Runtime: what its process grows by, in pages, in a fresh process (`peak.py`).
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from torch.profiler import ProfilerActivity, profile

from benchmarks.mechanisms.runs import Run
from benchmarks.mechanisms.subjects import Inputs


def tensor_peak(run: Run) -> int:
    """Bytes of the tensors that a run holds at once at its peak, its result among them and its inputs not."""
    with _no_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiled:
        run()
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    # Not the profiler's table or trace, which spend seconds on the operations around a few allocations.
    events = profiled.profiler.kineto_results.events()
    allocations = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
    peak: int = max(accumulate((event.nbytes() for event in allocations), initial=0))
    return peak


def process_peaks(graph: Path, names: Sequence[str], inputs: Sequence[Inputs]) -> list[int | None]:
    """Bytes that a fresh process grows by in running `graph` on each of the inputs; None where that cannot be read."""
    command = [sys.executable, "-m", "benchmarks.mechanisms.peak", str(graph), ",".join(names)]
    for number, one in enumerate(inputs):
        path = graph.with_name(f"{graph.stem}-{number}.npz")
        np.savez(path, allow_pickle=False, **{name: tensor.numpy() for name, tensor in one.items()})
        command.append(str(path))
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"the process whose memory is measured failed:\n{finished.stderr}")
    peaks: list[int | None] = json.loads(finished.stdout)
    return peaks


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr: the profiler tells that it starts and stops."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
