"""What a suite is made of: cells that are measured, and ratios that are read from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.load.measured import Figure
from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.catalogue import PEERS, Arm

Rule = Literal["lowest", "geometric_mean"]


@dataclass(frozen=True)
class ShareOfCapacity:
    """Poisson arrivals at a share of a capacity that was measured before, in requests a second.

    The capacity is the median of the given side of a cell; of several cells, the largest.
    """

    share: float
    cells: tuple[str, ...]
    side: Literal["a", "b"]
    tokens_each: float | None = None
    """Requests are counted by their tokens, so many each on average; None: as they are answered."""

    @property
    def figure(self) -> Figure:
        """What the capacity is read from."""
        return "requests_per_s" if self.tokens_each is None else "tokens_per_s"

    @property
    def of_each(self) -> float:
        """How much of the figure a request is."""
        return 1.0 if self.tokens_each is None else self.tokens_each


Load = Closed | ShareOfCapacity


@dataclass(frozen=True)
class BestOf:
    """Stands for side b of that cell, among those measured before, which did best beside the same side a.

    That is the one of the lowest ratio: pairs can be compared where separate runs cannot.
    """

    cells: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """Two sides under the same requests, in interleaved pairs."""

    id: str
    a: Arm
    b: Arm | BestOf
    load: Load
    mix: str = "mixed"
    figure: Figure = "tokens_per_s"
    """What the cell's own ratio is of: a over b."""
    load_of_b: Load | None = None
    """None: as `load`."""
    deadline_s: float | None = None
    """Calls carry it, and the server may refuse what it cannot answer in time: that is no fault of a run then."""
    phase: Phase | None = None
    """None: as the suite says. A quick run takes its own."""


@dataclass(frozen=True)
class Headline:
    """A ratio over cells, with the number that it has to reach."""

    id: str
    title: str
    cells: tuple[str, ...]
    at_least: float
    aim: float
    rule: Rule = "lowest"
    figure: Figure = "tokens_per_s"
    b_over_a: bool = False
    """For latencies, where less is better."""
    floor: float | None = None
    """No cell's whole interval may lie below it, whatever the ratio over all."""


@dataclass(frozen=True)
class Suite:
    """All cells in the order in which they run: cells that share a server stand together."""

    name: str
    cells: Sequence[Cell]
    headlines: Sequence[Headline]
    phase: Phase
    pairs: int
    quick_phase: Phase
    quick_pairs: int
    requests: int = 512
    """Length of the request list."""
    seed: int = 20260
    """Of the request list and of the arrivals."""
    peers: Mapping[str, str] = field(default_factory=lambda: {name: peer.version for name, peer in PEERS.items()})
    """Versions of what is compared with, by name."""
