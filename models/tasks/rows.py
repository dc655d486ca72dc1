"""Encoded examples in memory."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from server.codecs import EncodedRow

TARGET = "target"


class Rows(Dataset[Mapping[str, Tensor]]):
    """Examples by index: the codec's arrays without their row axis, and `target`, the class, an int64 scalar."""

    def __init__(self, encoded: Sequence[EncodedRow], labels: Sequence[int]) -> None:
        self._rows = [
            {**{name: torch.from_numpy(array[0]) for name, array in row.inputs.items()}, TARGET: torch.tensor(label)}
            for row, label in zip(encoded, labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Mapping[str, Tensor]]:
        return iter(self._rows)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        return self._rows[index]
