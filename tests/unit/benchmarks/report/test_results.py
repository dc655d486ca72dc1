import pytest

from benchmarks.report.results import ResultsUnreadable, headline_ratio, read_results
from tests.unit.benchmarks.report.results_by_hand import cell, headline, results, run


def test_file_comes_back_as_it_was_written(tmp_path):
    made = results(cell("x", (run(300), run(200))), lowest=headline("x"))

    made.write(tmp_path / "results" / "file.json")

    assert read_results(tmp_path / "results" / "file.json") == made


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 1, "suite": 3}'])
def test_other_file_is_refused(tmp_path, content):
    (tmp_path / "file.json").write_text(content)

    with pytest.raises(ResultsUnreadable, match="not a results file"):
        read_results(tmp_path / "file.json")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultsUnreadable, match="cannot be read"):
        read_results(tmp_path / "file.json")


def test_lowest_ratio_names_the_cell_that_decided_it():
    cells = [cell("x", (run(300), run(100))), cell("y", (run(300), run(200)))]

    found = headline_ratio(headline("x", "y"), cells)

    assert found.ratio.value == 1.5
    assert found.decided_by == "y"


def test_geometric_mean_is_over_all_cells():
    cells = [cell("x", (run(400), run(100))), cell("y", (run(100), run(100)))]

    assert headline_ratio(headline("x", "y", rule="geometric_mean"), cells).ratio.value == pytest.approx(2.0)


def test_cell_that_lies_below_the_floor_with_its_whole_interval_is_named():
    cells = [
        cell("x", (run(400), run(100)), (run(400), run(100))),
        cell("y", (run(90), run(100)), (run(94), run(100))),
        cell("z", (run(90), run(100)), (run(96), run(100))),
    ]

    found = headline_ratio(headline("x", "y", "z", rule="geometric_mean", floor=0.95), cells)

    assert found.ratio.value > found.at_least
    assert found.below_floor == ("y",)
    assert not found.reached


def test_ratio_without_a_floor_is_reached_by_its_value_alone():
    cells = [cell("x", (run(90), run(100)))]

    assert headline_ratio(headline("x", at_least=0.9), cells).reached
    assert not headline_ratio(headline("x", at_least=0.91), cells).reached
    assert not headline_ratio(headline("none", at_least=0.0), cells).reached


def test_latencies_are_compared_the_other_way_round():
    cells = [cell("x", (run(1, p99_s=0.1), run(1, p99_s=0.2)))]

    found = headline_ratio(headline("x", figure="p99_ms", b_over_a=True), cells)

    assert found.ratio.value == pytest.approx(2.0, rel=0.002)


def test_cell_with_a_wrong_answer_does_not_count():
    cells = [cell("x", (run(300), run(200))), cell("y", (run(300, wrong=1), run(900)))]

    found = headline_ratio(headline("x", "y", "z"), cells)

    assert found.decided_by == "x"
    assert found.left_out == {"y": "not every answer was right", "z": "not measured"}


def test_refusals_do_not_count_against_a_cell_that_is_about_them():
    refused = cell("x", (run(300, errors={"refused 8": 4}), run(200)))

    assert not refused.sound
    assert refused.model_copy(update={"may_refuse": True}).sound


def test_side_without_an_answer_has_no_ratio():
    cells = [cell("x", (run(0), run(200)))]

    found = headline_ratio(headline("x"), cells)

    assert cells[0].ratio is None
    assert found.ratio is None
    assert found.left_out == {"x": "a side had no answer"}
