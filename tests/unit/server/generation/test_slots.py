"""State rows against a model of independent arrays: joins, leaves, beams, growth and steps in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.generation.buffers import SPARE, copy_order
from server.generation.slots import Slots, StatesFull
from server.manifest import FixedAxis, LengthAxis, RowAxis, StateSpec
from server.tensors import NUMPY_DTYPES, Array, Datatype

ROW, POSITION, SOURCE, PAIR = RowAxis(), LengthAxis(name="position"), LengthAxis(name="source"), FixedAxis(size=2)
SHARED = StateSpec(
    name="shared",
    output="shared.out",
    datatype=Datatype.FP32,
    axes=(ROW, PAIR, POSITION, FixedAxis(size=3)),
    kind="append",
    growing_axis=2,
    length_input="lengths",
    aliasable=True,
)
COPIED = StateSpec(
    name="copied",
    output="copied.out",
    datatype=Datatype.FP16,
    axes=(ROW, POSITION, PAIR),
    kind="append",
    growing_axis=1,
)
HIDDEN = StateSpec(
    name="hidden", output="hidden.out", source="first", datatype=Datatype.FP32, axes=(ROW, PAIR), kind="replace"
)
COVERED = StateSpec(name="covered", output="covered.out", datatype=Datatype.INT64, axes=(ROW, SOURCE), kind="replace")
MEMORY = StateSpec(name="memory", source="memory", datatype=Datatype.FP32, axes=(ROW, PAIR, SOURCE), kind="constant")
MASK = StateSpec(name="mask", source="mask", datatype=Datatype.BOOL, axes=(ROW, SOURCE), kind="constant")
SIZE = StateSpec(name="size", source="size", datatype=Datatype.INT32, axes=(ROW,), kind="constant")
STATES = (SHARED, COPIED, HIDDEN, COVERED, MEMORY, MASK, SIZE)
NUMBERS = count(1)


def filled(spec: StateSpec, *shape: int) -> Array:
    """Numbers that no other array of this test has, as far as the datatype allows."""
    return np.full(shape, next(NUMBERS) % 2000 + 1, NUMPY_DTYPES[spec.datatype])


def encoded(rows: int, source: int) -> dict[str, Array]:
    return {
        "first": np.stack([filled(HIDDEN, 2) for _ in range(rows)]),
        "memory": np.stack([filled(MEMORY, 2, source) for _ in range(rows)]),
        "mask": np.ones((rows, source), np.bool_),
        "size": np.stack([filled(SIZE) for _ in range(rows)]),
    }


@dataclass(eq=False)
class Row:
    """What one sequence's states must be, without any padding."""

    request: int
    promise: int
    source: int
    constants: dict[str, Array]
    hidden: Array
    shared: Array = field(default_factory=lambda: np.zeros((2, 0, 3), np.float32))
    copied: Array = field(default_factory=lambda: np.zeros((0, 2), np.float16))
    covered: Array | None = None

    @property
    def length(self) -> int:
        return self.shared.shape[1]


