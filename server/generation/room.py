"""How large state buffers may be, and how large they should be made: arithmetic only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from server.generation.buffers import WHOLE, Buffer
from server.manifest import LengthAxis

Size = tuple[int, Mapping[str, int]]
"""Rows, and the length of each axis."""


class Room:
    """The limits of one step graph's states: rows, bytes, and the graph's own longest lengths."""

    def __init__(self, buffers: Sequence[Buffer], max_rows: int, max_bytes: int) -> None:
        """`max_bytes` are those of all buffers together."""
        self._buffers = buffers
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.longest = _longest(buffers)
        """The most that the graph takes along each length axis."""

    def bytes_of(self, rows: int, lengths: Mapping[str, int]) -> int:
        """Bytes of all buffers at this size."""
        return sum(buffer.bytes_of(rows, lengths) for buffer in self._buffers)

    def refusal(self, rows: int, lengths: Mapping[str, int]) -> str | None:
        """Why this size is not allowed; None if it is."""
        if rows > self.max_rows:
            return f"{rows} rows are needed; at most {self.max_rows} are allowed"
        for name, size in lengths.items():
            if size > self.longest[name]:
                return f"length {size} is needed along axis {name!r}; the graph takes at most {self.longest[name]}"
        if (needed := self.bytes_of(rows, lengths)) > self.max_bytes:
            return f"{needed} bytes of states are needed; at most {self.max_bytes} are allowed"
        return None

    def first(self, rows: int, length: int) -> Size:
        """This size, or a smaller one that is allowed; where none is, the least."""
        rows = min(rows, self.max_rows)
        while True:
            size = rows, {name: min(length, longest) for name, longest in self.longest.items()}
            if rows == length == 1 or self.bytes_of(*size) <= self.max_bytes:
                return size
            rows, length = (max(1, rows // 2), length) if rows > 1 else (1, length // 2)

    def larger(self, now: Size, rows: int, least: Mapping[str, int], grown: Mapping[str, int]) -> Size:
        """A size of at least `rows` and `least`, which is allowed: if possible double of what is `now`.

        Where bytes are scarce, lengths go no further than `grown`, what live rows may come to, before spare rows are
        given up; then they are less, so that they are not re-laid at each step; at last they shrink to `least`.
        """
        more = min(_doubled(now[0], rows), self.max_rows)
        for enough, lengths in self._choices(now, more, rows, least, grown):
            fitting = self.max_bytes // max(1, self.bytes_of(1, lengths))
            if fitting >= enough:
                return min(more, fitting), lengths
        return rows, dict(least)

    def _choices(
        self, now: Size, more: int, rows: int, least: Mapping[str, int], grown: Mapping[str, int]
    ) -> Iterator[Size]:
        """Sizes with fewer and fewer rows to ask for, and shorter and shorter lengths."""
        exact = {name: max(size, least[name]) for name, size in now[1].items()}
        doubled = {name: min(_doubled(now[1][name], size), self.longest[name]) for name, size in exact.items()}
        useful = {name: min(size, max(exact[name], grown[name])) for name, size in doubled.items()}
        yield more, doubled
        for part in (4, 3, 2, 1, 0):
            yield rows, {name: size + (useful[name] - size) * part // 4 for name, size in exact.items()}
        yield rows, dict(least)


def _longest(buffers: Iterable[Buffer]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for buffer in buffers:
        for axis in buffer.spec.axes:
            if isinstance(axis, LengthAxis):
                longest[axis.name] = min(longest.get(axis.name, WHOLE), axis.max or WHOLE)
    return longest


def _doubled(size: int, needed: int) -> int:
    size = max(size, 1)
    while size < needed:
        size *= 2
    return size
