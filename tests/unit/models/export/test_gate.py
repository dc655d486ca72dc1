import pytest

from models.export.bundle import read_candidate
from models.export.failure import PublishRefused
from models.export.gate import check_earned
from server.manifest import Baseline, OutputParity, QualityDrop, QualityReport
from tests.support.bundles import tiny_candidate


@pytest.fixture
def manifest(model):
    return read_candidate(tiny_candidate(model))


def quality(value, required=0.9, baseline=None):
    named = None if baseline is None else Baseline(name="bag of words", value=baseline)
    return QualityReport(metric="accuracy", value=value, required=required, examples=50, baseline=named)


def with_parity(manifest, **changes):
    return manifest.model_copy(update={"parity": manifest.parity.model_copy(update=changes)})


def test_verified_bundle_of_good_quality_passes(manifest):
    check_earned(manifest)


@pytest.mark.parametrize("report", [quality(0.9), quality(0.91, required=0.91, baseline=0.9)])
def test_quality_at_what_is_required_passes(manifest, report):
    check_earned(manifest.model_copy(update={"quality": report}))


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (None, "no quality report"),
        (quality(0.8999), "accuracy 0.8999 on 50 examples is below the required 0.9000"),
        (quality(float("nan")), "below the required"),
        (quality(0.95, required=0.96, baseline=0.95), r"\(baseline, bag of words: 0.9500\) is below the required 0.96"),
    ],
)
def test_quality_that_is_missing_or_too_low_is_refused(manifest, report, message):
    with pytest.raises(PublishRefused, match=message):
        check_earned(manifest.model_copy(update={"quality": report}))


@pytest.mark.parametrize(("value", "passes"), [(1.8, True), (1.9, True), (1.91, False), (float("nan"), False)])
def test_a_metric_of_which_less_is_better_must_not_be_above_what_is_required(manifest, value, passes):
    report = QualityReport(metric="bits per byte", value=value, required=1.9, examples=50, higher_is_better=False)
    judged = manifest.model_copy(update={"quality": report})
    if passes:
        check_earned(judged)
    else:
        with pytest.raises(PublishRefused, match=r"bits per byte .* is above the required 1\.9000"):
            check_earned(judged)


def test_what_was_lost_of_a_metric_of_which_less_is_better_is_what_it_rose():
    drop = QualityDrop(
        metric="bits per byte", source_value=1.8, value=1.85, largest_drop=0.04, examples=9, higher_is_better=False
    )
    assert drop.drop == pytest.approx(0.05)
    assert drop.excessive


def test_bundle_without_parity_is_refused_with_the_command_that_measures_it(manifest):
    with pytest.raises(PublishRefused, match="python -m models verify"):
        check_earned(manifest.model_copy(update={"parity": None}))


def test_parity_over_its_tolerance_is_refused(manifest):
    worse = tuple(parity.model_copy(update={"max_error": 1.0}) for parity in manifest.parity.outputs)
    with pytest.raises(PublishRefused, match=f"{worse[0].output}.* over the tolerance"):
        check_earned(with_parity(manifest, outputs=worse))


def test_parity_against_a_laxer_tolerance_than_the_graphs_is_refused(manifest):
    with pytest.raises(PublishRefused, match=r"model\.onnx is over the tolerance"):
        check_earned(with_parity(manifest, tolerance=0.5))


def test_parity_that_is_silent_on_an_output_is_refused(manifest):
    with pytest.raises(PublishRefused, match="did not measure attention_0"):
        check_earned(with_parity(manifest, outputs=manifest.parity.outputs[:1]))


def test_proof_without_the_digest_of_the_graph_is_none(manifest):
    with pytest.raises(PublishRefused, match="not verified"):
        check_earned(manifest.model_copy(update={"files": {}}))


@pytest.mark.parametrize("model", ["areas"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": 0.5}, r"gathered\.onnx is over the tolerance"),
        ({"outputs": (OutputParity(output="logits", max_error=1.0, mean_error=0.5),)}, "over the tolerance"),
        ({"outputs": (OutputParity(output="others", max_error=0.0, mean_error=0.0),)}, r"not measure gathered\.onnx"),
        ({"file": "another.onnx"}, r"not measure gathered\.onnx"),
    ],
    ids=["laxer", "over", "silent", "missing"],
)
def test_packed_graph_without_good_parity_is_refused(manifest, changes, message):
    packed = tuple(
        report.model_copy(update=changes) if report.file == "gathered.onnx" else report
        for report in manifest.parity.packed
    )
    with pytest.raises(PublishRefused, match=message):
        check_earned(with_parity(manifest, packed=packed))
