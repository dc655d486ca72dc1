"""Which rows train together: at random, but rows of like length, so that little is padded."""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

# Batches sorted by length at a time: enough that their rows are alike, few enough that the order stays random.
BATCHES_SORTED = 16


class LengthBuckets(Sampler[list[int]]):
    """Batches of indices for one epoch; the order depends on nothing but `seed`, which is to differ between epochs.

    Of several processes each takes every `processes`-th batch, and all as many: the last batches are filled up from
    the first, because a process without a batch would let the others wait for ever.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: str, process: int = 0, processes: int = 1
    ) -> None:
        rng = random.Random(seed)
        order = list(range(len(lengths)))
        rng.shuffle(order)
        window = batch_size * BATCHES_SORTED
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            alike = sorted(order[start : start + window], key=lambda index: lengths[index])
            batches += [alike[first : first + batch_size] for first in range(0, len(alike), batch_size)]
        rng.shuffle(batches)
        missing = -len(batches) % processes
        batches += [batches[number % len(batches)] for number in range(missing)]
        self._batches = batches[process::processes]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


def in_length_order(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """All rows in batches, the shortest first; for evaluation, where order does not matter."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