class AnySchedule(RuleBasedStateMachine):
    @initialize(
        max_rows=st.integers(1, 9), max_bytes=st.sampled_from([700, 3000, 8000, 10**6]), first=st.integers(1, 6)
    )
    def start(self, max_rows: int, max_bytes: int, first: int) -> None:
        self.max_rows, self.max_bytes = max_rows, max_bytes
        self.slots = Slots(STATES, max_rows=max_rows, max_bytes=max_bytes, first_rows=first, first_length=first)
        self.rows: list[Row] = []
        self.requests = count()

    @rule(data=st.data(), rows=st.integers(1, 3), source=st.integers(1, 20), promise=st.integers(1, 40))
    def join(self, data: st.DataObject, rows: int, source: int, promise: int) -> None:
        lengths = {"position": promise, "source": source, "of no state": 10**9}
        if not self.slots.room_for(rows, lengths):
            assert self._bytes_of(len(self.rows) + rows, promise, source) > self.max_bytes or (
                len(self.rows) + rows > self.max_rows
            )
            return
        batch = data.draw(st.integers(1, 3))
        row = data.draw(st.integers(0, batch - 1))
        start = encoded(batch, source + data.draw(st.integers(0, 3)))

        new = self.slots.join(start, row, rows, content={"source": source}, lengths={"position": promise})

        assert new == range(len(self.rows), len(self.rows) + rows)
        request = next(self.requests)
        constants = {
            "memory": start["memory"][row, :, :source],
            "mask": start["mask"][row, :source],
            "size": start["size"][row],
        }
        self.rows += [Row(request, promise, source, constants, start["first"][row]) for _ in new]

    def _bytes_of(self, rows: int, position: int, source: int) -> int:
        position = max([position, *(row.promise for row in self.rows)])
        source = max([source, *(row.source for row in self.rows)])
        return rows * (24 * position + 4 * position + 16 + 16 * source + 8 * source + source + 4)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), told=st.booleans())
    def leave(self, data: st.DataObject, told: bool) -> None:
        row = data.draw(st.integers(0, len(self.rows) - 1))
        last = len(self.rows) - 1

        moved = self.slots.leave(row, [one.length for one in self.rows] if told else None)

        assert moved == (None if row == last else last)
        self.rows[row] = self.rows[last]
        self.rows.pop()

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), by_name=st.booleans())
    def reorder(self, data: st.DataObject, by_name: bool) -> None:
        request = data.draw(st.sampled_from(self.rows)).request
        own = [
            row for row, one in enumerate(self.rows) if one.request == request and one.length == self._length(request)
        ]
        parents = [data.draw(st.sampled_from(own)) for _ in own]
        length = self.rows[own[0]].length

        copied = self.slots.reorder(own, parents, {"position": length} if by_name else length)

        assert copied == sum(row != parent for row, parent in zip(own, parents, strict=True))
        before = [replace(self.rows[parent]) for parent in parents]
        for row, was in zip(own, before, strict=True):
            self.rows[row] = was

    def _length(self, request: int) -> int:
        return next(row.length for row in self.rows if row.request == request)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """All rows at once; those that rest, or must not grow, stay as they were."""
        kept = [row for row, one in enumerate(self.rows) if one.length == one.promise or data.draw(st.booleans())]
        self.slots.reserve(
            0, {"position": 1 + max((one.length for one in self.rows if one.length < one.promise), default=0)}
        )
        shared, hidden, covered = (self.slots.present(name) for name in ("shared", "hidden", "covered"))
        assert shared is not None
        assert hidden is not None
        assert covered is not None
        for row, one in enumerate(self.rows):
            new = [filled(SHARED, 2, 1, 3), filled(COPIED, 1, 2), filled(HIDDEN, 2), filled(COVERED, covered.shape[1])]
            if one.length < shared.shape[2]:
                shared[row, :, one.length : one.length + 1] = new[0]
            hidden[row], covered[row] = new[2:]
            if row in kept:
                continue
            past = self.slots.gather("copied", [row], one.length)
            assert past.flags.c_contiguous
            self.slots.append("copied", [row], one.length, np.concatenate([past, new[1][None]], axis=1))
            self._advance(one, *new)
        parity = self.slots.parity
        self.slots.flip(kept=kept)
        assert self.slots.parity != parity

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), chunk=st.integers(1, 12))
    def run_one(self, data: st.DataObject, chunk: int) -> None:
        """A part of one row's prompt, while others live."""
        row = data.draw(st.integers(0, len(self.rows) - 1))
        one = self.rows[row]
        chunk = min(chunk, one.promise - one.length)
        self.slots.reserve(0, {"position": one.length + chunk})
        shared, hidden, covered = (self.slots.present_of(name, row) for name in ("shared", "hidden", "covered"))
        assert shared is not None
        assert hidden is not None
        assert covered is not None
        new = [
            filled(SHARED, 2, chunk, 3),
            filled(COPIED, chunk, 2),
            filled(HIDDEN, 2),
            filled(COVERED, covered.shape[1]),
        ]
        shared[0, :, one.length : one.length + chunk] = new[0]
        hidden[0], covered[0] = new[2:]
        past = self.slots.gather("copied", [row], one.length)
        self.slots.append("copied", [row], one.length, np.concatenate([past, new[1][None]], axis=1))
        parity = self.slots.parity
        self.slots.flip(slice(row, row + 1))
        assert self.slots.parity == parity
        self._advance(one, *new)

    def _advance(self, one: Row, shared: Array, copied: Array, hidden: Array, covered: Array) -> None:
        one.shared = np.concatenate([one.shared, shared], axis=1)
        one.copied = np.concatenate([one.copied, copied])
        one.hidden, one.covered = hidden, covered

    @rule(rows=st.integers(0, 3), position=st.integers(0, 30))
    def reserve(self, rows: int, position: int) -> None:
        """Capacity that nobody comes to use; a refusal changes nothing."""
        before = (self.slots.capacity, dict(self.slots.lengths), self.slots.generation)
        position = min(position, max((row.promise for row in self.rows), default=0))
        try:
            self.slots.reserve(rows, {"position": position})
        except StatesFull:
            assert (self.slots.capacity, self.slots.lengths, self.slots.generation) == before
        else:
            assert self.slots.capacity >= len(self.rows) + rows
            assert self.slots.lengths["position"] >= position

    @rule()
    def clear(self) -> None:
        self.slots.clear()
        self.rows = []

    @invariant()
    def every_row_is_what_its_sequence_is(self) -> None:
        past = {spec.name: self.slots.past(spec.name) for spec in STATES}
        for row, one in enumerate(self.rows):
            np.testing.assert_array_equal(past["shared"][row, :, : one.length], one.shared)
            np.testing.assert_array_equal(past["copied"][row, : one.length], one.copied)
            # A row that rests may have been written one position more.
            assert not past["shared"][row, :, one.length + 1 :].any()
            assert not past["copied"][row, one.length :].any()
            np.testing.assert_array_equal(past["hidden"][row], one.hidden)
            covered = np.zeros(one.source, np.int64) if one.covered is None else one.covered
            np.testing.assert_array_equal(past["covered"][row, : one.source], covered[: one.source])
            np.testing.assert_array_equal(past["memory"][row, :, : one.source], one.constants["memory"])
            assert not past["memory"][row, :, one.source :].any()
            np.testing.assert_array_equal(past["mask"][row, : one.source], one.constants["mask"])
            assert not past["mask"][row, one.source :].any()
            assert past["size"][row] == one.constants["size"]

    @invariant()
    def limits_hold_and_buffers_are_dense(self) -> None:
        slots = self.slots
        assert slots.rows == len(self.rows) <= slots.capacity <= self.max_rows
        assert slots.state_bytes <= self.max_bytes
        for spec in STATES:
            past, present = slots.past(spec.name), slots.present(spec.name)
            assert past.flags.c_contiguous
            assert len(past) == slots.rows
            assert (present is None) == (spec.name in ("copied", "memory", "mask", "size"))
            if present is not None and slots.rows:
                assert present.flags.c_contiguous
                assert np.shares_memory(past, present) == spec.aliasable


