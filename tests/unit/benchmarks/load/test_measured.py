import numpy as np
import pytest

from benchmarks.load.latency import percentile_ms
from benchmarks.load.measured import RESOURCE_EXHAUSTED, Measured, measure
from benchmarks.load.records import Outcome
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.load.verdict import Tolerance
from tests.unit.benchmarks.load.records_by_hand import fp32, read_fp32, records

TOLERANCE = Tolerance(max_error=1e-4, min_cosine=0.999)
REFERENCE = [np.array([1.0, 2.0], dtype=np.float32), np.array([3.0, -4.0], dtype=np.float32)]
RIGHT = [fp32([1.0, 2.0]), fp32([3.0, -4.0])]
LENGTHS = [10, 100]
PHASE = Phase(warm_up_s=1.0, measured_s=2.0)


def measured(made, schedule=Closed(2), **options) -> Measured:  # noqa: B008
    return measure(made, schedule, PHASE, LENGTHS, read_fp32, REFERENCE, TOLERANCE, **options)


def answered(request: int, begin: float, end: float, body: bytes | None = None):
    return (request, Outcome.ANSWERED, begin, begin, end, RIGHT[request] if body is None else body)


def test_closed_loop_counts_what_ended_in_the_measured_time():
    found = measured(
        records(
            answered(0, 0.5, 0.9),  # in the warm-up
            answered(1, 0.5, 1.1),
            answered(0, 2.5, 2.9),
            answered(1, 2.8, 3.1),  # after the end
        )
    )

    assert (found.answered, found.useful_tokens, found.seconds) == (2, 110, 2.0)
    assert found.figure("tokens_per_s") == 55
    assert found.figure("requests_per_s") == 1


def test_open_loop_counts_what_was_meant_to_leave_in_the_measured_time():
    found = measured(records(answered(0, 0.9, 1.1), answered(1, 2.9, 3.5)), Open(rate=2.0))

    assert (found.answered, found.useful_tokens, found.rate) == (1, 100, 2.0)
    assert found.figure("p99_ms") == pytest.approx(600, rel=0.002)


def test_wrong_answer_is_found_and_earns_nothing():
    found = measured(records(answered(0, 1.0, 1.5), answered(1, 1.0, 1.5, fp32([3.0, -4.01]))))

    assert (found.answered, found.wrong, found.useful_tokens) == (1, 1, 10)
    assert found.max_error == pytest.approx(0.01, rel=1e-3)
    assert not found.sound


@pytest.mark.parametrize("body", [fp32([1.0]), fp32([1.0, float("nan")]), b"odd", b""])
def test_answer_of_another_shape_or_without_sense_is_wrong(body):
    assert measured(records(answered(0, 1.0, 1.5, body))).wrong == 1


def test_answer_to_another_request_is_wrong():
    assert measured(records(answered(0, 1.0, 1.5, RIGHT[1]))).wrong == 1


def test_errors_are_counted_by_kind():
    made = records(
        (0, Outcome.REFUSED, 1.0, 1.0, 1.5, b"later"),
        (0, Outcome.TIMED_OUT, 1.0, 1.0, 2.0, b""),
        (1, Outcome.DISCONNECTED, 1.0, 1.0, 2.0, b""),
        status=503,
    )

    assert measured(made).errors == {"refused 503": 1, "timed out": 1, "disconnected": 1}


def test_refused_calls_are_timed_from_when_they_were_meant_to_leave():
    made = records(
        (0, Outcome.REFUSED, 1.0, 1.004, 1.005, b""),
        (1, Outcome.TIMED_OUT, 1.0, 1.0, 2.0, b""),
        status=RESOURCE_EXHAUSTED,
    )

    found = measured(made, Open(rate=1.0))

    assert percentile_ms(found.refusals, 99) == pytest.approx(5, rel=0.002)


def test_calls_that_failed_otherwise_are_no_refusals():
    assert measured(records((0, Outcome.REFUSED, 1.0, 1.0, 1.5, b""), status=13)).refusals == ""


def test_late_answers_are_not_in_time():
    found = measured(records(answered(0, 1.0, 1.4), answered(1, 1.0, 1.6)), deadline_s=0.5)

    assert (found.answered, found.in_time) == (2, 1)


def test_run_without_an_answer_has_no_latency():
    assert measured(records((0, Outcome.TIMED_OUT, 1.0, 1.0, 2.0, b""))).figure("p99_ms") == float("inf")


def test_lateness_of_the_generator_is_told():
    made = records((0, Outcome.ANSWERED, 1.0, 1.25, 1.5, RIGHT[0]))

    assert measured(made, Open(rate=1.0)).late_ms == pytest.approx(250)


def test_processor_time_is_told_of_all():
    assert measured(records(answered(0, 1.0, 1.5)), cpu_s={"server": 1.5}).cpu_s == {"client": 0.25, "server": 1.5}
