import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.cost import Coefficients, Cost
from server.batching.variant import BatchLimits, Variant
from server.clock import ManualClock
from server.loading.calibration import MAX_TOKENS, REPETITIONS, Timer, measure, sizes
from server.loading.samples import Samples
from server.manifest import GraphSpec, LengthAxis, Manifest, RowAxis
from tests.support.requests import ECHO, IDS, MASK, SUM
from tests.support.row_sums import layout_of, run_sums, work_of

LIMITS = BatchLimits(64, 4096)
TRUTH = Coefficients(2e-3, 1e-4, 5e-5, 2e-8)
LAYOUTS = ("rows", "block-diagonal", "gathered")


def samples(longest=128):
    inputs = tuple(spec.model_copy(update={"axes": (RowAxis(), LengthAxis(max=longest))}) for spec in (IDS, MASK))
    manifest = Manifest(
        name="m", task="tensors", graphs=(GraphSpec(file="model.onnx", opset=20),), inputs=inputs, outputs=(ECHO, SUM)
    )
    return Samples(manifest)


class Machine:
    """Three clocks; a run moves them by its true cost, and each by the share that falls on it."""

    def __init__(self, truth=TRUTH, *, first_s=0.0, noise=(1.0,)):
        self.truth, self.first_s, self.noise = truth, first_s, noise
        self.clocks = {"thread": ManualClock(), "process": ManualClock(), "wall": ManualClock()}
        self.shares = {"thread": 1.0, "process": 1.0, "wall": 1.0}
        self.works = []

    @property
    def timer(self):
        return Timer(**{name: clock.now for name, clock in self.clocks.items()})

    def run(self, inputs, outputs, stop):
        work = work_of(inputs)
        seconds = self.truth.seconds(work) * self.noise[len(self.works) % len(self.noise)]
        seconds += 0.0 if self.works else self.first_s
        self.works.append(work)
        for name, clock in self.clocks.items():
            clock.advance(seconds * self.shares[name])
        return run_sums(inputs, outputs)

    def variant(self, layout="rows", **more):
        return Variant(
            layout_of(layout), "fp32", self.run, frozenset(("sum",)), ("sum",), Cost(TRUTH), **{"threads": 1, **more}
        )

    def measure(self, layout="rows", seconds=60.0, longest=128, limits=LIMITS, **more):
        return measure(self.variant(layout, **more), samples(longest), limits, seconds, self.timer)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_measured_leads_to_what_runs_cost(layout):
    """At sizes that were not measured as well."""
    machine = Machine()
    cost = Cost.measured(machine.measure(layout))
    for rows, length in ((1, 20), (3, 100), (10, 40), (20, 50)):
        work = machine.variant(layout).layout.work(rows, rows * length, length)
        assert cost.seconds(work) == pytest.approx(TRUTH.seconds(work), rel=0.1)


def test_of_the_repetitions_the_least_counts():
    """Neighbours on the machine make a run slow, never quick."""
    machine = Machine(noise=(1.0, 1.0, 3.0, 1.4))
    assert all(one.seconds == pytest.approx(TRUTH.seconds(one.work)) for one in machine.measure())


def test_the_first_run_of_all_which_allocates_is_not_counted():
    machine = Machine(first_s=1.0)
    assert machine.measure()[0].seconds < 0.1


@pytest.mark.parametrize(
    ("more", "shares", "factor"),
    [
        ({}, {"wall": 5.0, "process": 9.0}, 1.0),
        ({"counts_cpu": False}, {"thread": 0.0, "wall": 5.0}, 1.0),
        ({"counts_cpu": False}, {"thread": 0.0, "process": 9.0}, 1.0),
        ({"threads": 2}, {"thread": 0.5, "process": 2.0}, 1.0),
    ],
)
def test_a_run_is_timed_where_it_computes(more, shares, factor):
    """In its own thread; in the provider's, by whichever of wall and process was disturbed less; or on the wall."""
    machine = Machine()
    machine.shares |= shares
    for one in machine.measure(**more):
        assert one.seconds == pytest.approx(factor * TRUTH.seconds(one.work))


def test_a_run_that_takes_no_time_at_all_still_has_one():
    assert all(one.seconds > 0 for one in Machine(Coefficients(0.0, 0.0, 0.0, 0.0)).measure())


@settings(max_examples=30)
@given(
    st.builds(Coefficients, st.floats(1e-5, 1e-2), st.floats(0, 1e-3), st.floats(1e-6, 1e-3), st.just(0.0)),
    st.floats(0.0, 5.0),
    st.sampled_from(LAYOUTS),
)
def test_measuring_stays_in_its_time_but_for_the_smallest_size(truth, seconds, layout):
    machine = Machine(truth)
    found = machine.measure(layout, seconds)
    smallest = (REPETITIONS + 1) * truth.seconds(found[0].work)
    assert machine.clocks["wall"].now() <= 1.5 * seconds + smallest


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_smallest_size_is_measured_however_little_time_there_is(layout):
    (only,) = Machine(Coefficients(10.0, 0.0, 1.0, 0.0)).measure(layout, seconds=1e-3)
    assert only.work.rows == 1
    assert only.work.tokens <= 16


def test_sizes_rise_and_stay_within_the_limits():
    for layout in LAYOUTS:
        found = sizes(Machine().variant(layout), 128, BatchLimits(8, 256))
        tokens = [count * length for count, length in found]
        assert tokens == sorted(tokens)
        assert all(count == 1 or (count <= 8 and count * length <= 256) for count, length in found)
        assert (1, 128) in found


def test_no_more_than_some_thousand_tokens_are_measured_but_for_a_single_row():
    found = sizes(Machine().variant(), 5000, BatchLimits(1000, 100_000))
    assert all(count == 1 or count * length <= MAX_TOKENS for count, length in found)
    assert (1, 5000) in found


def test_a_model_without_lengths_is_measured_over_rows():
    found = sizes(Machine().variant(), 1, BatchLimits(16, 4096))
    assert {length for _, length in found} == {1}
    assert max(count for count, _ in found) == 16


def test_with_several_streams_each_prepares_every_size_before_it_is_timed():
    machine = Machine()
    found = machine.measure(streams=3, counts_cpu=False)
    assert len(machine.works) >= len(found) * (3 + 1)


def test_a_run_that_fails_is_raised_whichever_stream_it_was_in():
    machine = Machine()

    def fail(*_):
        raise RuntimeError("broke")

    for streams in (1, 3):
        variant = machine.variant(streams=streams)
        variant.run = fail
        with pytest.raises(RuntimeError, match="broke"):
            measure(variant, samples(), LIMITS, 1.0, machine.timer)