TestAnySchedule = AnySchedule.TestCase
TestAnySchedule.settings = settings(stateful_step_count=40, deadline=None)


def slots_of(*states: StateSpec, max_rows: int = 64, max_bytes: int = 10**9, **sizes: int) -> Slots:
    return Slots(states, max_rows=max_rows, max_bytes=max_bytes, **sizes)


def address(array: Array | None) -> int:
    assert array is not None
    return array.__array_interface__["data"][0]


def test_rows_and_lengths_double_and_are_laid_anew_together() -> None:
    slots = slots_of(SHARED, first_rows=2, first_length=4)
    slots.join({})
    generation = slots.generation

    slots.reserve(2, {"position": 5})

    assert (slots.capacity, slots.lengths["position"], slots.generation) == (4, 8, generation + 1)
    slots.reserve(3, {"position": 8})
    assert slots.generation == generation + 1


def test_capacity_never_passes_what_the_graph_or_the_rows_allow() -> None:
    bounded = SHARED.model_copy(update={"axes": (ROW, PAIR, LengthAxis(name="position", max=10), FixedAxis(size=3))})
    slots = slots_of(bounded, max_rows=5, first_rows=4, first_length=8)

    slots.reserve(5, {"position": 9})

    assert (slots.capacity, slots.lengths["position"]) == (5, 10)
    assert not slots.room_for(1, {"position": 11})
    with pytest.raises(StatesFull, match=r"length 11 .*'position'.* at most 10"):
        slots.reserve(1, {"position": 11})
    with pytest.raises(StatesFull, match="6 rows are needed; at most 5"):
        slots.reserve(6, {})


