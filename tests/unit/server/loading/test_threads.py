import threading

import pytest

from server.batching.cost import Coefficients, Cost
from server.batching.variant import BatchLimits, Variant
from server.loading.samples import Samples
from server.loading.threads import CLEARLY, ThreadPlan, best_plan
from server.manifest import GraphSpec, Manifest
from tests.support.requests import ECHO, IDS, MASK, SUM
from tests.support.row_sums import layout_of, run_sums

CORES = 4
MANIFEST = Manifest(
    name="m",
    task="tensors",
    graphs=(GraphSpec(file="model.onnx", opset=20),),
    inputs=(IDS, MASK),
    outputs=(ECHO, SUM),
)
ONE, POOL, WIDE = ThreadPlan(1, 1), ThreadPlan(1, CORES), ThreadPlan(CORES, 1)


class Clocks:
    """A clock in each thread, which runs there move: those that go on at once do not wait for each other."""

    def __init__(self):
        self._of_thread = threading.local()
        self.runs = []

    def now(self):
        return getattr(self._of_thread, "now", 0.0)

    def way(self, plan, *seconds, fails=False):
        """A variant whose runs take these seconds in turn."""

        def run(inputs, outputs, stop):
            if fails:
                raise RuntimeError("no memory")
            number = getattr(self._of_thread, "number", 0)
            self._of_thread.number = number + 1
            self._of_thread.now = self.now() + seconds[number % len(seconds)]
            self.runs.append(plan)
            return run_sums(inputs, outputs)

        cost = Cost(Coefficients(1e-2, 0.0, 1e-5, 0.0))
        return plan, Variant(layout_of("rows"), "fp32", run, frozenset(("sum",)), ("sum",), cost, threads=plan.threads)

    def best(self, *ways, seconds=1.0):
        return best_plan(ways, Samples(MANIFEST), BatchLimits(64, 1024), CORES, seconds, self.now)


@pytest.mark.parametrize("other", [POOL, WIDE])
def test_a_way_that_is_clearly_faster_is_taken(other):
    """A run on all cores must be so much shorter than one on a single core as there are cores."""
    clocks = Clocks()
    even = 0.08 if other == POOL else 0.08 / CORES
    assert clocks.best(clocks.way(ONE, 0.08), clocks.way(other, even / (CLEARLY + 0.05))) == other


@pytest.mark.parametrize("other", [POOL, WIDE])
def test_a_way_that_is_hardly_faster_is_not_worth_its_memory(other):
    clocks = Clocks()
    even = 0.08 if other == POOL else 0.08 / CORES
    assert clocks.best(clocks.way(ONE, 0.08), clocks.way(other, even / (CLEARLY - 0.05))) == ONE


def test_of_several_faster_ways_the_fastest_is_taken():
    clocks = Clocks()
    assert clocks.best(clocks.way(ONE, 0.08), clocks.way(POOL, 0.05), clocks.way(WIDE, 0.01)) == WIDE


def test_runs_that_neighbours_on_the_machine_made_slow_do_not_decide():
    clocks = Clocks()
    assert clocks.best(clocks.way(ONE, 0.08, 0.5, 0.4, 0.08), clocks.way(POOL, 0.08)) == ONE


def test_a_way_that_fails_is_none(caplog):
    clocks = Clocks()
    assert clocks.best(clocks.way(ONE, 0.08), clocks.way(POOL, 0.001, fails=True)) == ONE
    assert "cannot be measured" in caplog.text


def test_where_every_way_fails_the_first_stays():
    clocks = Clocks()
    assert clocks.best(clocks.way(ONE, fails=True), clocks.way(POOL, fails=True)) == ONE


def test_measuring_takes_the_time_that_it_is_given():
    clocks = Clocks()
    clocks.best(clocks.way(ONE, 0.01), clocks.way(POOL, 0.01), seconds=1.2)
    one, pool = (clocks.runs.count(plan) * 0.01 / CORES for plan in (ONE, POOL))
    assert one + pool == pytest.approx(1.2, rel=0.1)
    assert one == pytest.approx(pool, rel=0.1)


def test_every_way_is_measured_in_turns_and_at_least_once():
    clocks = Clocks()
    clocks.best(clocks.way(ONE, 10.0), clocks.way(WIDE, 10.0), seconds=1e-3)
    assert [plan for plan in clocks.runs if plan == WIDE] == [WIDE] * 3
    assert clocks.runs.index(WIDE) < len(clocks.runs) - 1 - clocks.runs[::-1].index(ONE)


def test_a_plan_says_what_it_is():
    assert ThreadPlan(2, 1).name == "2 threads a run, 1 sessions"
