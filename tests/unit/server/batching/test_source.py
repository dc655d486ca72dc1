"""Work that makes its own runs, beside lanes that batch: cores, turns, waking, and what goes wrong."""

from dataclasses import dataclass, field

import pytest

from server.batching.cost import Coefficients
from server.batching.source import OwnRun
from tests.support.simulation import ANSWERED, Machine, ThreadDeath

HALF = Coefficients(fixed_s=0.02, row_s=0.0, token_s=0.0, pair_s=0.0)
"""A batch takes 20 ms, whatever is in it."""


@dataclass(eq=False)
class Source:
    """Has so many runs to make; notes when each began and ended."""

    machine: Machine
    runs: int
    seconds: float = 0.001
    threads: int = 1
    believed: float | None = None
    """What a run is predicted to take; None: what it takes."""
    served_s: float = 0.0
    breaks_at: int | None = None
    dies_at: int | None = None
    stumbles_at: int | None = None
    """After this run, seeing to what it did breaks."""
    begun: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    asked: int = 0

    @property
    def run_s(self) -> float:
        return self.seconds if self.believed is None else self.believed

    def next_run(self, now: float) -> OwnRun | None:
        self.asked += 1
        if len(self.begun) >= self.runs:
            return None
        self.begun.append(now)
        return OwnRun(self.run_s, self._work, self._done, self._failed)

    def _work(self) -> None:
        self.machine.compute(self.seconds, self.threads)
        number = len(self.begun)
        if number == self.breaks_at:
            raise ValueError("broke")
        if number == self.dies_at:
            raise ThreadDeath

    def _done(self):
        if len(self.begun) == self.stumbles_at:
            raise ValueError("stumbled")
        self.ended.append(self.machine.clock.now())
        return lambda: self.told.append(self.machine.clock.now())

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.ended.append(self.machine.clock.now())

    @property
    def spent_s(self) -> float:
        return sum(end - begin for begin, end in zip(self.begun, self.ended, strict=False)) * self.threads


def wake(machine, *sources, at=0.0):
    for source in sources:
        machine.at(at, machine.scheduler.wake, source)


def flood(machine, lane, until, callers=64):
    """Callers that never let a lane run dry."""
    machine.closed_loop(callers, until, lambda then: machine.ask(lane, then=then))


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_follow_one_another_until_there_is_none():
    with Machine(cores=1) as machine:
        source = Source(machine, 5)
        wake(machine, source)
        machine.run()
        assert source.ended == pytest.approx([0.001 * number for number in range(1, 6)])
        assert source.told == source.ended
        assert source.asked == 6


def test_a_source_with_nothing_to_do_gives_its_cores_back():
    with Machine(cores=1) as machine:
        source, lane = Source(machine, 0), machine.lane()
        wake(machine, source)
        machine.at(0.001, machine.ask, lane)
        machine.run()
        assert (source.asked, machine.calls[0].fate) == (1, ANSWERED)


def test_a_source_is_woken_again_when_there_is_something_to_do():
    with Machine(cores=1) as machine:
        source = Source(machine, 2)
        wake(machine, source)

        def more():
            source.runs += 3
            machine.scheduler.wake(source)

        machine.at(1.0, more)
        machine.run()
        assert len(source.ended) == 5


def test_waking_while_a_run_goes_on_is_not_lost_and_makes_no_second_run():
    with Machine(cores=2) as machine:
        source = Source(machine, 1, seconds=1.0)
        wake(machine, source)

        def more():
            source.runs += 1
            machine.scheduler.wake(source)
            machine.scheduler.wake(source)

        machine.at(0.5, more)
        machine.run()
        assert source.begun == [0.0, 1.0]


def test_waking_as_the_last_run_ends_is_not_lost():
    with Machine(cores=1) as machine:
        source = Source(machine, 1)
        tell = source._done

        def done():
            source.runs = 2
            machine.scheduler.wake(source)
            return tell()

        source._done = done
        wake(machine, source)
        machine.run()
        assert len(source.ended) == 2


def test_the_next_run_begins_before_anybody_is_told_of_the_last():
    with Machine(cores=1) as machine:
        source, order = Source(machine, 2), []
        next_run = source.next_run

        def choose(now):
            order.append("chosen")
            return next_run(now)

        source.next_run = choose
        source._done = lambda: lambda: order.append("told")
        wake(machine, source)
        machine.run()
        assert order == ["chosen", "chosen", "told", "chosen", "told"]


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["breaks_at", "dies_at", "stumbles_at"])
def test_a_run_that_fails_is_told_and_the_next_is_made(fault):
    with Machine(cores=1) as machine:
        source = Source(machine, 4, **{fault: 2})
        wake(machine, source)
        machine.run()
        assert (len(source.failures), len(source.ended), len(source.told)) == (1, 4, 3)


