"""One state's buffer: rows one after another in an array with spare rows and spare positions."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.manifest import FixedAxis, LengthAxis, StateSpec
from server.tensors import NUMPY_DTYPES, Array, Datatype

WHOLE = 2**62
"""As a length: all that there is, however long."""
SPARE = -1
"""In an order of copies: the place beside the rows in which the first row of a cycle waits."""


class Buffer:
    """A C-contiguous array [capacity, ...] of one state; for a `replace` state a second one, which runs write to.

    Lengths are given by LengthAxis name. Within a row, everything beyond the lengths that it was filled to is zero.
    """

    def __init__(self, spec: StateSpec) -> None:
        """An empty buffer, to be laid. Raises ValueError for BYTES, which have no fixed size."""
        if spec.datatype is Datatype.BYTES:
            raise ValueError(f"state {spec.name}: a state cannot hold {spec.datatype}")
        self.spec = spec
        self._dtype = NUMPY_DTYPES[spec.datatype]
        # One entry an axis after the rows': the name of a length axis, or the size of a fixed one.
        self._axes = tuple(axis.name if axis.kind == "length" else axis.size for axis in _inner(spec))
        self._fixed = not any(isinstance(axis, str) for axis in self._axes)
        self.array: Array = np.zeros(0, self._dtype)
        self.second: Array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return self.array.nbytes + (0 if self.second is None else self.second.nbytes)

    def bytes_of(self, rows: int, lengths: Mapping[str, int]) -> int:
        """Bytes that it would take at this capacity."""
        size = rows * self._dtype.itemsize * (2 if self.spec.kind == "replace" else 1)
        for axis in self._extent(lengths):
            size *= axis
        return size

    def blank(self, rows: int, lengths: Mapping[str, int]) -> tuple[Array, ...]:
        """New arrays of this capacity, all zeros; memory is touched only where they are written."""
        count = 2 if self.spec.kind == "replace" else 1
        return tuple(np.zeros((rows, *self._extent(lengths)), self._dtype) for _ in range(count))

    def lay(self, arrays: tuple[Array, ...], rows: int) -> int:
        """Moves the first `rows` rows into arrays from `blank`, as far as they fit there. Returns bytes copied."""
        moved = 0
        if rows:
            shape = (rows, *map(min, self.array.shape[1:], arrays[0].shape[1:]))
            box = tuple(slice(size) for size in shape)
            arrays[0][box] = self.array[box]
            moved = arrays[0][box].nbytes
        self.array, self.second = arrays[0], arrays[1] if len(arrays) == 2 else None
        return moved

    def row_of(self, start: Mapping[str, Array], row: int, content: Mapping[str, int]) -> Array | None:
        """Row `row` of what the state starts from, [1, ...], cropped to `content`; None where it starts from nothing.

        Raises ValueError if that is missing, has not that row, or differs in datatype, rank or a fixed size.
        """
        name = self.spec.source
        if name is None:
            return None
        array = start.get(name)
        if array is None:
            raise ValueError(f"state {self.spec.name} starts from {name!r}, which is missing")
        fits = array.ndim == len(self._axes) + 1 and all(
            isinstance(axis, str) or axis == size for axis, size in zip(self._axes, array.shape[1:], strict=True)
        )
        if not fits or array.dtype != self._dtype or not 0 <= row < array.shape[0]:
            raise ValueError(
                f"state {self.spec.name} starts from row {row} of {name!r}, {self._dtype} [row, "
                f"{', '.join(map(str, self._axes))}]; it is {array.dtype} {list(array.shape)}"
            )
        return array[(slice(row, row + 1), *(slice(content.get(str(axis), WHOLE)) for axis in self._axes))]

    def lengths_of(self, row: Array) -> Iterable[tuple[str, int]]:
        """The lengths of what `row_of` gave."""
        return ((axis, size) for axis, size in zip(self._axes, row.shape[1:], strict=True) if isinstance(axis, str))

    def begin(self, rows: slice, start: Array | None, stale: Mapping[str, int]) -> int:
        """Rows begin as `start`, all else in them zero; they were filled to `stale`. Returns bytes written."""
        if start is None:
            self.array[self._box(rows, stale)] = 0
            return 0
        held = start.shape[1:]
        target = self.array[(rows, *map(slice, held))]
        target[...] = start
        self._clear(rows, held, stale)
        return target.nbytes

    def move(self, row: int, origin: int, held: Mapping[str, int], stale: Mapping[str, int]) -> int:
        """Row `row`, filled to `stale`, becomes what row `origin`, filled to `held`, is. Returns bytes copied."""
        if self._fixed:
            self.array[row] = self.array[origin]
            return int(self.array.strides[0])
        target, source = self.array[row], self.array[origin]
        kept = self._extent(held)
        box = tuple(map(slice, kept))
        part: Array = target[box]
        part[...] = source[box]
        self._clear(slice(row, row + 1), kept, stale)
        return part.nbytes

    def copy(self, order: Iterable[tuple[int, int]], held: Mapping[str, int]) -> int:
        """Copies rows (target, origin) in this order, only the positions `held`. Returns bytes copied."""
        part = self.array[self._box(slice(None), held)]
        spare = part[:0]
        moved = 0
        for row, origin in order:
            if row == SPARE:
                spare = part[origin].copy()
            else:
                part[row] = spare if origin == SPARE else part[origin]
            moved += part[0].nbytes
        return moved

    def flip(self) -> None:
        """What was written to the second array becomes the state."""
        if self.second is not None:
            self.array, self.second = self.second, self.array

    def gather(self, rows: Sequence[int], length: int) -> Array:
        """A contiguous copy of the first `length` positions of these rows of an `append` state."""
        return np.ascontiguousarray(self.array[self._positions(np.asarray(rows, np.intp), 0, length)])

    def append(self, rows: Sequence[int], length: int, present: Array) -> None:
        """Writes positions `length` and on of `present` to these rows of an `append` state.

        Raises ValueError if there is no capacity for them.
        """
        axis = self.spec.growing_axis or 0
        stop, capacity = present.shape[axis], self.array.shape[axis]
        if stop > capacity:
            raise ValueError(f"state {self.spec.name} has room for {capacity} positions; {stop} were written")
        target = self._positions(np.asarray(rows, np.intp), length, stop)
        self.array[target] = present[self._positions(slice(None), length, stop)]

    def _positions(self, rows: slice | NDArray[np.intp], start: int, stop: int) -> tuple[slice | NDArray[np.intp], ...]:
        axis = self.spec.growing_axis
        return (rows, *(slice(start, stop) if at == axis else slice(None) for at in range(1, self.array.ndim)))

    def _extent(self, lengths: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(lengths.get(axis, WHOLE) if isinstance(axis, str) else axis for axis in self._axes)

    def _box(self, rows: slice, lengths: Mapping[str, int]) -> tuple[slice, ...]:
        return (rows, *map(slice, self._extent(lengths)))

    def _clear(self, rows: slice, held: tuple[int, ...], stale: Mapping[str, int]) -> None:
        """Zeroes what lies within `stale` and beyond `held`."""
        box = self._box(rows, stale)
        for axis, (kept, part) in enumerate(zip(held, box[1:], strict=True), start=1):
            if kept < part.stop:
                self.array[(*box[:axis], slice(kept, part.stop), *box[axis + 1 :])] = 0


def copy_order(rows: Iterable[int], parents: Iterable[int]) -> list[tuple[int, int]]:
    """Copies (target, origin) by which each row becomes what its parent was, none read after it was overwritten.

    Rows that are their own parents do not appear. A cycle begins with a copy to SPARE and ends with one from there.
    """
    origin = {row: parent for row, parent in zip(rows, parents, strict=True) if row != parent}
    readers: dict[int, int] = {}
    for parent in origin.values():
        readers[parent] = readers.get(parent, 0) + 1
    free = [row for row in origin if row not in readers]
    order: list[tuple[int, int]] = []
    while origin:
        if not free:  # all that remains are cycles, in which each row has one reader
            row = next(iter(origin))
            order.append((SPARE, row))
            origin[next(reader for reader, parent in origin.items() if parent == row)] = SPARE
            free.append(row)
        row = free.pop()
        parent = origin.pop(row)
        order.append((row, parent))
        if parent != SPARE:
            readers[parent] -= 1
            if not readers[parent] and parent in origin:
                free.append(parent)
    return order


def length_names(spec: StateSpec, *, growing: bool | None = None) -> set[str]:
    """The names of a state's length axes: all, or only the growing one, or all but that."""
    return {
        axis.name
        for place, axis in enumerate(spec.axes)
        if isinstance(axis, LengthAxis) and growing in (None, place == spec.growing_axis)
    }


def _inner(spec: StateSpec) -> Iterable[LengthAxis | FixedAxis]:
    for axis in spec.axes[1:]:
        if not isinstance(axis, LengthAxis | FixedAxis):
            raise ValueError(f"state {spec.name}: an axis after the first is neither a length nor fixed")
        yield axis
