"""When requests leave: a closed loop of callers that wait for their answer, or an open one of callers that do not."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Closed:
    """So many calls in flight at any time: the next leaves when one is answered."""

    in_flight: int
    kind: Literal["closed"] = "closed"


@dataclass(frozen=True)
class Open:
    """Poisson arrivals at a rate of requests a second, whatever the server does."""

    rate: float
    kind: Literal["open"] = "open"


Schedule = Closed | Open


@dataclass(frozen=True)
class Phase:
    """How long one run takes: answers count from the end of the warm-up on."""

    warm_up_s: float
    measured_s: float
    timeout_s: float = 30.0
    """A call without an answer for so long is given up and counted as an error."""
    cool_down_s: float = 0.0
    """How long calls go on beginning after the measured time, so that its last ones end in company as the others."""

    @property
    def end_s(self) -> float:
        """When the measured time ends."""
        return self.warm_up_s + self.measured_s

    @property
    def last_s(self) -> float:
        """When the last call may begin."""
        return self.end_s + self.cool_down_s


def poisson_arrivals(rate: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    """Times of arrival in [0, duration), ascending, in seconds: gaps are exponential with mean 1/rate.

    Raises ValueError for a rate or a duration that is not positive.
    """
    if not rate > 0 or not duration_s > 0:
        raise ValueError(f"a rate and a duration above zero are needed, not {rate} and {duration_s}")
    rng = np.random.default_rng(seed)
    expected = rate * duration_s
    gaps = rng.exponential(1.0 / rate, size=int(expected + 10 * np.sqrt(expected) + 10))
    times = np.cumsum(gaps)
    return times[times < duration_s]
