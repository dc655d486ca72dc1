import pytest

from benchmarks.peers.catalogue import PEERS
from benchmarks.suites.cell import BestOf, ShareOfCapacity
from benchmarks.suites.engine import ENGINE
from benchmarks.suites.peers import PEER_SUITE

SUITES = pytest.mark.parametrize("suite", [ENGINE, PEER_SUITE], ids=lambda suite: suite.name)


@SUITES
def test_cells_have_names_of_their_own(suite):
    names = [cell.id for cell in suite.cells]

    assert len(set(names)) == len(names)


@SUITES
def test_headlines_stand_on_cells_of_their_suite(suite):
    names = {cell.id for cell in suite.cells}

    assert all(set(headline.cells) <= names for headline in suite.headlines)
    assert len({headline.id for headline in suite.headlines}) == len(suite.headlines)


@SUITES
def test_cell_needs_only_what_was_measured_before_it(suite):
    measured = set()
    for cell in suite.cells:
        for part in (cell.b, cell.load, cell.load_of_b):
            if isinstance(part, BestOf | ShareOfCapacity):
                assert set(part.cells) <= measured
        measured.add(cell.id)


@SUITES
def test_pairs_are_enough_for_95_percent(suite):
    assert suite.pairs >= 6


def test_every_peer_is_measured_with_and_without_its_batching():
    arms = {(cell.b.target, cell.b.setting) for cell in PEER_SUITE.cells if not isinstance(cell.b, BestOf)}

    assert {(peer, setting) for peer in PEERS for setting in ("plain", "batching")} <= arms


def test_peer_suite_measures_for_less_than_75_minutes():
    phase = PEER_SUITE.phase
    seconds = sum(
        2 * PEER_SUITE.pairs * (phase.warm_up_s + (cell.measured_s or phase.measured_s)) for cell in PEER_SUITE.cells
    )

    assert seconds < 45 * 60  # the rest is for installing and starting
