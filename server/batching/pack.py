"""Rows packed without padding, as `server.packed` describes: builds such a batch from requests, and undoes it."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from server import packed
from server.batching.collate import split
from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.batching.layout import Layout
from server.batching.request import Rows
from server.manifest import InputSpec, OutputSpec
from server.tensors import Array, element

Indices = NDArray[np.int64]
_Item = TypeVar("_Item", bound=np.generic)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The tokens of a batch that no mask hides: where each stood, and how many each row has."""

    kept: NDArray[np.bool_] | None
    """Over all tokens in order; None: all are kept."""
    positions: Indices
    lengths: Indices
    """By row."""


class _Packed(Layout):
    """What both packed layouts share: the data inputs, and outputs of one row axis."""

    orders_by_length = False

    def __init__(
        self, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec], lattice: Lattice, row_lattice: Lattice
    ) -> None:
        data = [spec for spec in inputs if spec.role == "data"]
        self._pads = {spec.name: element(spec.pad, spec.datatype) for spec in data}
        self._mask = next((spec.name for spec in inputs if spec.role == "mask"), None)
        self._outputs = {spec.name: spec for spec in packed.packed_outputs(outputs)}
        self.lattice = lattice
        self.row_lattice = row_lattice

    def full(self, tokens: int) -> tuple[int, int]:
        """As `Layout.full`: up to the lattice, of whose last step a quarter is left over."""
        size = self.lattice.up(tokens)
        return size, (size - self.lattice.below(size)) // 4

    def collate(self, requests: Sequence[Rows]) -> dict[str, Array]:
        """Strings the requests' rows together and pads to the lattice."""
        tokens = self._tokens(requests)
        count = len(tokens.positions)
        size = self.lattice.up(max(1, count))
        inputs: dict[str, Array] = {}
        for name, pad in self._pads.items():
            parts = [request.inputs[name].reshape(-1) for request in requests]
            flat = np.concatenate(parts) if len(parts) > 1 else parts[0]
            inputs[name] = _padded(flat if tokens.kept is None else flat[tokens.kept], size, pad)
        inputs[packed.POSITIONS] = _padded(tokens.positions, size, 0)
        inputs |= self._index(tokens, size, self.row_lattice.up(len(tokens.lengths)))
        return inputs

    def split(self, outputs: Mapping[str, Array], requests: Sequence[Rows]) -> Iterator[dict[str, Array]]:
        """Yields each request's rows of every output."""
        return split(outputs, requests, self._outputs, self.row_lattice.up(sum(request.rows for request in requests)))

    @abstractmethod
    def _index(self, tokens: _Tokens, size: int, rows: int) -> dict[str, Array]:
        """The inputs that say which token belongs where, for `size` tokens and `rows` rows with padding."""

    def _tokens(self, requests: Sequence[Rows]) -> _Tokens:
        rows = np.array([request.rows for request in requests])
        longest = np.array([request.length for request in requests])
        lengths = np.repeat(longest, rows)
        positions = _places(lengths)
        if self._mask is None or not any(request.masked for request in requests):
            return _Tokens(None, positions, lengths)
        kept = np.concatenate([request.inputs[self._mask].reshape(-1) for request in requests]).astype(np.bool_)
        if kept.all():
            return _Tokens(None, positions, lengths)
        row_of_each = np.repeat(np.arange(len(lengths)), lengths)
        return _Tokens(kept, positions[kept], np.bincount(row_of_each[kept], minlength=len(lengths)))


class BlockDiagonal(_Packed):
    """All tokens attend to all, and those of other rows do not count."""

    name = "block-diagonal"

    def work(self, rows: int, tokens: int, longest: int) -> Work:
        """As `Layout.work`; `longest` does not matter."""
        size = self.lattice.up(tokens)
        return Work(self.row_lattice.up(rows), size, size * size)

    def _index(self, tokens: _Tokens, size: int, rows: int) -> dict[str, Array]:
        segments = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
        return {packed.SEGMENTS: _padded(segments, size, packed.NO_ROW), packed.ROWS: np.arange(rows)}


class Gathered(_Packed):
    """Attention over rows padded to the longest of them, all else over the tokens alone."""

    name = "gathered"
    orders_by_length = True

    def work(self, rows: int, tokens: int, longest: int) -> Work:
        """As `Layout.work`."""
        rows, longest = self.row_lattice.up(rows), self.lattice.up(longest)
        return Work(rows, self.lattice.up(tokens), rows * longest * longest)

    def _index(self, tokens: _Tokens, size: int, rows: int) -> dict[str, Array]:
        longest = self.lattice.up(max(1, int(tokens.lengths.max())))
        places = np.arange(longest)
        lengths = _padded(tokens.lengths, rows, 0)
        present = places < lengths[:, None]
        starts = np.cumsum(lengths) - lengths
        return {
            packed.GATHER: np.where(present, starts[:, None] + places, 0),
            packed.PRESENT: present,
            packed.SCATTER: _padded(np.flatnonzero(present), size, 0),
        }


def _places(lengths: Indices) -> Indices:
    """0, 1, … for each row in turn."""
    places: Indices = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def _padded(array: NDArray[_Item], size: int, pad: object) -> NDArray[_Item]:
    if len(array) == size:
        return array
    padded = np.full(size, pad, dtype=array.dtype)
    padded[: len(array)] = array
    return padded
