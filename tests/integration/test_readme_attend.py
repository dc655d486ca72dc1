"""The README's textbook example: by hand, in PyTorch and over the wire, with the numbers that it prints."""

import contextlib
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.bundles import publish_tiny
from tests.support.serving_thread import serving_in_thread

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Attention itself\n")[1].split("\n## ")[0]
PROGRAM, PRINTED = re.findall(r"```(?:python)?\n(.*?)```", SECTION, re.DOTALL)
VALUES = np.array([[10, 0], [0, 10], [5, 5]])


def test_the_program_prints_what_the_readme_says_over_the_wire_and_in_pytorch(tmp_path):
    publish_tiny(tmp_path, "attend", alias="stable")
    with serving_in_thread(tmp_path) as server, contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(PROGRAM.replace("127.0.0.1:8001", server.address), {})  # noqa: S102 - the program under test
    assert printed.getvalue() == PRINTED * 2


@pytest.mark.parametrize("row", range(3))
def test_the_table_by_hand_has_the_same_numbers(row):
    cells = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| (")]
    _, scores, weights, context = cells[row]
    exponentials = [math.exp(float(score.replace("½", "0.5"))) for score in scores.split(", ")]
    by_hand = np.array(exponentials) / sum(exponentials)
    np.testing.assert_allclose(last_numbers(weights, 3), by_hand.round(4))
    np.testing.assert_allclose(last_numbers(context, 2), (by_hand @ VALUES).round(4))
    printed = [[float(number) for number in re.findall(r"[\d.]+", line)] for line in PRINTED.splitlines()]
    assert printed[row] == last_numbers(weights, 3)
    assert printed[3 + row] == last_numbers(context, 2)


def last_numbers(cell: str, count: int) -> list[float]:
    return [float(number) for number in cell.split(": ")[-1].split(", ")][-count:]
