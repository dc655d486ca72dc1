import numpy as np
import pytest

from benchmarks.load.latency import encode, latencies_s, percentile_ms
from benchmarks.load.records import Outcome
from tests.unit.benchmarks.load.records_by_hand import fp32, records


def test_stall_is_felt_by_every_call_that_was_meant_to_leave_during_it():
    # A call every 10 ms, each answered in 1 ms; at 0 s the server stalls for a second, and the generator, with one
    # connection, can send the next 100 calls only then.
    calls = []
    for index in range(200):
        intended = index * 0.01
        sent = max(intended, 1.0 + index * 0.001) if index else 0.0
        done = 1.0 if index == 0 else sent + 0.001
        calls.append((0, Outcome.ANSWERED, intended, sent, done, fp32([1])))
    made = records(*calls).calls

    corrected = latencies_s(made)
    uncorrected = made["done_s"] - made["sent_s"]

    assert np.percentile(uncorrected, 99) < 0.002  # what coordinated omission would have told
    assert np.percentile(corrected, 99) == pytest.approx(0.99, rel=0.02)
    assert corrected[50] == pytest.approx(1.051 - 0.5)  # half of the stall was over when this one was meant to leave


def test_percentiles_come_back_from_the_encoding():
    encoded = encode(np.arange(1, 1001) / 1000)  # 1 ms to 1 s

    assert percentile_ms(encoded, 50) == pytest.approx(500, rel=0.002)
    assert percentile_ms(encoded, 99) == pytest.approx(990, rel=0.002)


def test_latency_beyond_the_histogram_is_its_longest():
    assert percentile_ms(encode(np.array([1e6])), 99) == pytest.approx(600_000, rel=0.002)


def test_no_latencies_make_an_empty_histogram():
    assert percentile_ms(encode(np.array([])), 99) == 0