def test_a_run_that_fails_harms_no_batch():
    with Machine(cores=2) as machine:
        source, lane = Source(machine, 50, dies_at=3), machine.lane()
        wake(machine, source)
        flood(machine, lane, 0.2)
        machine.run()
        assert {call.fate for call in machine.calls} == {ANSWERED}


# --- cores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [(1,), (2,), (1, 2), (1, 1, 2), (2, 2)])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("lane_threads", [(1,), (2,), (1, 2)])
def test_no_more_cores_are_taken_than_there_are(threads, ahead, lane_threads):
    """`Machine.run` holds the cores that computed at once against those there are."""
    with Machine(cores=2, ahead=ahead, noise=0.3, seed=len(threads)) as machine:
        sources = [Source(machine, 10**6, 0.002 * (1 + number), count) for number, count in enumerate(threads)]
        lanes = [machine.lane("a", threads=lane_threads), machine.lane("b", HALF)]
        wake(machine, *sources)
        for lane in lanes:
            flood(machine, lane, 1.0, 32)
        machine.at(1.0, lambda: [setattr(source, "runs", 0) for source in sources])
        machine.run()
        assert machine.most_cores == 2
        assert all(len(source.ended) > 5 for source in sources), "nobody starves"
        assert {call.fate for call in machine.calls} == {ANSWERED}


def test_a_source_of_all_cores_waits_for_all_of_them_and_gets_them():
    with Machine(cores=2) as machine:
        source, lane = Source(machine, 20, threads=2), machine.lane(truth=HALF, max_rows=1)
        flood(machine, lane, 2.0, 8)
        wake(machine, source, at=0.1)
        machine.run()
        assert len(source.ended) == 20
        assert source.ended[-1] < 1.9


# --- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "step_s"),
    [(0, 0.001), (0, 0.02), (0, 0.1), pytest.param(1, 0.001), (1, 0.02), (1, 0.1)],
)
def test_a_source_and_a_lane_share_the_cores_by_what_they_have_had(ahead, step_s):
    with Machine(cores=1, ahead=ahead) as machine:
        source, lane = Source(machine, 10**6, step_s), machine.lane(truth=HALF, max_rows=4)
        wake(machine, source)
        flood(machine, lane, 10.0)
        machine.at(10.0, lambda: setattr(source, "runs", 0))
        machine.run()
        assert source.spent_s == pytest.approx(5.0, rel=0.1)


def test_two_sources_share_the_cores_by_what_they_have_had():
    with Machine(cores=1) as machine:
        quick, slow = Source(machine, 10**6, 0.001), Source(machine, 10**6, 0.03)
        wake(machine, quick, slow)
        machine.at(10.0, lambda: [setattr(source, "runs", 0) for source in (quick, slow)])
        machine.run()
        assert quick.spent_s == pytest.approx(5.0, rel=0.1)


def test_what_a_run_took_is_paid_for_and_not_what_was_predicted():
    with Machine(cores=1, ahead=0) as machine:
        source, lane = Source(machine, 10**6, 0.02, believed=0.001), machine.lane(truth=HALF, max_rows=4)
        wake(machine, source)
        flood(machine, lane, 10.0)
        machine.at(10.0, lambda: setattr(source, "runs", 0))
        machine.run()
        assert source.spent_s == pytest.approx(5.0, rel=0.1)


def test_a_source_that_slept_has_saved_nothing_up():
    with Machine(cores=1, ahead=0) as machine:
        source, lane = Source(machine, 10**6, 0.02), machine.lane(truth=HALF, max_rows=4)
        flood(machine, lane, 10.0)
        wake(machine, source, at=5.0)
        machine.at(10.0, lambda: setattr(source, "runs", 0))
        machine.run()
        assert source.spent_s == pytest.approx(2.5, rel=0.1)


def test_it_is_told_whether_a_lane_waits():
    with Machine(cores=1, ahead=0) as machine:
        source, lane, seen = Source(machine, 4, 0.01), machine.lane(), []
        source._done = lambda: seen.append(machine.scheduler.contended)
        wake(machine, source)
        machine.at(0.015, machine.ask, lane)
        machine.run()
        assert seen == [False, True, True, False]


def test_a_lane_foresees_what_sources_take():
    with Machine(cores=1, ahead=0) as machine:
        source, lane = Source(machine, 3, 0.5), machine.lane()
        wake(machine, source)
        machine.at(0.1, lambda: (machine.ask(lane, within=0.3), machine.ask(lane, within=3.0)))
        machine.run()
        assert [call.fate for call in machine.calls] == ["DEADLINE_UNREACHABLE", ANSWERED]
