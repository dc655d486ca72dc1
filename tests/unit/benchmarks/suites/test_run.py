import json

import numpy as np
import pytest

from benchmarks.load.drive import LoadFailed
from benchmarks.load.latency import encode
from benchmarks.load.measured import Measured
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.catalogue import Arm
from benchmarks.peers.target import Target
from benchmarks.report.check import differences
from benchmarks.suites.cell import BestOf, Cell, Headline, ShareOfCapacity, Suite
from benchmarks.suites.run import Bench

OURS, SLOW, FAST = Arm("ours", "on", "noop"), Arm("slow", "plain", "noop"), Arm("fast", "plain", "noop")
TOKENS = {OURS.id: 400, SLOW.id: 100, FAST.id: 200}


class FakeTarget(Target):
    """Answers at a speed of its own, and notes what it was asked."""

    def __init__(self, arm: Arm, log: list):
        self.arm, self.log = arm, log

    def start(self) -> None:
        self.log.append(f"start {self.arm.target}")

    def stop(self) -> None:
        self.log.append(f"stop {self.arm.target}")

    def cpu_s(self) -> float:
        return 0.0

    def measure(self, job) -> Measured:
        self.log.append((self.arm.target, job.schedule))
        tokens = TOKENS.get(self.arm.id, 50)
        return Measured(
            seconds=1.0,
            answered=tokens // 10,
            useful_tokens=tokens,
            in_time=tokens // 10,
            latencies=encode(np.full(10, 1 / tokens)),
            cpu_s={"client": 0.01},
        )


class Unstartable(FakeTarget):
    def start(self) -> None:
        super().start()
        raise PeerUnavailable("it needs another Python")


class Failing(FakeTarget):
    def measure(self, job) -> Measured:
        raise LoadFailed("the client exited with 1")


def cell(name: str, b, load=Closed(4), **changes) -> Cell:  # noqa: B008
    return Cell(name, OURS, b, load, "sixteen", **changes)


def suite(*cells: Cell) -> Suite:
    headline = Headline("lowest", "ours over others", tuple(cell.id for cell in cells), at_least=1.0, aim=2.0)
    phase = Phase(0.1, 0.5)
    return Suite("made-up", cells, (headline,), phase, 2, phase, 2, requests=4)


@pytest.fixture
def log():
    return []


@pytest.fixture
def run(tmp_path, log):
    def run(*cells: Cell, kinds=None, fresh: bool = False):
        def make(arm, probe):
            return (kinds or {}).get(arm.target, FakeTarget)(arm, log)

        made = suite(*cells)
        bench = Bench(made, tmp_path, make, made.pairs, made.phase, tell=lambda _: None)
        return bench.run([cell.id for cell in cells], fresh=fresh)

    return run


def test_sides_run_interleaved_and_are_up_together(run, log):
    results = run(cell("x", SLOW))

    asked = [entry if isinstance(entry, str) else entry[0] for entry in log]
    assert asked[:8] == ["start ours", "start slow", "ours", "slow", "slow", "ours", "stop ours", "stop slow"]
    assert [pair.order for pair in results.cells[0].pairs] == ["AB", "BA"]
    assert results.ratios["lowest"].ratio.value == 4.0
    assert not list(differences(results))


def test_server_that_the_next_cell_needs_stays_up(run, log):
    run(cell("x", SLOW), cell("y", FAST))

    assert log.count("start ours") == 1
    assert log.index("stop slow") < log.index("start fast")


def test_lowest_ratio_is_that_over_the_best_peer(run):
    results = run(cell("x", SLOW), cell("y", FAST))

    assert results.ratios["lowest"].ratio.value == 2.0
    assert results.ratios["lowest"].decided_by == "y"


def test_peer_that_cannot_start_stands_with_its_reason_and_is_not_tried_again(run, log):
    results = run(cell("x", SLOW), cell("y", SLOW, Closed(8)), cell("z", FAST), kinds={"slow": Unstartable})

    assert results.unavailable == {"x": "it needs another Python", "y": "it needs another Python"}
    assert [found.id for found in results.cells] == ["z"]
    assert results.ratios["lowest"].left_out == {"x": "not measured", "y": "not measured"}
    assert log.count("start slow") == 1


