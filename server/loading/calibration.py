"""Measures what runs of a variant cost, in bounded time, from small to large."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.batching.cost import Measurement
from server.batching.request import Rows
from server.batching.variant import BatchLimits, Variant
from server.loading.samples import Samples

REPETITIONS = 3
LENGTHS = (16, 64)
"""Beside the longest: what rows that are padded are measured at."""
PACKED_LENGTH = 32
"""Of the rows that fill a packed run, whose cost depends on the tokens alone."""
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
MAX_TOKENS = 1024
"""Larger runs are not measured: on a processor they are past their best."""


@dataclass(frozen=True, slots=True)
class Timer:
    """How the cost of a run is read."""

    thread: Callable[[], float] = time.thread_time
    """Processor time of this thread."""
    process: Callable[[], float] = time.process_time
    """Processor time of all threads."""
    wall: Callable[[], float] = time.perf_counter

    def seconds(self, variant: Variant, batch: list[Rows]) -> float:
        """What one run costs, as far as possible without what others on the machine do meanwhile.

        A run of one thread computes either in this thread, or in one of the provider's, which processor time of the
        whole process shows unless there is traffic, and then the time on the wall does.
        """
        thread, process, wall = self.thread(), self.process(), self.wall()
        run_once(variant, batch)
        wall = self.wall() - wall
        if variant.threads > 1:
            return max(1e-7, wall)
        if variant.counts_cpu:
            return max(1e-7, self.thread() - thread)
        return max(1e-7, min(wall, self.process() - process))


def measure(
    variant: Variant, samples: Samples, limits: BatchLimits, seconds: float, timer: Timer | None = None
) -> list[Measurement]:
    """Runs the variant at sizes from small to large for about `seconds`, and at the smallest size in any case.

    What is measured is what the scheduler pays: building the batch, the run, and taking it apart. The least of some
    repetitions is taken.
    Raises what the run raises.
    """
    timer = timer or Timer()
    begin = timer.wall()
    found: list[Measurement] = []
    token_s = 0.0  # what the last size took for each token, to know which sizes still fit into the time
    for count, length in sizes(variant, samples.longest, limits):
        work = variant.layout.work(count, count * length, length)
        left = seconds - (timer.wall() - begin)
        if found and 2 * token_s * work.tokens > left:
            continue
        batch = [samples.rows(1, length, variant.usual_outputs) for _ in range(count)]
        if not found or variant.streams > 1:
            warm(variant, batch, variant.streams)  # the first run allocates, or prepares kernels for its size
        times = []
        for repetition in range(REPETITIONS):
            start = timer.wall()
            times.append(timer.seconds(variant, batch))
            token_s = (timer.wall() - start) / work.tokens
            if repetition and token_s * work.tokens > seconds / 20:
                break
        found.append(Measurement(work, min(times)))
    return found


def sizes(variant: Variant, longest: int, limits: BatchLimits) -> list[tuple[int, int]]:
    """(rows, length) from the smallest run to the largest; the longest row by itself is always among them."""
    if variant.layout.orders_by_length:
        lengths = sorted({length for length in LENGTHS if length < longest} | {longest})
    else:
        lengths = [min(PACKED_LENGTH, longest)]
    pairs = {
        (count, length)
        for length in lengths
        for count in COUNTS
        if count == 1 or (count <= limits.max_rows and count * length <= min(limits.max_tokens, MAX_TOKENS))
    }
    pairs |= {(1, length) for length in (8, longest) if length <= longest}
    return sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair[1]))


def warm(variant: Variant, batch: list[Rows], at_once: int) -> None:
    """Runs a size so many times at once, and raises what a run raises."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            run_once(variant, batch)
        except Exception as error:
            failed.append(error)

    others = [threading.Thread(target=work, name="warm") for _ in range(at_once - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failed:
        raise failed[0]


def warm_largest(variant: Variant, samples: Samples, limits: BatchLimits, cores: int) -> None:
    """Runs the largest usual batch on all cores at once, so that memory has grown before the first request.

    Raises what a run raises.
    """
    length = samples.longest
    tokens = max(length, *(variant.appetite(usual, limits)[1] for usual in (min(LENGTHS[0], length), length)))
    batch = [samples.rows(1, length, variant.usual_outputs) for _ in range(max(1, tokens // length))]
    warm(variant, batch, max(1, cores // variant.threads))


def warm_lattice(variant: Variant, samples: Samples, limits: BatchLimits) -> None:
    """Runs every size of the lattice once in each stream, where a provider prepares its kernels for each size.

    Raises what a run raises.
    """
    if variant.streams == 1:
        return
    largest = max(samples.longest, variant.appetite(min(LENGTHS[0], samples.longest), limits)[1])
    for size in variant.layout.lattice.points:
        if size > largest or (variant.layout.orders_by_length and size > samples.longest):
            break
        length = min(size, samples.longest)
        batch = [samples.rows(1, length, variant.usual_outputs) for _ in range(max(1, size // length))]
        warm(variant, batch, variant.streams)


def run_once(variant: Variant, batch: list[Rows]) -> None:
    """One run, as the scheduler makes it."""
    inputs = variant.layout.collate(batch)
    outputs = variant.run(inputs, batch[0].outputs, None)
    for _ in variant.layout.split(outputs, batch):
        pass
