import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.load.drive import LoadFailed
from benchmarks.load.requests import request_list
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.load.verdict import TOLERANCES
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.catalogue import IN_PROCESS, SCHEDULER, Arm, Maker
from benchmarks.peers.encoder import sessions
from benchmarks.peers.graphs import graph_file
from benchmarks.peers.in_process import PLANS, Plan, drive
from benchmarks.peers.in_process_target import InProcessTarget
from benchmarks.peers.orders import Order, read_rows
from benchmarks.peers.ours import ROOT
from benchmarks.peers.target import Command, EmbeddingJob
from benchmarks.shapes.publish import SHAPES
from benchmarks.suites.reference import reference

SHAPE = "tiny-shape"
REQUESTS = request_list("mixed", 40, SHAPES[SHAPE].vocab_size, seed=2)
ROWS = list(REQUESTS.rows)
LENGTHS = REQUESTS.lengths.tolist()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def expected(cache):
    return reference(SHAPE, graph_file(SHAPE, "fp32", cache), REQUESTS, cache)


@pytest.fixture
def job(expected):
    return EmbeddingJob(
        requests=REQUESTS,
        reference=expected,
        tolerance=TOLERANCES["fp32"],
        schedule=Closed(4),
        phase=Phase(0.05, 0.3),
    )


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_answers_as_the_reference(name, cache, expected):
    plan = PLANS[name]
    opened = sessions(str(graph_file(SHAPE, "fp32", cache, plan.layout)), "fp32", threads=2)
    groups = plan.group(LENGTHS)

    found = drive(plan, opened, "fp32", ROWS, groups, turns=len(groups))

    assert sorted(number for number, _, _ in found) == list(range(len(ROWS)))
    assert max(np.abs(vector - expected[number]).max() for number, _, vector in found) < 1e-4


def test_what_a_thread_raises_ends_the_plan():
    def fail(session, rows, precision):
        raise ValueError("the graph refuses it")

    plan = Plan("rows", lambda lengths: [[0]], fail)

    with pytest.raises(ValueError, match="the graph refuses it"):
        drive(plan, [None, None], "fp32", ROWS, [[0]], seconds=60)


@pytest.mark.parametrize(("target", "setting"), [(IN_PROCESS, "batch-1"), (SCHEDULER, "scheduler-on")])
def test_plan_stays_up_between_its_runs(target, setting, cache, job):
    plan = Maker(generator=None, cache=cache).make(Arm(target, setting, SHAPE), REQUESTS)
    plan.start()
    try:
        first, second = plan.measure(job), plan.measure(job)
        with pytest.raises(LoadFailed, match="closed loop alone"):
            plan.measure(replace(job, schedule=Open(5.0)))
    finally:
        plan.stop()

    assert first.sound
    assert second.answered > 0
    assert second.useful_tokens > second.answered
    assert first.cpu_s["server"] > 0
    assert plan.cpu_s() == 0


def ending(tmp_path, code: str) -> InProcessTarget:
    def make(scratch):
        variables = {"PYTHONPATH": str(ROOT), "BENCH_SCRATCH": str(scratch)}
        return Command("the plan", [sys.executable, "-c", code], variables, port=0)

    return InProcessTarget(make, tmp_path / "log")


def test_plan_that_ends_at_its_start_is_unavailable_with_its_reason(tmp_path):
    with pytest.raises(PeerUnavailable, match="ended with 1 at its start: error: no such graph"):
        ending(tmp_path, "raise SystemExit('error: no such graph')").start()


def test_plan_that_ends_in_a_run_fails_it_with_its_reason(tmp_path, job):
    code = "from benchmarks.peers.orders import orders\nfor _ in orders(): raise SystemExit('error: out of memory')"
    plan = ending(tmp_path, code)
    plan.start()
    try:
        with pytest.raises(LoadFailed, match="ended with 1 at its run: error: out of memory"):
            plan.measure(job)
    finally:
        plan.stop()


def test_bundle_without_the_graph_is_told(cache):
    with pytest.raises(PeerUnavailable, match="the bundle of tiny-shape has no graph in fp16 of the layout rows"):
        graph_file(SHAPE, "fp16", cache)


def test_bf16_is_the_fp32_graph(cache):
    assert graph_file(SHAPE, "bf16", cache) == graph_file(SHAPE, "fp32", cache)


def test_order_is_answered_with_what_was_done_in_the_measured_time(tmp_path):
    order = Order("", str(tmp_path / "answers.npz"), warm_up_s=1.0, measured_s=2.0, in_flight=3)
    vector = np.ones(2, dtype=np.float32)

    order.answer([(0, 0.9, vector), (4, 1.0, vector), (5, 2.9, vector * 2), (6, 3.0, vector)])

    with np.load(tmp_path / "answers.npz") as found:
        assert found["requests"].tolist() == [4, 5]
        assert found["vectors"].tolist() == [[1, 1], [2, 2]]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.npz"]


def test_rows_come_back_in_order(tmp_path):
    np.savez(tmp_path / "rows.npz", **{str(number): ids for number, ids in enumerate(ROWS)})

    assert all(np.array_equal(a, b) for a, b in zip(read_rows(str(tmp_path / "rows.npz")), ROWS, strict=True))
