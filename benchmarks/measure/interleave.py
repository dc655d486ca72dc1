"""The order of runs: pairs A B B A, so that drift of the machine falls on both alike."""

from collections.abc import Callable
from typing import TypeVar

Run = TypeVar("Run")

LEAST_PAIRS = 6
"""The fewest pairs whose smallest and largest ratio hold the median with 95% confidence."""


def order(pairs: int) -> str:
    """Which side runs when, in letters: `ABBAAB…`, two letters a pair."""
    return "".join("AB" if pair % 2 == 0 else "BA" for pair in range(pairs))


def interleaved(a: Callable[[], Run], b: Callable[[], Run], pairs: int) -> list[tuple[Run, Run]]:
    """Runs both sides in the order A B B A …; each pair as (a, b), whichever of the two ran first.

    Raises ValueError if there is no pair to run.
    """
    if pairs < 1:
        raise ValueError(f"at least one pair is needed, not {pairs}")
    found: list[tuple[Run, Run]] = []
    for pair in range(pairs):
        if pair % 2 == 0:
            first = a()
            found.append((first, b()))
        else:
            second = b()
            found.append((a(), second))
    return found
