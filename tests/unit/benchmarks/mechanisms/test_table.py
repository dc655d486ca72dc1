import pytest

from benchmarks.mechanisms.results import Peak, Results, Timing, load, save
from benchmarks.mechanisms.table import crossing, render

ENVIRONMENT = {
    "date": "2026-01-02T03:04:05Z",
    "command": "python -m benchmarks.mechanisms",
    "processor": "Made Up 3000",
    "cores": 2,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "onnxruntime": "1.31.1"},
}
ABOUT = {"environment": ENVIRONMENT, "scale": {"d_model": 64, "num_heads": 4, "window": 64, "block": 64}}


def timings(name: str, reference: str, ratios: dict[int, float], kind="forward") -> list[Timing]:
    """Six pairs at each length, the reference a millisecond and the subject `ratio` of them."""
    return [Timing(name, reference, kind, length, [0.001 * ratio] * 6, [0.001] * 6) for length, ratio in ratios.items()]


@pytest.fixture
def results() -> Results:
    return Results(
        ABOUT,
        timings=[
            *timings("dot", "dot", {64: 1.0, 128: 1.0}),
            *timings("additive", "dot", {64: 10.0, 128: 20.0}),
            *timings("scaled-dot-product", "dot", {64: 1.0, 128: 1.0}),
            *timings("sliding-window", "scaled-dot-product", {64: 2.0, 128: 0.5}),
        ],
        peaks=[Peak("dot", "forward", 64, 2**20), Peak("additive", "forward", 64, 32 * 2**20)],
    )


def test_additive_stands_against_dot_at_every_length(results):
    text = render(results)
    assert "| 64 | 10 (10 to 10) | – | – | 32 | – | – |" in text
    assert "| 128 | 20 (20 to 20) | – | – | – | – | – |" in text


def test_long_inputs_stand_against_full_attention_with_the_length_from_which_they_are_faster(results):
    assert "| sliding-window | 2 (2 to 2) | 0.5 (0.5 to 0.5) | 128 |" in render(results)


def test_every_mechanism_stands_in_the_overview_beside_its_reference(results):
    assert "### Every mechanism at 128 positions" in render(results)
    assert "| additive | 20, – | –, – | –, – | dot | 20 (20 to 20) |" in render(results)


@pytest.mark.parametrize(
    ("ratios", "wanted"),
    [
        ({64: 0.5, 128: 0.5}, "64"),
        ({64: 2.0, 1024: 0.9, 4096: 0.1}, "1,024"),
        ({64: 0.5, 128: 1.5, 256: 0.5}, "256"),
        ({64: 0.5, 128: 1.0}, "never"),
    ],
)
def test_crossing_is_where_a_mechanism_becomes_faster_and_stays_so(ratios, wanted):
    assert crossing(Results(ABOUT, timings("block", "dot", ratios)), "block", "forward") == wanted


def test_what_is_saved_is_loaded(results, tmp_path):
    save(results, tmp_path / "folder" / "results.json")
    assert load(tmp_path / "folder" / "results.json") == results


def test_curves_are_drawn_of_what_was_measured(results, tmp_path):
    from benchmarks.mechanisms.curves import CLAIMS, draw

    draw(results, CLAIMS, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