def test_refusal_names_the_bytes_that_are_needed_and_allowed() -> None:
    slots = slots_of(SHARED, max_bytes=1000)

    with pytest.raises(StatesFull, match="2400 bytes of states are needed; at most 1000 are allowed"):
        slots.reserve(2, {"position": 50})
    assert slots.room_for(2, {"position": 20})
    assert not slots.room_for(2, {"position": 21})


def test_limit_below_one_position_of_one_row_is_refused_at_once() -> None:
    with pytest.raises(StatesFull, match="24 bytes"):
        slots_of(SHARED, max_bytes=23)
    assert slots_of(SHARED, max_bytes=24).state_bytes == 24


def test_scarce_bytes_are_not_laid_anew_at_each_step() -> None:
    slots = slots_of(SHARED, max_bytes=24 * 3 * 100, first_rows=2, first_length=8)
    for _ in range(3):
        slots.join({}, lengths={"position": 100})
    generation = slots.generation

    for length in range(1, 101):
        slots.reserve(0, {"position": length})

    assert slots.generation - generation <= 5
    assert (slots.capacity, slots.lengths["position"]) == (3, 100)


def test_room_that_one_long_row_needed_is_given_back_to_many_short_ones() -> None:
    slots = slots_of(SHARED, max_bytes=24 * 100, first_rows=1, first_length=8)
    slots.join({}, lengths={"position": 100})
    slots.reserve(0, {"position": 100})
    assert not slots.room_for(1, {"position": 8})
    slots.leave(0)

    slots.join({}, lengths={"position": 10})
    assert slots.room_for(9, {"position": 10})
    slots.join({}, count=9, lengths={"position": 10})

    assert slots.capacity >= 10
    assert slots.lengths["position"] == 10


def test_row_without_a_promise_keeps_the_lengths_there_are() -> None:
    slots = slots_of(SHARED, max_bytes=24 * 40, first_rows=1, first_length=40)
    slots.join({})

    assert not slots.room_for(1, {"position": 1})


def test_live_rows_are_counted_by_what_they_may_come_to() -> None:
    slots = slots_of(SHARED, max_bytes=24 * 100, first_rows=2, first_length=4)
    slots.join({}, lengths={"position": 50})

    assert slots.room_for(1, {"position": 1})
    assert not slots.room_for(2, {"position": 1})
    assert slots.could_hold(2, {"position": 50})
    assert not slots.could_hold(2, {"position": 51})


def test_addresses_alternate_between_two_sets_and_stay() -> None:
    slots = slots_of(SHARED, HIDDEN)
    slots.join(encoded(1, 3))
    seen = {}

    for _ in range(6):
        now = (address(slots.past("hidden")), address(slots.present("hidden")), address(slots.past("shared")))
        assert seen.setdefault(slots.parity, now) == now
        slots.flip()

    assert seen[0] == (seen[1][1], seen[1][0], seen[1][2])


def test_parity_stays_where_no_state_is_replaced() -> None:
    slots = slots_of(SHARED)
    slots.join({})

    slots.flip()

    assert slots.parity == 0


def test_leave_moves_only_the_positions_that_are_held() -> None:
    slots = slots_of(SHARED, first_length=1024)
    slots.join({}, count=3)

    slots.leave(0, [1, 1, 9])
    assert slots.moved_bytes == 24 * 10
    slots.leave(1, [9, 1])
    assert slots.moved_bytes == 24 * 10


def test_reorder_copies_only_rows_with_another_parent_and_no_constants() -> None:
    slots = slots_of(SHARED, MEMORY, first_length=64)
    slots.join({"memory": filled(MEMORY, 1, 2, 5)}, count=4)
    before = slots.moved_bytes

    assert slots.reorder([0, 1, 2, 3], [0, 0, 2, 2], 7) == 2

    assert slots.moved_bytes - before == 2 * 7 * 24


def test_clear_goes_back_to_the_first_size() -> None:
    slots = slots_of(SHARED, HIDDEN, first_rows=2, first_length=4)
    first = slots.state_bytes
    slots.join(encoded(1, 3), count=5)
    slots.reserve(0, {"position": 100})

    slots.clear()

    assert (slots.rows, slots.capacity, slots.lengths, slots.state_bytes) == (0, 2, {"position": 4}, first)
    generation = slots.generation
    slots.join(encoded(1, 3))
    slots.clear()
    assert slots.generation == generation


