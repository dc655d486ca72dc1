import pytest

from benchmarks.load.schedule import Phase
from benchmarks.peers.catalogue import OURS, PEERS
from benchmarks.peers.writers import CTRANSLATE2, FULL_SLOTS
from benchmarks.suites.cell import BestOf, ShareOfCapacity, Suite
from benchmarks.suites.engine import ENGINE
from benchmarks.suites.generation import GENERATION
from benchmarks.suites.peers import PEER_SUITE

SUITES = pytest.mark.parametrize("suite", [ENGINE, PEER_SUITE, GENERATION], ids=lambda suite: suite.name)


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


def measured_s(suite: Suite) -> float:
    phases: list[Phase] = [cell.phase or suite.phase for cell in suite.cells]
    return sum(2 * suite.pairs * phase.last_s for phase in phases)


REQUIRED = {
    "fp32_over_best_peer": (1.10, 1.25),
    "bf16_over_best_peer": (1.5, 1.8),
    "bf16_over_same_session": (1.3, 1.6),
    "int8_over_same_graph_best_peer": (1.05, 1.2),
    "over_peer_batching": (2.4, 2.9),
    "over_ceiling": (0.88, 0.95),
    "batching_never_slower": (1.0, 1.1),
    "p99_fp32_best_peer_over_ours": (1.0, 1.2),
    "p99_bf16_best_peer_over_ours": (1.3, 1.7),
    "p99_saturated_best_peer_over_ours": (1.0, 1.3),
    "explain_one_percent": (0.95, 0.99),
    "scheduler_tiny_on_over_off": (3.0, 5.0),
    "overload_goodput": (0.95, 1.0),
    "noop_over_bare_grpc": (0.60, 0.75),
}


def test_peer_suite_states_every_ratio_with_what_it_has_to_reach():
    stated = {headline.id: (headline.at_least, headline.aim) for headline in PEER_SUITE.headlines}

    assert stated == REQUIRED


def cells_of(headline_id: str, suite: Suite = PEER_SUITE):
    headline = next(headline for headline in suite.headlines if headline.id == headline_id)
    return [cell for cell in suite.cells if cell.id in headline.cells]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_every_peer_runs_the_graph_of_ours_in_the_same_precision(precision):
    name = {"bf16": "bf16_over_same_session", "int8": "int8_over_same_graph_best_peer"}[precision]
    peers = [cell.b for cell in cells_of(name) if not isinstance(cell.b, BestOf)]

    assert {peer.target for peer in peers} == set(PEERS)
    assert {(cell.a.target, cell.a.precision) for cell in cells_of(name)} == {(OURS, precision)}
    assert {peer.precision for peer in peers} == {precision}


def test_bf16_of_ours_stands_beside_the_best_peer_in_fp32():
    cells = cells_of("bf16_over_best_peer") + cells_of("p99_bf16_best_peer_over_ours")
    candidates = {name for cell in cells for name in cell.b.cells}

    assert {cell.a.precision for cell in cells} == {"bf16"}
    assert {cell.b.precision for cell in PEER_SUITE.cells if cell.id in candidates} == {"fp32"}


def test_ceilings_are_of_the_same_precision_as_ours():
    sides = [(cell.a.precision, cell.b.precision) for cell in cells_of("over_ceiling")]

    assert all(ours == ceiling for ours, ceiling in sides)
    assert {precision for precision, _ in sides} == {"fp32", "bf16", "int8"}


def test_batching_is_measured_in_every_precision_size_and_mix():
    cells = cells_of("batching_never_slower")

    assert {cell.a.precision for cell in cells} == {"fp32", "bf16", "int8"}
    assert {cell.a.shape for cell in cells} == {"minilm-shape", "tiny-shape"}
    assert {cell.mix for cell in cells} == {"mixed", "short", "long", "sixteen"}
    assert len({cell.load.in_flight for cell in cells}) >= 4
    assert all((cell.a.setting, cell.b.setting) == ("on", "off") for cell in cells)


def test_own_suite_needs_no_environment_of_its_own():
    assert {arm.precision for cell in ENGINE.cells for arm in (cell.a, cell.b)} == {"fp32"}


def test_every_peer_is_measured_with_and_without_its_batching():
    arms = {(cell.b.target, cell.b.setting) for cell in PEER_SUITE.cells if not isinstance(cell.b, BestOf)}

    assert {(peer, setting) for peer in PEERS for setting in ("plain", "batching")} <= arms


def test_peer_suite_measures_for_less_than_75_minutes():
    assert measured_s(PEER_SUITE) < 40 * 60  # the rest is for installing and starting


def test_own_suite_measures_for_less_than_two_minutes():
    assert measured_s(ENGINE) < 90  # the rest is for starting


REQUIRED_OF_GENERATION = {
    "gen_over_ct2_fp32": (1.5, 1.9),
    "gen_over_ct2_int8": (0.8, 1.0),
    "gen_over_static": (1.5, 1.75),
    "gen_over_full_slots": (0.85, 0.92),
    "ttft_p99_static_over_ours": (3.0, 6.0),
    "gen_alone_over_ct2": (1.0, 1.15),
    "rnn_64_over_1": (8.0, 16.0),
}


def test_generation_states_every_ratio_with_what_it_has_to_reach():
    stated = {headline.id: (headline.at_least, headline.aim) for headline in GENERATION.headlines}

    assert stated == REQUIRED_OF_GENERATION


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gen_over_ct2_fp32", {(CTRANSLATE2, "2x16"), (CTRANSLATE2, "1x32")}),
        ("gen_over_ct2_int8", {(CTRANSLATE2, "2x16"), (CTRANSLATE2, "1x32")}),
        ("gen_over_full_slots", {(FULL_SLOTS, "2x16"), (FULL_SLOTS, "1x32")}),
        ("gen_over_static", {(OURS, "static")}),
        ("gen_alone_over_ct2", {(CTRANSLATE2, "alone")}),
        ("ttft_p99_static_over_ours", {(OURS, "static")}),
    ],
)
def test_ours_writes_in_the_same_precision_as_what_stands_beside_it(name, other):
    cells = cells_of(name, GENERATION)

    assert {(cell.b.target, cell.b.setting) for cell in cells} == other
    assert all((cell.a.target, cell.a.setting) == (OURS, "on") for cell in cells)
    assert all(cell.a.precision == cell.b.precision for cell in cells)
    assert all(cell.a.streamed == (name == "ttft_p99_static_over_ours") for cell in cells)


def test_arrivals_are_a_share_of_what_static_batching_can_do():
    (cell,) = cells_of("ttft_p99_static_over_ours", GENERATION)

    assert (cell.load.share, cell.load.cells, cell.load.side) == (0.7, ("over-static/fp32",), "b")
    assert cell.load.tokens_each == 36
    assert cell.figure == "first_p99_ms"


def test_generation_measures_for_less_than_25_minutes():
    assert measured_s(GENERATION) < 18 * 60  # the rest is for texts that are under way at the end, and for starting
