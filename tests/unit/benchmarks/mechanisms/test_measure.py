import pytest
import torch

from benchmarks.mechanisms.measure import PEAK_LIMIT_BYTES, Bench, expected
from benchmarks.mechanisms.memory import tensor_peak
from benchmarks.mechanisms.results import Peak, Results, Timing
from benchmarks.mechanisms.subjects import subject
from models.attention.catalogue import Scale
from tests.support.catalogued import QUIET_EXPORT

SMALL = Scale(d_model=8, num_heads=2, d_ff=16, max_len=256, block=4, window=2, vocab_size=6)
KINDS = ["forward", "training", "onnx"]

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


def bench(tmp_path, limit_s=3600.0) -> Bench:
    return Bench(Results({}), SMALL, tmp_path, point_s=0.0, max_pairs=6, limit_s=limit_s)


def test_every_way_of_running_is_timed_beside_the_reference_and_its_memory_taken(tmp_path):
    one = bench(tmp_path)
    for name in ("dot", "bilinear"):
        one.measure(subject(name), [16, 32])
    results = one.results
    assert not results.left_out
    for name in ("dot", "bilinear"):
        for kind in KINDS:
            for length in (16, 32):
                timing = results.timing(name, kind, length)
                assert timing.reference == "dot"
                assert len(timing.seconds) == len(timing.reference_seconds) == 6
                assert results.peak(name, kind, length) is not None


def test_subject_whose_reference_was_not_timed_is_timed_alone(tmp_path):
    one = bench(tmp_path)
    one.measure(subject("pooling"), [16])
    timing = one.results.timing("pooling", "forward", 16)
    assert timing.reference_seconds == []
    assert len(timing.seconds) == 12
    assert timing.ratio is None


def test_what_would_take_too_long_or_too_much_is_left_out_with_the_reason(tmp_path):
    one = bench(tmp_path)
    one.results.timings += [Timing("dot", "dot", kind, 16, [0.5], []) for kind in ("forward", "onnx")]
    one.results.timings.append(Timing("dot", "dot", "training", 16, [1e-4], []))
    one.results.peaks.append(Peak("dot", "training", 16, PEAK_LIMIT_BYTES))
    one._process_peaks = lambda subject: None
    one.measure(subject("dot"), [32, 64])
    reasons = {(left.kind, left.length): left.reason for left in one.results.left_out}
    assert reasons["forward", 32] == reasons["onnx", 32] == "one run would take about 2.0 s"
    assert reasons["training", 32] == "one run would take about 12.0 GiB"
    assert {reasons[kind, 64] for kind in KINDS} == {"a shorter input was left out"}


def test_nothing_is_begun_once_the_time_is_up(tmp_path):
    one = bench(tmp_path, limit_s=-1.0)
    one.measure(subject("dot"), [16])
    assert not one.results.timings
    assert {left.reason for left in one.results.left_out} == {"the time was up"}


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ({}, 0.0),
        ({64: 1.0}, 4.0),
        ({32: 1.0, 64: 2.0}, 4.0),
        ({32: 1.0, 64: 4.0}, 8.0 * 2),
        ({32: 2.0, 64: 2.0}, 4.0),
        ({32: 1.0, 64: 9.0}, 36.0),
    ],
)
def test_expectation_grows_as_the_last_points_did_between_linear_and_quadratic(points, wanted):
    assert expected(points, 128) == pytest.approx(wanted)


def test_peak_counts_the_tensors_alive_at_once():
    def run():
        first = torch.zeros(1000)
        second = torch.zeros(2000)
        del first
        return second, torch.zeros(500)

    assert tensor_peak(run) == 4 * (1000 + 2000)
