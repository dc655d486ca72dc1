"""Generative bundles from disk: opened, held against their manifest, replayed, measured."""

import numpy as np
import pytest

from server.batching.cost import ROUGH, Cost, Measurement, Work
from server.errors import ArtifactCorrupt
from server.loading.generation.loaded import LoadedGeneration
from server.loading.generation.measuring import measured, quicker, turned
from server.manifest import BatchingSpec, FixedAxis, RowAxis
from server.runtime.session import Session
from server.tensors import Datatype
from tests.support.adder_bundle import (
    FILES,
    GENERATION,
    SOURCE,
    TOTAL,
    encode_graph,
    golden,
    loader_of,
    publish_adder,
    scores_of,
    step_graph,
)

WITH_MAPS = {**FILES, "maps.onnx": step_graph(maps=True)}
WITH_COLUMNS = {**FILES, "columns.onnx": step_graph()}
WITH_INT8 = {**FILES, "encode-int8.onnx": encode_graph(), "step-int8.onnx": step_graph()}


@pytest.fixture
def load(tmp_path):
    """Publishes a bundle and loads it; what was loaded is closed after the test."""
    opened = []

    def publish_and_load(files=None, *, cores=1, settings=None, runtime=None, **changes):
        publish_adder(tmp_path, files, **changes)
        opened.append(loader_of(tmp_path, cores, settings, **(runtime or {})).load("adder", 1))
        assert isinstance(opened[-1], LoadedGeneration)
        return opened[-1]

    yield publish_and_load
    for loaded in opened:
        loaded.close()


def refusal(load, *arguments, **named):
    with pytest.raises(ArtifactCorrupt) as caught:
        load(*arguments, **named)
    return caught.value.message


# --- graphs -----------------------------------------------------------------------------------------------------------


def test_a_bundle_is_opened_with_an_encode_and_a_step_graph(load):
    loaded = load()
    (graphs,) = loaded.graphs
    assert (loaded.precisions, loaded.together, loaded.calibrated, len(loaded.sessions)) == (("fp32",), True, False, 2)
    assert (graphs.step.maps, graphs.step.columns, graphs.step.plain.maps, graphs.threads) == (None, None, False, 1)
    start = graphs.encode({"ids": np.array([[3, 4]]), "mask": np.ones((1, 2), np.bool_)}, ["source"])
    np.testing.assert_array_equal(start["source"], [[3, 4]])
    inputs = {"tokens": np.array([[5]]), "total": np.zeros((1, 1), np.float32), **start}
    np.testing.assert_allclose(graphs.step.plain.run(inputs, ["logits"])["logits"], scores_of([5], [3, 4]), atol=1e-5)


def test_a_step_graph_that_gives_attention_stands_beside_the_plain_one(load):
    (graphs,) = load(WITH_MAPS).graphs
    assert (graphs.step.plain.maps, graphs.step.maps.maps) == (False, True)


def test_the_only_step_graph_may_give_attention_too(load):
    files = {"encode.onnx": encode_graph(), "maps.onnx": step_graph(maps=True)}
    (graphs,) = load(files).graphs
    assert (graphs.step.plain.maps, graphs.step.maps) == (True, None)


def taking(monkeypatch, *ways):
    """Steps take these times, for 1, 2 and 4 rows, one list for each way that is tried, in the order of the tries."""

    def steps(bench, tried):
        assert len(tried) == len(ways)
        return [runs(*seconds) for seconds in ways]

    monkeypatch.setattr("server.loading.generation.measuring.Bench.steps", steps)


def test_numbers_of_rows_run_on_the_graph_that_was_quicker_with_the_threads_that_were(load, monkeypatch):
    both, single = ((3.0, 3.0, 3.0), (4.0, 4.0, 1.0)), ((9.0, 9.0, 9.0), (9.5, 9.5, 9.5))
    taking(monkeypatch, *both, *single)
    loaded = load(WITH_COLUMNS, cores=2, runtime={"calibration_s": 0.2})
    (graphs,) = loaded.graphs
    assert (graphs.threads, len(loaded.sessions)) == (2, 3)
    assert graphs.step.columns_rows == set(range(3, 65)), "the last that was measured stands for what lies beyond"
    assert graphs.step.of(4) is graphs.step.columns
    assert graphs.step.of(2) is graphs.step.plain
    assert [one.seconds for one in graphs.step_cost.measurements] == [3.0, 3.0, 1.0]


