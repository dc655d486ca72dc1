"""The sizes that runs are padded up to: few enough to be warmed before ready, close enough to waste little."""

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lattice:
    """Ascending sizes; beyond the last, its multiples, so that a request over the bound still has a size."""

    points: tuple[int, ...]
    """Empty: every size is its own."""

    @classmethod
    def exact(cls) -> "Lattice":
        """No padding at all, for sessions to which a new shape costs nothing."""
        return cls(())

    @classmethod
    def graded(cls, largest: int, *, step: int = 1, octave: int = 16) -> "Lattice":
        """Multiples of `step`, which doubles whenever `octave` of them would double the size.

        With 16, every size up to 32 and then steps that add two tokens of padding in a hundred on average.
        """
        points, size = [], 0
        while size < largest:
            if size >= 2 * octave * step:
                step *= 2
            size += step
            points.append(size)
        return cls(tuple(points))

    def up(self, size: int) -> int:
        """The smallest point that is not below `size`."""
        if not self.points:
            return size
        if size > self.points[-1]:
            return -(-size // self.points[-1]) * self.points[-1]
        return self.points[bisect_left(self.points, size)]

    def below(self, size: int) -> int:
        """The largest point that is below `size`, 0 where there is none; without points the size before."""
        if not self.points:
            return size - 1
        last = self.points[-1]
        if size > last:
            return (size - 1) // last * last
        index = bisect_left(self.points, size)
        return self.points[index - 1] if index else 0
