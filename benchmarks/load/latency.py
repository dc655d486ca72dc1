"""Latencies as an HdrHistogram: three significant digits from a microsecond to ten minutes.

A latency runs from when a call was meant to leave, not from when it left. In an open loop that is what corrects for
coordinated omission: a server that stalls makes the callers behind it late, and their waiting is its own.
"""

from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LONGEST_US = 600_000_000
DIGITS = 3


def latencies_s(calls: NDArray[np.void]) -> NDArray[np.float64]:
    """Seconds from when each call was meant to leave to when it was done."""
    latencies: NDArray[np.float64] = calls["done_s"] - calls["intended_s"]
    return latencies


def encode(latencies: NDArray[np.float64]) -> str:
    """The histogram of latencies in seconds, in the portable encoding of HdrHistogram (V2, compressed, base64)."""
    histogram = HdrHistogram(1, LONGEST_US, DIGITS)
    microseconds, counts = np.unique(np.maximum(1, np.rint(latencies * 1e6)).astype(np.int64), return_counts=True)
    for value, count in zip(microseconds.tolist(), counts.tolist(), strict=True):
        histogram.record_value(min(value, LONGEST_US), count)
    encoded: bytes = histogram.encode()
    return encoded.decode()


def percentile_ms(encoded: str, percentile: float) -> float:
    """A percentile of an encoded histogram, in milliseconds; 0 where it is empty."""
    histogram: Any = HdrHistogram.decode(encoded)
    return float(histogram.get_value_at_percentile(percentile)) / 1e3