def test_of_several_threads_and_one_the_quicker_keeps_its_own_choice_of_graphs(load, monkeypatch):
    taking(monkeypatch, (3.0, 3.0, 3.0), (4.0, 4.0, 4.0), (3.0, 3.0, 3.0), (2.0, 4.0, 4.0))
    loaded = load(WITH_COLUMNS, cores=2, runtime={"calibration_s": 0.2})
    (graphs,) = loaded.graphs
    assert (graphs.threads, graphs.step.columns_rows, len(loaded.sessions)) == (1, {1}, 3)
    inputs = {
        "tokens": np.array([[5]]),
        "total": np.zeros((1, 1), np.float32),
        "source": np.array([[3.0, 4.0]], np.float32),
    }
    for graph in (graphs.step.plain, graphs.step.columns):
        np.testing.assert_allclose(graph.run(inputs, ["logits"])["logits"], scores_of([5], [3, 4]), atol=1e-5)


def test_a_graph_over_columns_that_is_never_quicker_is_closed(load, monkeypatch):
    assert len(load(WITH_COLUMNS).sessions) == 2, "nothing was measured"
    taking(monkeypatch, (3.0, 3.0, 3.0), (4.0, 4.0, 4.0))
    loaded = load(WITH_COLUMNS, runtime={"calibration_s": 0.2})
    assert (loaded.graphs[0].step.columns, len(loaded.sessions)) == (None, 2)


def test_a_version_whose_rows_depend_on_their_company_is_served_alone_and_says_so(load):
    loaded = load(batching=BatchingSpec(invariant=False))
    assert not loaded.together
    assert loaded.reason_alone


def test_precisions_that_requests_may_ask_for_are_opened_beside_the_default(load):
    loaded = load(WITH_INT8, runtime={"request_precisions": ("int8", "bf16")})
    assert loaded.precisions == ("fp32", "int8")
    assert len(loaded.sessions) == 4


def test_a_default_that_the_bundle_lacks_is_left_for_fp32_with_a_line_in_the_log(load, caplog):
    assert load(runtime={"precision": "int8"}).precisions == ("fp32",)
    assert "left out" in caplog.text


def test_a_step_graph_in_a_precision_without_an_encode_graph_in_it_is_refused(load):
    files = {**FILES, "step-int8.onnx": step_graph()}
    assert "no encode graph" in refusal(load, files, runtime={"request_precisions": ("int8",)})


# --- the manifest -----------------------------------------------------------------------------------------------------


def state(given, **changes):
    return given.model_copy(update=changes)


@pytest.mark.parametrize(
    ("states", "says"),
    [
        ((state(TOTAL, name="sum"), SOURCE), "no input 'sum'"),
        ((state(TOTAL, output="next_sum"), SOURCE), "no output 'next_sum'"),
        ((state(TOTAL, datatype=Datatype.FP64), SOURCE), "FP32, in the manifest FP64"),
        ((state(TOTAL, axes=(RowAxis(), FixedAxis(size=1), FixedAxis(size=1))), SOURCE), "rank 2, in the manifest 3"),
        ((state(TOTAL, axes=(RowAxis(), FixedAxis(size=2))), SOURCE), "size 1, in the manifest 2"),
        ((TOTAL, state(SOURCE, source="origin")), "no output 'origin'"),
        ((TOTAL, state(SOURCE, name="origin")), "no input 'origin'"),
    ],
)
def test_states_that_differ_from_the_graphs_are_refused_with_the_reason(load, states, says):
    assert says in refusal(load, states=states)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({**FILES, "step.onnx": step_graph(more_inputs=("position_ids",))}, "position_ids"),
        ({**FILES, "step.onnx": encode_graph()}, "no input 'tokens'"),
        ({**FILES, "encode.onnx": step_graph()}, "no input 'ids'"),
        ({**FILES, "step.onnx": b"no graph"}, "not ONNX"),
        ({**FILES, "maps.onnx": step_graph()}, "no output 'look'"),
    ],
)
def test_graphs_that_differ_from_the_manifest_are_refused_with_the_reason(load, files, says):
    assert says in refusal(load, files)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": "input_ids"}, "no input 'input_ids'"),
        ({"vocab_size": 13}, "scores 12 tokens, in the manifest 13"),
        ({"max_new": 4}, "takes 1 new tokens"),
    ],
)
def test_a_vocabulary_or_face_that_differs_is_refused_with_the_reason(load, changes, says):
    files = {**FILES, "step.onnx": step_graph(new=1)}
    assert says in refusal(load, files, generation=GENERATION.model_copy(update=changes))


def test_states_that_not_even_one_row_may_have_are_refused(load):
    assert "cannot be held" in refusal(load, settings={"max_state_bytes": 8}, golden=golden())


def test_a_version_that_is_refused_leaves_no_session_open(tmp_path, monkeypatch):
    opened, closed = [], []
    opens, closes = Session.open.__func__, Session.close
    monkeypatch.setattr(
        Session, "open", classmethod(lambda cls, *args, **more: opened.append(1) or opens(cls, *args, **more))
    )
    monkeypatch.setattr(Session, "close", lambda self: closed.append(1) or closes(self))
    publish_adder(tmp_path, {**FILES, "maps.onnx": step_graph()})
    with pytest.raises(ArtifactCorrupt):
        loader_of(tmp_path).load("adder", 1)
    assert len(opened) == len(closed) == 3


