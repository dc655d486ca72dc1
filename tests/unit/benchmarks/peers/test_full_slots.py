import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.load.schedule import Closed, Phase
from benchmarks.peers.full_slots import PLANS, Lane, Plan, drive
from benchmarks.peers.orders import WANTED, Order
from benchmarks.peers.ours import ROOT
from benchmarks.peers.step_graphs import BufferedRows, StepGraphs
from benchmarks.peers.target import Command
from benchmarks.peers.writing_targets import WritingJob, WritingPlan
from benchmarks.suites.reference_texts import LEAST_TOLERANCE, references
from server.manifest import MANIFEST_FILE, Manifest
from tests.unit.benchmarks.peers.writer_by_hand import (
    RECURRENT,
    TRANSFORMER,
    greedy,
    network_of,
    requests,
    write_bundle,
)

REQUESTS = requests()


@pytest.fixture(scope="module", params=[TRANSFORMER, RECURRENT], ids=["transformer", "recurrent"])
def config(request):
    return request.param


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("store") / "writer" / "1", config)


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    return references(folder, "fp32", REQUESTS, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def order(tmp_path):
    rows = {str(number): ids for number, ids in enumerate(REQUESTS.rows)}
    np.savez(tmp_path / "rows.npz", **rows, **{WANTED: np.array(REQUESTS.wanted)})
    return Order(str(tmp_path / "rows.npz"), str(tmp_path / "answers.npz"), 0.0, 0.1, 4)


def test_references_are_what_the_network_writes(config, expected):
    network = network_of(config)

    compared = list(zip(REQUESTS.rows, REQUESTS.wanted, expected.rows, strict=True))[:6]
    for source, wanted, right in compared:
        tie = np.flatnonzero(right.margins <= expected.tolerance)
        sure = tie[0] if len(tie) else wanted
        assert right.ids[:sure].tolist() == greedy(network, source, wanted)[:sure]
    assert expected.tolerance == LEAST_TOLERANCE


def test_references_are_written_once(folder, tmp_path):
    first = references(folder, "fp32", REQUESTS, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept_at = kept.stat().st_mtime_ns

    again = references(folder, "fp32", REQUESTS, tmp_path)

    assert kept.stat().st_mtime_ns == kept_at
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(first.rows, again.rows, strict=True))


@pytest.mark.parametrize("plan", PLANS)
def test_every_text_of_full_slots_is_right(plan, folder, order, expected):
    found = drive(PLANS[plan], StepGraphs(folder, "fp32", PLANS[plan].threads), order)

    assert {text.request for text in found} == set(range(len(REQUESTS.rows)))
    for text in found:
        right = expected.rows[text.request]
        differ = np.flatnonzero(text.ids != right.ids)
        assert len(text.ids) == REQUESTS.wanted[text.request]
        assert not len(differ) or right.margins[differ[0]] <= expected.tolerance
        assert text.began_s < text.done_s


def test_what_is_under_way_at_the_end_is_completed(folder):
    lane = Lane(StepGraphs(folder, "fp32", 1), 4, REQUESTS.rows, REQUESTS.wanted, itertools.count())

    found = lane.run(seconds=0.01)

    ended = [text for text in found if text.began_s < 0.01]
    assert len(ended) >= 4
    assert max(text.done_s for text in ended) >= 0.01


def test_what_a_lane_raises_ends_the_run(folder, order):
    graphs = StepGraphs(folder, "fp32", 1)
    graphs.spec = graphs.spec.model_copy(update={"start": (1, 1)})

    with pytest.raises(ValueError, match="begin with 2 tokens"):
        drive(Plan(1, 2, 1), graphs, order)


def test_plan_of_full_slots_stays_up_between_its_runs(folder, expected, tmp_path):
    def make(scratch):
        variables = {"PYTHONPATH": str(ROOT), "BENCH_GRAPH": str(folder), "BENCH_PRECISION": "fp32"}
        arguments = [sys.executable, "-m", "benchmarks.peers.full_slots", "1x32"]
        return Command("full slots", arguments, {**variables, "BENCH_SCRATCH": str(scratch)}, port=0)

    plan = WritingPlan(make, tmp_path / "log")
    job = WritingJob(requests=REQUESTS, schedule=Closed(32), phase=Phase(0.02, 0.1), references=expected)
    plan.start()
    try:
        first, second = plan.measure(job), plan.measure(job)
    finally:
        plan.stop()

    assert first.sound
    assert second.sound
    assert second.answered > 0
    assert first.compared.tokens_alike > 0


def test_bundle_without_the_precision_is_told(folder):
    with pytest.raises(ValueError, match="no encode graph in int8"):
        StepGraphs(folder, "int8", 1)


def test_bundle_that_writes_nothing_is_told(folder, tmp_path):
    manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    plain = [output for output in manifest.outputs if output.role != "attention"]
    graph = manifest.graphs[0].model_copy(update={"role": "run"})
    changes = {"generation": None, "states": (), "attention": (), "outputs": tuple(plain), "graphs": (graph,)}
    (tmp_path / MANIFEST_FILE).write_text(manifest.model_copy(update=changes).model_dump_json())

    with pytest.raises(ValueError, match="writes no text"):
        StepGraphs(tmp_path, "fp32", 1)


def test_state_that_grows_by_copies_is_refused():
    network = network_of(TRANSFORMER)
    states = tuple(state.model_copy(update={"aliasable": False}) for state in network.states)

    with pytest.raises(ValueError, match="grows by copies"):
        BufferedRows(SimpleNamespace(spec=network.generation, states=states), 2, 4, 4)
