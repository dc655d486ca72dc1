"""Where each live row's states lie: buffers with spare capacity, in which live rows stay dense.

A step runs on views of the first rows, without a copy. Rows join at the end; where one leaves, the last moves into its
place. Length axes of one name have one capacity. Rows and lengths double when they must, and the buffers are re-laid
once for both. `replace` states have two buffers, which take turns: a run reads one and writes the other.
"""

from collections.abc import Mapping, Sequence

from server.generation.buffers import WHOLE, Buffer, copy_order, length_names
from server.generation.room import Room, Size
from server.manifest import StateSpec
from server.tensors import Array

_NOTHING: Mapping[str, int] = {}


class StatesFull(Exception):
    """The rows, lengths or bytes allowed are not enough; the message says how many are needed and allowed."""


class Slots:
    """State rows of one step graph: live rows are dense, 0..rows-1. For one thread at a time.

    Lengths are given by LengthAxis name; names that no state has are ignored.
    """

    def __init__(
        self,
        states: Sequence[StateSpec],
        *,
        max_rows: int,
        max_bytes: int,
        first_rows: int = 4,
        first_length: int = 32,
    ) -> None:
        """No live rows, and buffers of a first small size: `first_rows` and `first_length`, or less where limits ask.

        Raises StatesFull if not even one row of one position may be held, ValueError for a state of BYTES.
        """
        self._buffers = {spec.name: Buffer(spec) for spec in states}
        self._room = Room(list(self._buffers.values()), max_rows, max_bytes)
        names = self._room.longest
        # Steps fill the axes of states that are not constant. How far, the caller may tell for those that only grow;
        # what a row joined with is known of the others.
        self._stepped = {name for spec in states if spec.kind != "constant" for name in length_names(spec)}
        self._growing = {name for spec in states for name in length_names(spec, growing=True)}
        self._appended = self._growing - {name for spec in states for name in length_names(spec, growing=False)}
        self._filled: dict[str, list[int]] = {name: [0] * max_rows for name in names}
        self._promised: dict[str, list[int]] = {name: [WHOLE] * max_rows for name in names}
        self._replaced = [buffer for buffer in self._buffers.values() if buffer.spec.kind == "replace"]
        self._first = self._room.first(first_rows, first_length)
        self._check_allowed(*self._first)
        self.rows = 0
        # One name for both: another thread may read them while larger buffers are laid.
        self._laid: Size = (0, dict.fromkeys(names, 0))
        self.generation = 0
        """Goes up whenever a buffer is replaced by another: what was bound by address must be bound anew."""
        self.parity = 0
        """Which of two sets of addresses `past` and `present` give; changes with each `flip` over all rows."""
        self.moved_bytes = 0
        """Copied so far by joins, leaves, reorders and re-laying."""
        self._lay(*self._first)

    @property
    def capacity(self) -> int:
        """Rows that the buffers have."""
        return self._laid[0]

    @property
    def lengths(self) -> Mapping[str, int]:
        """The capacity of each length axis."""
        return self._laid[1]

    @property
    def state_bytes(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def room_for(self, rows: int, lengths: Mapping[str, int]) -> bool:
        """Whether so many more rows can be held when all have grown: they to `lengths`, live ones to their promises.

        A live row that joined without a promise may need all the capacity that there is now.
        """
        grown = (
            max(promised[: self.rows], default=0) <= self.lengths[name] for name, promised in self._promised.items()
        )
        if self._has_capacity(self.rows + rows, lengths) and all(grown):
            return True
        return self._room.refusal(self.rows + rows, self._needed(lengths)) is None

    def could_hold(self, rows: int, lengths: Mapping[str, int]) -> bool:
        """Whether so many rows of these lengths could be held if there were no others."""
        if self._has_capacity(rows, lengths):
            return True
        return self._room.refusal(rows, {name: max(1, lengths.get(name, 1)) for name in self.lengths}) is None

    def reserve(self, rows: int, lengths: Mapping[str, int]) -> None:
        """Makes capacity for so many further rows, and for these lengths.

        It doubles where the bytes allow, else it is what is needed; only then are spare rows and positions given up.
        Raises StatesFull, and changes nothing.
        """
        wanted = self.rows + rows
        enough = self._has_capacity(wanted, lengths)
        if not enough:
            least = self._needed(lengths, promised=False)
            self._check_allowed(wanted, least)
        if rows == 0:
            self._raise_promises(lengths)
        if not enough:
            self._lay(*self._room.larger((self.capacity, self.lengths), wanted, least, self._grown()))

    def join(
        self,
        start: Mapping[str, Array],
        row: int = 0,
        count: int = 1,
        *,
        content: Mapping[str, int] = _NOTHING,
        lengths: Mapping[str, int] = _NOTHING,
    ) -> range:
        """Adds `count` rows, each beginning as row `row` of the encode graph's outputs, padded with zeros.

        States without a source begin as zeros. `content` crops `start`, where it was padded itself. `lengths` promises
        how far each row's length axes will grow at most; without it, nothing is known of those that steps add to.
        Returns the new rows.
        Raises ValueError where `start` does not fit the states, StatesFull.
        """
        starts = {name: buffer.row_of(start, row, content) for name, buffer in self._buffers.items()}
        own: dict[str, int] = {}
        for name, array in starts.items():
            for axis, size in () if array is None else self._buffers[name].lengths_of(array):
                own[axis] = max(own.get(axis, 0), size)
        self.reserve(count, own)
        new = range(self.rows, self.rows + count)
        stale = {name: max((filled[slot] for slot in new), default=0) for name, filled in self._filled.items()}
        for name, buffer in self._buffers.items():
            self.moved_bytes += buffer.begin(slice(new.start, new.stop), starts[name], stale)
        for name in self.lengths:
            held = own.get(name, 0)
            fixed = name in own and name not in self._growing
            promise = max(lengths[name], held) if name in lengths else held if fixed else WHOLE
            self._filled[name][new.start : new.stop] = [WHOLE if name in self._stepped else held] * count
            self._promised[name][new.start : new.stop] = [promise] * count
        self.rows = new.stop
        return new

    def leave(self, row: int, lengths: Sequence[int] | None = None) -> int | None:
        """Frees a row; the last live row moves into its place. Returns its former index, None if it was the last.

        `lengths`, positions that each live row holds in `append` states, spares moving the rest; a run that a row
        rested in may have written one more.
        Raises ValueError for a row that is not live.
        """
        self._check((row,))
        last = self.rows - 1
        stale, held = self._bounds(row, lengths), self._bounds(last, lengths)
        if row != last:
            for buffer in self._buffers.values():
                self.moved_bytes += buffer.move(row, last, held, stale)
            for name, promised in self._promised.items():
                promised[row] = promised[last]
                self._filled[name][row] = self._filled[name][last]
        for name, filled in self._filled.items():
            filled[last] = held[name]
        self.rows = last
        return last if row != last else None

    def reorder(self, rows: Sequence[int], parents: Sequence[int], lengths: Mapping[str, int] | int) -> int:
        """Row `rows[i]` continues as row `parents[i]` was: a row and its parent are of one request.

        Only rows whose parent is another are copied; of `append` states, only the positions `lengths` that they hold;
        constants not at all, being the same throughout a request. Returns rows copied.
        Raises ValueError for a row that is not live or named twice, or a state that beams may not move.
        """
        self._check((*rows, *parents))
        if len(set(rows)) != len(rows):
            raise ValueError(f"rows {list(rows)} name a row twice")
        order = copy_order(rows, parents)
        held = dict.fromkeys(self._appended, lengths) if isinstance(lengths, int) else lengths
        held = {name: held[name] for name in self._appended if name in held}
        for buffer in self._buffers.values() if order else ():
            if buffer.spec.kind == "constant":
                continue
            if not buffer.spec.reorderable:
                raise ValueError(f"state {buffer.spec.name} must not move between rows")
            self.moved_bytes += buffer.copy(order, held)
        return sum(row != parent for row, parent in zip(rows, parents, strict=True))

    def past(self, name: str) -> Array:
        """The state of all live rows, [rows, ...], to be read by a run."""
        return self._buffers[name].array[: self.rows]

    def present(self, name: str) -> Array | None:
        """Where a run over all live rows writes the state, [rows, ...].

        The array of `past` where past and present may share it, the second one for `replace`. None for a constant, and
        for an `append` state that cannot be shared: there see `gather` and `append`.
        """
        array = self._written(name)
        return None if array is None else array[: self.rows]

    def past_of(self, name: str, row: int) -> Array:
        """As `past`, of one row: [1, ...]."""
        return self._buffers[name].array[row : row + 1]

    def present_of(self, name: str, row: int) -> Array | None:
        """As `present`, of one row: [1, ...]; after the run, `flip` that row."""
        array = self._written(name)
        return None if array is None else array[row : row + 1]

    def flip(self, rows: slice | None = None, kept: Sequence[int] = ()) -> None:
        """After a run: what it wrote to the second buffers of `replace` states becomes the state.

        Buffers are swapped after a run over all live rows; of these, rows `kept` stay as they were. After a run of
        `rows` only, these are copied. Where no state is of kind `replace`, nothing happens, and `parity` stays.
        """
        for buffer in self._replaced:
            assert buffer.second is not None  # noqa: S101 - what `replace` means
            if rows is not None:
                buffer.array[rows] = buffer.second[rows]
                continue
            for row in kept:
                buffer.second[row] = buffer.array[row]
            buffer.flip()
        if rows is None and self._replaced:
            self.parity ^= 1

    def gather(self, name: str, rows: Sequence[int], length: int) -> Array:
        """A contiguous copy of the first `length` positions of these rows of an `append` state."""
        return self._buffers[name].gather(rows, length)

    def append(self, name: str, rows: Sequence[int], length: int, present: Array) -> None:
        """Writes positions `length` and on of `present`, [len(rows), ...], back to these rows of an `append` state.

        Raises ValueError if it holds more positions than there is capacity for: see `reserve`.
        """
        self._buffers[name].append(rows, length, present)

    def clear(self) -> None:
        """No live rows; buffers go back to the first small size."""
        while self.rows:
            self.leave(self.rows - 1)
        if (self.capacity, self.lengths) != self._first:
            self._lay(*self._first)

    def _has_capacity(self, rows: int, lengths: Mapping[str, int]) -> bool:
        """Whether the buffers as they are have so many rows of these lengths; spares to ask what larger ones take."""
        capacity, laid = self._laid
        return rows <= capacity and all(lengths.get(name, 1) <= size for name, size in laid.items())

    def _written(self, name: str) -> Array | None:
        buffer = self._buffers[name]
        return buffer.array if buffer.spec.aliasable else buffer.second

    def _check(self, rows: Sequence[int]) -> None:
        if any(not 0 <= row < self.rows for row in rows):
            raise ValueError(f"of rows {list(rows)}, one is not live: there are {self.rows}")

    def _bounds(self, row: int, lengths: Sequence[int] | None) -> dict[str, int]:
        """How far a live row is filled along each axis."""
        bounds = {name: filled[row] for name, filled in self._filled.items()}
        if lengths is not None:
            bounds.update(dict.fromkeys(self._appended, int(lengths[row]) + 1))
        return bounds

    def _raise_promises(self, lengths: Mapping[str, int]) -> None:
        """Live rows may come to `lengths`, whatever was promised."""
        for name in self._growing & lengths.keys():
            promised = self._promised[name]
            promised[: self.rows] = [max(promise, lengths[name]) for promise in promised[: self.rows]]

    def _needed(self, lengths: Mapping[str, int], *, promised: bool = True) -> dict[str, int]:
        """The least capacity of each axis that live rows and `lengths` can do with, when grown, or by now."""
        needed = {}
        for name, size in self.lengths.items():
            live = (size if promise == WHOLE else promise for promise in self._promised[name][: self.rows])
            floor = max(live, default=1)
            needed[name] = max(floor if promised else min(floor, size), lengths.get(name, 0), 1)
        return needed

    def _grown(self) -> dict[str, int]:
        """What live rows may come to; WHOLE where a row has promised nothing."""
        return {name: max(promised[: self.rows], default=1) for name, promised in self._promised.items()}

    def _check_allowed(self, rows: int, lengths: Mapping[str, int]) -> None:
        if (refusal := self._room.refusal(rows, lengths)) is not None:
            raise StatesFull(refusal)

    def _lay(self, rows: int, lengths: Mapping[str, int]) -> None:
        """Gives all buffers this capacity. Old ones are let go one by one, so that few stand beside the new."""
        try:
            blanks = [buffer.blank(rows, lengths) for buffer in self._buffers.values()]
        except MemoryError:
            needed = self._room.bytes_of(rows, lengths)
            raise StatesFull(f"{needed} bytes of states are needed; the system has not so many") from None
        for buffer in self._buffers.values():
            self.moved_bytes += buffer.lay(blanks.pop(0), self.rows)
        for filled in self._filled.values():
            filled[self.rows :] = [0] * (self._room.max_rows - self.rows)
        self._laid = rows, dict(lengths)
        self.generation += 1
