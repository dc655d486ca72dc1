import numpy as np
from attendant.cli.attend import heat_grid


def test_few_keys_are_written_as_numbers_on_their_colour():
    grid = heat_grid(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32), 100)
    assert grid.plain == " 0.250  0.750 \n 1.000  0.000 "
    backgrounds = [span.style.bgcolor.name for span in grid.spans]
    assert len(set(backgrounds)) == 4
    assert backgrounds[2] == "rgb(255,255,235)"


def test_many_keys_are_shades():
    weights = np.zeros((2, 11), np.float32)
    weights[0, 3] = weights[1, 10] = 1
    assert heat_grid(weights, 100).plain == "   █       \n          █"


def test_what_does_not_fit_is_left_out_and_says_so():
    lines = heat_grid(np.ones((41, 200), np.float32), 80).plain.splitlines()
    assert [len(line) for line in lines[:-1]] == [80] * 40
    assert lines[-1] == "(the first 40 of 41 queries, 80 of 200 keys)"


def test_weights_that_are_all_zero_are_cold():
    assert heat_grid(np.zeros((1, 2), np.float32), 100).plain == " 0.000  0.000 "