def test_run_that_fails_stands_with_its_reason_and_the_next_starts_anew(run, log):
    results = run(cell("x", SLOW), cell("y", FAST), kinds={"slow": Failing})

    assert results.unavailable == {"x": "the client exited with 1"}
    assert [found.id for found in results.cells] == ["y"]
    assert log.count("start ours") == 2


def test_finished_cells_are_kept_until_they_are_asked_for_afresh(run, log):
    first = run(cell("x", SLOW))
    log.clear()

    again = run(cell("x", SLOW))
    assert again.cells == first.cells
    assert "start slow" not in log

    run(cell("x", SLOW), fresh=True)
    assert "start slow" in log


def test_cell_that_is_measured_otherwise_is_not_taken_from_before(run, log):
    run(cell("x", SLOW))
    log.clear()

    run(cell("x", SLOW, Closed(5)))

    assert "start slow" in log


def test_kept_cell_of_an_earlier_form_is_measured_again(run, log, tmp_path):
    run(cell("x", SLOW))
    (kept,) = (tmp_path / "state").iterdir()
    kept.write_text(json.dumps({"id": "x"}))
    log.clear()

    assert run(cell("x", SLOW)).cells[0].id == "x"
    assert "start slow" in log


def test_best_peer_is_the_fastest_of_those_measured(run):
    results = run(cell("x", SLOW), cell("y", FAST), cell("z", BestOf(("x", "y"))))

    assert results.cells[2].b == FAST.id


class Slowing(FakeTarget):
    """A machine whose clock falls: ours and the slow peer are measured first, and looked faster then."""

    def measure(self, job) -> Measured:
        earlier = sum(1 for entry in self.log if isinstance(entry, tuple)) < 4
        found = super().measure(job)
        return found.model_copy(update={"useful_tokens": found.useful_tokens * (10 if earlier else 1)})


def test_best_peer_is_told_by_pairs_and_not_by_separate_runs(run):
    slowing = dict.fromkeys(("ours", "slow", "fast"), Slowing)

    results = run(cell("x", SLOW), cell("y", FAST), cell("z", BestOf(("x", "y"))), kinds=slowing)

    assert results.cells[0].pairs[0].b.useful_tokens > results.cells[1].pairs[0].b.useful_tokens
    assert results.cells[2].b == FAST.id


def test_both_sides_of_a_pair_get_the_same_arrivals_and_each_pair_others(run):
    seeds = []

    class Noting(FakeTarget):
        def measure(self, job) -> Measured:
            seeds.append((self.arm.target, job.seed))
            return super().measure(job)

    run(cell("x", SLOW), kinds={"ours": Noting, "slow": Noting})

    assert seeds == [("ours", 20260), ("slow", 20260), ("slow", 20261), ("ours", 20261)]


def test_cell_with_a_phase_of_its_own_is_measured_by_it(run):
    phases = []

    class Noting(FakeTarget):
        def measure(self, job) -> Measured:
            phases.append(job.phase)
            return super().measure(job)

    run(cell("x", SLOW, phase=Phase(0.3, 0.9)), kinds={"slow": Noting})

    assert phases == [Phase(0.3, 0.9)] * 2


def test_rate_is_a_share_of_the_largest_capacity(run, log):
    run(cell("x", SLOW), cell("y", FAST), cell("z", FAST, ShareOfCapacity(0.7, ("x", "y"), "b"), figure="p99_ms"))

    rates = [entry[1].rate for entry in log if isinstance(entry, tuple) and isinstance(entry[1], Open)]
    assert rates == pytest.approx([0.7 * 20] * 4)


def test_capacity_may_be_counted_by_tokens(run, log):
    load = ShareOfCapacity(0.5, ("x",), "a", tokens_each=8.0)
    run(cell("x", SLOW), cell("z", FAST, load, figure="p99_ms"))

    rates = [entry[1].rate for entry in log if isinstance(entry, tuple) and isinstance(entry[1], Open)]
    assert rates == pytest.approx([0.5 * 400 / 8] * 4)


def test_cell_whose_capacity_is_not_known_is_told_so(run):
    results = run(cell("z", FAST, ShareOfCapacity(0.7, ("x",), "b")))

    assert "what the capacity is" in results.unavailable["z"]


def test_ceiling_of_the_generator_is_stated(run):
    ceiling = run(cell("x", SLOW)).ceiling

    assert ceiling.requests_per_s == 5.0
    assert ceiling.requests_per_s_of_one_core == pytest.approx(1e6 / ceiling.client_cpu_us_per_request)
