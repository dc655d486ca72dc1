"""How the rows of a batch stand in a graph's inputs: each padded to the longest, or packed without padding.

A layout builds a batch and undoes it: `split(run(collate(x)))` gives each request its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.batching.request import Rows
from server.tensors import Array


class Layout(ABC):
    """One way of laying out rows; knows how large a run becomes before it is built."""

    name: str
    orders_by_length: bool
    """Whether rows of like length should run together, because all are padded to the longest."""
    lattice: Lattice
    row_lattice: Lattice

    @property
    def lattices(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The sizes of tokens and of rows that runs are padded to; empty where every size is its own."""
        return self.lattice.points, self.row_lattice.points

    @abstractmethod
    def work(self, rows: int, tokens: int, longest: int) -> Work:
        """The size of a run of so many rows with so many tokens altogether, the longest row having `longest`."""

    def full(self, tokens: int) -> tuple[int, int]:
        """(tokens that a run of at least so many can take without padding, what of them usually stays padding).

        A batch is filled with what waits, which seldom fits exactly.
        """
        return tokens, 0

    @abstractmethod
    def collate(self, requests: Sequence[Rows]) -> dict[str, Array]:
        """The graph's inputs."""

    @abstractmethod
    def split(self, outputs: Mapping[str, Array], requests: Sequence[Rows]) -> Iterator[dict[str, Array]]:
        """Each request's outputs. Raises ValueError where an output has not the rows of the batch."""