def test_states_may_have_no_length_at_all() -> None:
    slots = slots_of(HIDDEN, SIZE, first_rows=1)

    slots.join(encoded(3, 1), row=2, count=3)

    assert slots.past("hidden").shape == (3, 2)
    assert slots.past_of("size", 1).shape == (1,)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, "'memory', which is missing"),
        ({"memory": np.zeros((1, 2), np.float32)}, "memory"),
        ({"memory": np.zeros((1, 3, 5), np.float32)}, r"float32 \[row, 2, source\]; it is float32 \[1, 3, 5\]"),
        ({"memory": np.zeros((1, 2, 5), np.float64)}, "it is float64"),
        ({"memory": np.zeros((0, 2, 5), np.float32)}, "row 0"),
    ],
)
def test_start_that_does_not_fit_is_refused_and_nobody_joins(start: Mapping[str, Array], message: str) -> None:
    slots = slots_of(SHARED, MEMORY)

    with pytest.raises(ValueError, match=message):
        slots.join(start)

    assert slots.rows == 0


def test_rows_that_are_not_live_are_refused() -> None:
    slots = slots_of(SHARED)
    slots.join({}, count=2)

    with pytest.raises(ValueError, match="not live: there are 2"):
        slots.leave(2)
    with pytest.raises(ValueError, match="not live"):
        slots.reorder([0], [-1], 1)
    with pytest.raises(ValueError, match="twice"):
        slots.reorder([0, 0], [1, 1], 1)


def test_state_that_beams_may_not_move_is_refused() -> None:
    slots = slots_of(SHARED.model_copy(update={"reorderable": False}))
    slots.join({}, count=2)

    assert slots.reorder([0, 1], [0, 1], 1) == 0
    with pytest.raises(ValueError, match="shared must not move"):
        slots.reorder([0], [1], 1)


def test_state_of_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold BYTES"):
        slots_of(HIDDEN.model_copy(update={"datatype": Datatype.BYTES}))


def test_positions_beyond_the_capacity_are_refused() -> None:
    slots = slots_of(COPIED, first_length=4)
    slots.join({})

    with pytest.raises(ValueError, match="room for 4 positions; 5 were written"):
        slots.append("copied", [0], 4, np.zeros((1, 5, 2), np.float16))


def test_length_that_constants_share_with_what_grows_is_moved_whole() -> None:
    """A manifest may give all its length axes one name; a source may be longer than what was written."""
    memory = MEMORY.model_copy(update={"axes": (ROW, PAIR, POSITION)})
    slots = slots_of(SHARED, memory)
    start = filled(memory, 2, 2, 9)
    start[1] += 1
    slots.join({"memory": start}, 0)
    slots.join({"memory": start}, 1)

    slots.leave(0, [1, 1])

    np.testing.assert_array_equal(slots.past("memory")[0, :, :9], start[1])


@given(st.lists(st.integers(0, 7), min_size=8, max_size=8), st.permutations(range(8)), st.integers(1, 8))
def test_reorder_reads_no_row_after_it_was_overwritten(parents: Sequence[int], rows: Sequence[int], size: int) -> None:
    slots = slots_of(HIDDEN, first_rows=8)
    start = np.arange(16, dtype=np.float32).reshape(8, 2)
    for row in range(8):
        slots.join({"first": start}, row)
    expected = start.copy()
    expected[list(rows[:size])] = start[list(parents[:size])]

    slots.reorder(rows[:size], parents[:size], 0)

    np.testing.assert_array_equal(slots.past("hidden"), expected)


@given(st.permutations(range(8)))
def test_permutation_is_done_with_one_spare_copy_a_cycle(parents: Sequence[int]) -> None:
    cycles, left = 0, {row for row, parent in enumerate(parents) if row != parent}
    while left:
        cycles += 1
        row = left.pop()
        while (row := parents[row]) in left:
            left.remove(row)

    order = copy_order(range(8), parents)

    assert sum(row == SPARE for row, _ in order) == cycles
    assert len(order) - cycles == sum(row != parent for row, parent in enumerate(parents))