# --- golden rows ------------------------------------------------------------------------------------------------------


def test_golden_rows_are_replayed_step_by_step(load):
    assert load(golden=golden()).precisions == ("fp32",)


def test_a_host_that_scores_differently_does_not_get_ready(load):
    assert "row 0: the scores of tokens differ" in refusal(load, golden=golden(off_by=1e-3))


def test_scores_that_are_no_numbers_differ(load):
    nothing = np.full((1, 3, 12), np.nan, np.float32)
    assert "differ" in refusal(load, golden=golden(output__1__logits=nothing))


def test_golden_rows_are_replayed_over_columns_too(load):
    assert load(WITH_COLUMNS, golden=golden()).sessions
    off = {**FILES, "columns.onnx": step_graph(off_by=1e-3)}
    assert "row 0: the scores of tokens differ" in refusal(load, off, golden=golden())


def test_golden_rows_are_not_replayed_where_the_settings_say_so(load):
    assert "differ" in refusal(load, golden=golden(off_by=1.0))
    assert load(golden=golden(off_by=1.0), runtime={"replay_golden": False}).sessions


@pytest.mark.parametrize(
    "replaced",
    [
        {"input__0__tokens": None},
        {"output__0__logits": None},
        {"input__0__ids": None},
        {"input__0__tokens": np.zeros((0, 3), np.int64)},
        {"input__0__ids": np.zeros((1, 2), np.float32)},
        {"output__0__logits": np.zeros((1, 2, 12), np.float32)},
    ],
)
def test_golden_rows_that_make_no_sense_are_refused(load, replaced):
    assert "row 0" in refusal(load, golden=golden(**replaced))


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_are_measured_where_the_settings_give_time(load):
    loaded = load(golden=golden(), runtime={"calibration_s": 0.2})
    (graphs,) = loaded.graphs
    assert loaded.calibrated
    assert graphs.step_cost.measurements
    assert graphs.encode_cost.measurements
    assert not graphs.read_cost.measurements, "the model takes one token at a time"
    assert {one.work.rows for one in graphs.step_cost.measurements} >= {1, 2}


def test_no_more_rows_are_measured_than_can_be_held(load):
    row_bytes = 4 * (2 + 16)
    loaded = load(settings={"max_state_bytes": 5 * row_bytes}, runtime={"calibration_s": 0.2})
    (graphs,) = loaded.graphs
    assert {one.work.rows for one in graphs.step_cost.measurements} == {1, 2, 4}


def test_a_version_that_is_served_alone_is_measured_alone(load):
    loaded = load(batching=BatchingSpec(invariant=False), runtime={"calibration_s": 0.2})
    assert {one.work.rows for one in loaded.graphs[0].step_cost.measurements} == {1}


def test_with_several_cores_the_number_of_threads_is_measured_and_the_other_sessions_are_closed(load):
    loaded = load(cores=2, runtime={"calibration_s": 0.2})
    assert loaded.graphs[0].threads in (1, 2)
    assert len(loaded.sessions) == 2


def test_threads_that_the_settings_give_are_taken(load):
    assert load(cores=2, runtime={"calibration_s": 0.2, "intra_op_threads": 2}).graphs[0].threads == 2
    assert load(cores=1, runtime={"intra_op_threads": 8}).graphs[0].threads == 1


def runs(*seconds):
    return [Measurement(Work(rows, rows, rows), each) for rows, each in zip((1, 2, 4), seconds, strict=False)]


def test_many_threads_must_be_clearly_quicker_over_the_sizes_that_both_were_measured_at():
    assert quicker(runs(1.0, 1.0), runs(0.5, 0.6, 9.0))
    assert not quicker(runs(1.0, 1.0), runs(0.99, 0.99))
    assert not quicker([], runs(0.1))


def test_numbers_of_rows_run_as_the_next_that_was_measured_does():
    rows, columns = runs(1.0, 1.0, 1.0), runs(1.5, 0.99, 0.5)
    assert turned(rows, columns, 6) == {3, 4, 5, 6}
    assert turned(rows, runs(0.5, 1.5, 1.5), 6) == {1}
    assert turned(rows[:1], runs(0.5), 3) == {1, 2, 3}, "the last that was measured stands for all above it"


def test_where_nothing_was_measured_the_rough_figures_stay():
    rough = Cost(ROUGH)
    assert measured([], rough) is rough
    assert measured(runs(0.1, 0.2), rough).measurements
