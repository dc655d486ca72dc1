"""What is measured, on a clock that only runs make go on."""

import numpy as np

from server.clock import ManualClock
from server.generation.encoding import Encoder
from server.loading.generation.measuring import Bench
from server.loading.samples import Samples
from tests.support.adder import LONGEST_SOURCE, Adder

START = {"source": np.array([[3, 4]])}


def bench(adder, *, seconds=1000.0, max_rows=64, per_row=0.01, max_bytes=2**20):
    """Runs take 10 ms and so much a row."""
    clock = ManualClock()
    adder.spend = lambda kind, rows: clock.advance(0.01 + per_row * rows)
    manifest = adder.manifest()
    return Bench(manifest, Samples(manifest), max_rows, max_bytes, seconds, clock.now)


def rows_of(found):
    return [one.work.rows for one in found]


def test_steps_of_few_rows_and_of_many_are_measured():
    adder = Adder("shared")
    found = bench(adder).step(adder.plain(), START)
    assert rows_of(found) == [1, 2, 4, 8, 16, 32, 64]


def test_a_step_takes_what_its_run_took_after_a_first_one_that_prepares():
    adder = Adder("shared")
    (one, two, *_) = bench(adder).step(adder.plain(), START)
    assert (round(one.seconds, 9), round(two.seconds, 9)) == (0.02, 0.03)
    assert one.work.pairs == 1, "what its row held"


def test_no_more_rows_are_measured_than_may_be_live():
    adder = Adder("sums")
    assert rows_of(bench(adder, max_rows=5).step(adder.plain(), START)) == [1, 2, 4]


def test_no_more_rows_are_measured_than_can_be_held():
    adder = Adder("sums")
    assert rows_of(bench(adder, max_bytes=5 * 8 * 6).step(adder.plain(), START)) == [1, 2, 4]


def test_measuring_ends_when_its_time_is_over():
    adder = Adder("sums")
    assert rows_of(bench(adder, seconds=0.5).step(adder.plain(), START)) == [1, 2, 4]
    assert rows_of(bench(adder, seconds=0.0).step(adder.plain(), START)) == [1], "one at least"


def test_more_ways_get_more_time():
    adder = Adder("sums")
    way = (adder.plain(), START)
    two, four = bench(adder, seconds=2.0).steps([way] * 2), bench(adder, seconds=2.0).steps([way] * 4)
    assert [rows_of(found) for found in two] == [rows_of(two[0])] * 2
    assert rows_of(four[0]) == rows_of(two[0])


def test_parts_of_a_prompt_are_measured_up_to_the_longest():
    adder = Adder("shared", encodes=False, max_new=32)
    found = bench(adder).read(adder.plain(), {})
    assert [one.work.tokens for one in found] == [1, 8, 32]


def test_sources_alone_and_in_company_short_and_long_are_measured():
    adder = Adder("shared")
    found = bench(adder).encode(Encoder(adder.manifest(), adder.encode))
    sizes = [(one.work.rows, one.work.tokens // one.work.rows) for one in found]
    assert sizes == [(1, 8), (4, 8), (1, LONGEST_SOURCE), (4, LONGEST_SOURCE)]
