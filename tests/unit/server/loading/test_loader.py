import json
import logging

import numpy as np
import pytest

from server.batching.cost import Measurement
from server.batching.request import Rows
from server.errors import ArtifactCorrupt, InferenceFailed, ModelNotReady
from server.loading import loader as loading
from server.loading.loader import batch_limits
from server.loading.threads import ThreadPlan
from server.manifest import BatchingSpec, Manifest
from server.runtime.session import Session
from server.settings import BatchingSettings
from tests.support.sums_bundle import (
    GOLDEN,
    GRAPHS,
    IDS,
    MASK,
    SUM,
    block_diagonal_graph,
    gathered_graph,
    loader_of,
    publish_sums,
    rows_graph,
)

ALL = {"model.onnx": rows_graph(), "block.onnx": block_diagonal_graph(), "gathered.onnx": gathered_graph()}


def names(loaded):
    return [variant.name for variant in loaded.variants]


def said(caplog, message):
    return [record for record in caplog.records if message in record.message]


def two_rows():
    return [
        Rows(
            inputs={"ids": np.array([ids]), "mask": np.ones((1, len(ids)), np.bool_)},
            outputs=("sum",),
            rows=1,
            lengths={"length": len(ids)},
        )
        for ids in ([1, 2, 3], [40, 50])
    ]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Publishes a bundle and loads it; what was loaded is closed after the test."""
    opened = []

    def publish_and_load(files=None, *, cores=1, batching=None, runtime=None, **changes):
        publish_sums(tmp_path, files, **changes)
        opened.append(loader_of(tmp_path, cores, batching, **(runtime or {})).load("sums", 1))
        return opened[-1]

    yield publish_and_load
    for loaded in opened:
        loaded.close()


# --- variants ---------------------------------------------------------------------------------------------------------


def test_every_layout_of_the_bundle_is_opened_and_answers_alike(load):
    loaded = load(ALL)
    assert names(loaded) == ["rows/fp32", "block-diagonal/fp32", "gathered/fp32"]
    for variant in loaded.variants:
        outputs = variant.run(variant.layout.collate(two_rows()), ("sum",), None)
        assert [row["sum"].tolist() for row in variant.layout.split(outputs, two_rows())] == [[[6.0]], [[90.0]]]
    assert (loaded.together, loaded.reason_alone, loaded.provider) == (True, "", "CPUExecutionProvider")


@pytest.mark.parametrize("wrong", [{"off_by": 1.0}, {"mixes_rows": True}])
def test_a_packed_graph_that_answers_differently_is_left_out_and_the_others_serve(load, caplog, wrong):
    loaded = load({**ALL, "block.onnx": block_diagonal_graph(**wrong)})
    assert names(loaded) == ["rows/fp32", "gathered/fp32"]
    assert loaded.together
    (record,) = said(caplog, "left out")
    assert (record.graph, record.model, record.version) == ("block.onnx", "sums", 1)
    assert "differs by" in record.reason


def test_a_packed_graph_with_other_inputs_is_left_out(load, caplog):
    loaded = load({**ALL, "gathered.onnx": block_diagonal_graph()})
    assert names(loaded) == ["rows/fp32", "block-diagonal/fp32"]
    assert "its inputs are not" in said(caplog, "left out")[0].reason


def test_a_packed_graph_that_gives_another_number_of_rows_is_left_out(load, caplog, monkeypatch):
    """As one would that takes padding for rows; what it gives for one row by itself is right."""
    run = Session.run

    def one_row_too_many(self, inputs, outputs=None, stop=None):
        found = run(self, inputs, outputs, stop)
        return {"sum": np.repeat(found["sum"], 2, axis=0)} if "packed_rows" in inputs else found

    monkeypatch.setattr(Session, "run", one_row_too_many)
    assert names(load(ALL)) == ["rows/fp32", "gathered/fp32"]
    assert "for 5 rows" in said(caplog, "left out")[0].reason


def test_a_graph_whose_rows_depend_on_their_company_is_served_alone_and_says_so(load, caplog):
    loaded = load({**ALL, "model.onnx": rows_graph(mixes_rows=True)})
    assert (loaded.together, names(loaded)) == (False, ["rows/fp32"])
    assert "a row in company differs" in loaded.reason_alone
    assert said(caplog, "served alone")[0].reason == loaded.reason_alone


def test_answers_that_are_no_numbers_are_alike_where_both_are(load):
    assert load({"model.onnx": rows_graph(nan=True)}).together


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batching": {"enabled": False}}, "batching is off"),
        ({"manifest": {"batching": BatchingSpec(invariant=False)}}, "verification saw"),
    ],
)
def test_a_version_served_alone_gives_the_reason_and_opens_the_rows_graph_only(tmp_path, changes, says):
    publish_sums(tmp_path, ALL, **changes.get("manifest", {}))
    loaded = loader_of(tmp_path, batching=changes.get("batching")).load("sums", 1)
    assert (loaded.together, names(loaded)) == (False, ["rows/fp32"])
    assert says in loaded.reason_alone
    loaded.close()


def test_batches_are_bounded_by_the_stricter_of_manifest_and_settings():
    manifest = Manifest(
        name="m",
        task="tensors",
        graphs=(GRAPHS["model.onnx"],),
        inputs=(IDS, MASK),
        outputs=(SUM,),
        batching=BatchingSpec(max_rows=4, max_tokens=10_000),
    )
    limits = batch_limits(manifest, BatchingSettings(max_batch_rows=16, max_batch_tokens=512))
    assert (limits.max_rows, limits.max_tokens) == (4, 512)


# --- golden rows ------------------------------------------------------------------------------------------------------


def test_a_host_that_answers_otherwise_than_the_golden_rows_does_not_load(tmp_path, load):
    load(golden=GOLDEN)
    folder = tmp_path / "other"
    publish_sums(folder, {"model.onnx": rows_graph(off_by=0.5)}, golden=GOLDEN)
    with pytest.raises(ArtifactCorrupt, match=r"differs by 0\.5"):
        loader_of(folder).load("sums", 1)
    loader_of(folder, replay_golden=False).load("sums", 1).close()


def test_a_refused_version_leaves_no_session_open(tmp_path, monkeypatch):
    closed = []
    close = Session.close
    monkeypatch.setattr(Session, "close", lambda self: (closed.append(self), close(self)))
    publish_sums(tmp_path, {"model.onnx": rows_graph(off_by=0.5)}, golden=GOLDEN)
    with pytest.raises(ArtifactCorrupt):
        loader_of(tmp_path).load("sums", 1)
    assert len(closed) == 1


# --- precisions -------------------------------------------------------------------------------------------------------

INT8 = {"model.onnx": rows_graph(), "int8.onnx": rows_graph(off_by=0.25)}


def test_int8_is_served_where_the_manifest_says_so_and_its_distance_is_told(load, caplog):
    caplog.set_level(logging.INFO)
    loaded = load(INT8, precision="int8", golden=GOLDEN)
    assert (loaded.precision, loaded.precisions) == ("int8", ("int8",))
    assert loaded.errors["int8"].max_error == 0.25
    (record,) = said(caplog, "precision")
    assert (record.precision, record.max_error) == ("int8", 0.25)


def test_further_precisions_stand_beside_the_default(load):
    loaded = load(INT8, runtime={"request_precisions": ("int8",)})
    assert (loaded.precision, loaded.precisions) == ("fp32", ("fp32", "int8"))
    assert names(loaded) == ["rows/fp32", "rows/int8"]


def test_further_precisions_that_the_bundle_has_not_are_left_out(load):
    assert load(runtime={"request_precisions": ("int8",)}).precisions == ("fp32",)


@pytest.mark.parametrize("asked", [{"precision": "int8"}, {"runtime": {"precision": "int8"}}])
def test_without_a_graph_in_the_precision_asked_for_fp32_serves_and_the_log_says_so(load, caplog, asked):
    loaded = load(**asked)
    assert loaded.precision == "fp32"
    (record,) = said(caplog, "serving fp32")
    assert (record.precision, record.reason) == ("int8", "the bundle has no graph for it")


def test_without_any_graph_in_rows_nothing_serves(tmp_path):
    publish_sums(tmp_path, {"block.onnx": block_diagonal_graph()})
    with pytest.raises(ArtifactCorrupt, match="no fp32 graph in rows"):
        loader_of(tmp_path).load("sums", 1)


def cannot(precision, *_, **__):
    raise ModelNotReady(f"no {precision} here")


def test_a_manifest_that_asks_for_bf16_is_served_in_fp32_where_the_host_has_none(load, caplog, monkeypatch):
    monkeypatch.setattr(loading, "choose_execution", cannot)
    loaded = load(precision="bf16")
    assert (loaded.precision, names(loaded)) == ("fp32", ["rows/fp32"])
    assert said(caplog, "serving fp32")[0].reason == "no bf16 here"


def test_a_setting_that_asks_for_bf16_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setattr("server.loading.variants.choose_execution", cannot)
    publish_sums(tmp_path)
    with pytest.raises(ModelNotReady, match="no bf16 here"):
        loader_of(tmp_path, precision="bf16").load("sums", 1)


# --- costs ------------------------------------------------------------------------------------------------------------


def test_without_time_to_measure_costs_are_rough_and_rows_run_together(load):
    loaded = load(ALL)
    assert (loaded.calibrated, loaded.together) == (False, True)
    assert not any(variant.cost.measurements for variant in loaded.variants)


def test_costs_are_measured_from_the_smallest_run_on(load):
    loaded = load(runtime={"calibration_s": 0.05})
    cost = loaded.variants[0].cost
    assert loaded.calibrated
    assert min(one.work.tokens for one in cost.measurements) <= 16
    assert all(one.seconds > 0 for one in cost.measurements)


def test_what_was_measured_is_kept_and_the_next_load_measures_nothing(tmp_path, monkeypatch):
    publish_sums(tmp_path / "store", ALL)
    loader = loader_of(tmp_path / "store", calibration_s=0.05, cache_dir=tmp_path / "cache")
    first = loader.load("sums", 1)
    assert len(list((tmp_path / "cache").glob("cost-*.json"))) == 3
    measured = []
    monkeypatch.setattr("server.loading.costs.measure", lambda *_: measured.append(1))
    second = loader.load("sums", 1)
    assert not measured
    assert second.calibrated
    assert names(second) == names(first)
    for one, other in zip(first.variants, second.variants, strict=True):
        assert one.cost.measurements == other.cost.measurements
        assert one.cost.corrections == other.cost.corrections
    first.close()
    second.close()


def test_a_spoilt_cache_is_measured_anew(tmp_path):
    publish_sums(tmp_path / "store")
    loader = loader_of(tmp_path / "store", calibration_s=0.05, cache_dir=tmp_path / "cache")
    loader.load("sums", 1).close()
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text("{")
    loaded = loader.load("sums", 1)
    assert loaded.calibrated
    assert json.loads(file.read_text())["points"]
    loaded.close()


@pytest.mark.parametrize("error", [InferenceFailed("broke"), ValueError("no time passed")])
def test_a_version_whose_costs_cannot_be_measured_is_served_alone_and_says_so(load, caplog, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("server.loading.costs.measure", fail)
    loaded = load(ALL, runtime={"calibration_s": 0.05})
    assert (loaded.calibrated, loaded.together) == (False, False)
    assert loaded.reason_alone == "what runs cost cannot be measured"
    assert len(said(caplog, "requests run alone")) == 1
    assert [row.tolist() for row in loaded.variants[0].run({**two_rows()[0].inputs}, ("sum",), None).values()] == [
        [[6]]
    ]


def costs(**token_s):
    """Stands for measuring: a millisecond a run, and so many seconds a token by layout."""

    def measured(variant, *_):
        works = [variant.layout.work(rows, rows * length, length) for rows in (1, 2, 4, 8) for length in (8, 32, 64)]
        each = token_s[variant.layout.name.replace("-", "_")]
        return [Measurement(work, 1e-3 + each * work.tokens) for work in works]

    return measured


def test_packed_variants_that_win_nowhere_are_closed(load, monkeypatch):
    monkeypatch.setattr("server.loading.costs.measure", costs(rows=1e-5, block_diagonal=9e-4, gathered=1e-6))
    closed = []
    close = Session.close
    monkeypatch.setattr(Session, "close", lambda self: (closed.append(self), close(self)))
    loaded = load(ALL, runtime={"calibration_s": 0.05})
    assert names(loaded) == ["rows/fp32", "gathered/fp32"]
    assert len(closed) == 1
    assert len(loaded.sessions) == 2


# --- threads ----------------------------------------------------------------------------------------------------------


def test_where_another_use_of_the_cores_is_faster_all_graphs_are_opened_so(load, monkeypatch):
    plans = []

    def two_threads(ways, *_):
        plans.extend(plan for plan, _ in ways)
        return ThreadPlan(2, 1)

    monkeypatch.setattr("server.loading.costs.best_plan", two_threads)
    monkeypatch.setattr("server.loading.costs.measure", costs(rows=1e-4, block_diagonal=5e-5, gathered=2e-5))
    loaded = load(ALL, cores=2, runtime={"calibration_s": 0.05})
    assert plans == [ThreadPlan(1, 1), ThreadPlan(2, 1), ThreadPlan(1, 2)]
    assert {variant.threads for variant in loaded.variants} == {2}
    assert all(variant.cost.measurements for variant in loaded.variants)
    for variant in loaded.variants:
        outputs = variant.run(variant.layout.collate(two_rows()), ("sum",), None)
        assert outputs["sum"].tolist() == [[6.0], [90.0]]


def test_further_sessions_are_not_tried_where_memory_is_short(load, monkeypatch):
    plans = []
    monkeypatch.setattr("server.loading.costs.available_bytes", lambda: 0)
    monkeypatch.setattr(
        "server.loading.costs.best_plan", lambda ways, *_: plans.extend(plan for plan, _ in ways) or ThreadPlan(1, 1)
    )
    load(cores=2, runtime={"calibration_s": 0.05})
    assert plans == [ThreadPlan(1, 1), ThreadPlan(2, 1)]


def test_a_thread_plan_is_kept_and_not_measured_again(load, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("server.loading.costs.best_plan", lambda *_: asked.append(1) or ThreadPlan(1, 1))
    for _ in range(2):
        load(cores=2, runtime={"calibration_s": 0.05, "cache_dir": tmp_path / "costs"})
    assert asked == [1]


def test_threads_that_a_setting_fixes_are_not_measured(load, monkeypatch):
    monkeypatch.setattr("server.loading.costs.best_plan", lambda *_: pytest.fail("measured"))
    loaded = load(cores=2, runtime={"calibration_s": 0.05, "intra_op_threads": 2})
    assert [variant.threads for variant in loaded.variants] == [2]


def test_where_the_faster_use_cannot_be_opened_the_first_goes_on_alone(load, monkeypatch, caplog):
    """Such as for want of memory: what was open and measured still serves."""
    monkeypatch.setattr("server.loading.costs.best_plan", lambda *_: ThreadPlan(2, 1))
    opened, real = [], loading.Opener.open

    def open_few(self, *arguments):
        opened.append(arguments)
        if len(opened) > 6:
            raise ModelNotReady("no memory")
        return real(self, *arguments)

    monkeypatch.setattr(loading.Opener, "open", open_few)
    loaded = load(ALL, cores=2, runtime={"calibration_s": 0.05})
    assert (names(loaded)[0], loaded.together) == ("rows/fp32", False)
    assert loaded.variants[0].run({**two_rows()[0].inputs}, ("sum",), None)["sum"] == 6.0


def test_real_measuring_of_threads_ends_with_a_plan_that_serves(load):
    loaded = load(ALL, cores=2, runtime={"calibration_s": 0.2})
    variant = loaded.variants[0]
    assert variant.threads in (1, 2)
    assert variant.run(variant.layout.collate(two_rows()), ("sum",), None)["sum"].tolist() == [[6.0], [90.0]]
