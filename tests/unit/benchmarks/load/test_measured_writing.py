import numpy as np
import pytest

from benchmarks.load.latency import percentile_ms
from benchmarks.load.measured_writing import Row, Text, measure_calls, measure_rows
from benchmarks.load.records import Outcome
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.load.writing import Greedy, References
from tests.unit.benchmarks.load.records_by_hand import records, streams

WANTED = (10, 20)
RIGHT = [[request] * wanted for request, wanted in enumerate(WANTED)]
REFERENCES = References(
    tuple(Greedy(np.array(ids), np.ones(len(ids), dtype=np.float32)) for ids in RIGHT), tolerance=0.01
)
PHASE = Phase(warm_up_s=1.0, measured_s=2.0, cool_down_s=1.0)


def read(body: bytes) -> Text:
    if not body:
        raise ValueError("nothing")
    return Text(list(body))


def answered(request: int, begin: float, end: float, ids=None):
    return (request, Outcome.ANSWERED, begin, begin, end, bytes(RIGHT[request] if ids is None else ids))


def measured(made, schedule=Closed(2), read=read):  # noqa: B008
    return measure_calls(made, schedule, PHASE, read, REFERENCES)


def test_tokens_count_by_the_share_of_their_time_that_was_measured():
    found = measured(
        records(
            answered(0, 0.0, 1.0),  # in the warm-up
            answered(0, 0.5, 1.5),  # half of it
            answered(1, 1.5, 2.5),
            answered(1, 2.5, 3.5),  # half of it, and it ends too late to be counted as answered
            answered(1, 3.0, 4.0),  # after the end
        )
    )

    assert found.useful_tokens == 5 + 20 + 10
    assert found.answered == 2
    assert found.figure("tokens_per_s") == 17.5
    assert found.compared.texts == 3
    assert found.sound


def test_wrong_text_earns_nothing():
    found = measured(records(answered(0, 1.0, 2.0), answered(1, 1.0, 2.0, [1] * 19 + [0])))

    assert (found.useful_tokens, found.wrong, found.answered) == (10, 1, 1)
    assert found.compared.tokens_alike == 10 + 19
    assert not found.sound


def test_what_is_no_answer_is_wrong():
    assert measured(records(answered(0, 1.0, 2.0, []))).wrong == 1


def test_calls_without_an_answer_are_counted_by_kind():
    found = measured(records((0, Outcome.REFUSED, 1.0, 1.0, 1.5, b"")))

    assert found.errors == {"refused 0": 1}


def test_time_to_the_first_token_is_from_when_the_call_was_meant_to_leave():
    made = streams((answered(0, 1.0, 2.0), (1.1, 1.25, 2.0)), (answered(1, 2.9, 4.0), (3.0, 3.15, 4.0)))

    found = measured(made, Open(rate=2.0), lambda body: Text(list(body), first_message=1))

    assert percentile_ms(found.first_tokens, 99) == pytest.approx(250, rel=0.002)
    assert found.figure("first_p99_ms") == pytest.approx(250, rel=0.002)
    assert (found.answered, found.useful_tokens, found.rate) == (2, 30, 2.0)


def test_run_without_streams_has_no_time_to_the_first_token():
    assert measured(records(answered(0, 1.0, 2.0))).figure("first_p99_ms") == float("inf")


def test_rows_without_a_server_are_counted_alike():
    rows = [Row(0, 0.5, 1.5, RIGHT[0]), Row(1, 1.5, 2.5, RIGHT[1]), Row(0, 3.0, 3.5, RIGHT[0])]

    found = measure_rows(rows, PHASE, REFERENCES, WANTED, cpu_s=1.5)

    assert (found.useful_tokens, found.answered, found.compared.texts) == (25, 2, 2)
    assert found.cpu_s == {"server": 1.5}


def test_without_references_lengths_alone_are_checked():
    rows = [Row(0, 1.0, 2.0, [9] * 10), Row(1, 1.0, 2.0, [9] * 10)]

    found = measure_rows(rows, PHASE, None, WANTED, cpu_s=0.0)

    assert (found.useful_tokens, found.wrong) == (10, 1)
    assert (found.compared.texts, found.compared.tokens_alike) == (2, None)


def test_run_that_wrote_nothing_has_no_latency():
    assert measure_rows([], PHASE, None, WANTED, cpu_s=0.0).figure("p99_ms") == float("inf")
