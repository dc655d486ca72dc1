"""The pieces that the dashboards' expressions are made of.

The variables of a dashboard stand in the selectors as Grafana writes them (`$model`); Grafana puts a regular expression
in their place, `.*` for all.
"""

NOT_INFERENCE = "Check|Watch|Server.+|Repository.+|.+SharedMemory.+|.+Settings?|Model(Ready|Metadata|Config|Statistics)"
"""The RPCs that ask nothing of a model: health checks by the second would hide the share of requests that fail."""

SERVER_FAULTS = "INFERENCE_FAILED|UNEXPECTED|MODEL_NOT_READY"
"""The reasons for which a correct request fails though there was room and time for it."""

REFUSALS = "QUEUE_FULL|DEADLINE_UNREACHABLE|DEADLINE_EXPIRED|DRAINING|MODEL_NOT_READY|READER_TOO_SLOW"
"""The reasons for which a request is turned away or given up, whatever it asked."""

MODEL = 'model=~"$model"'
INSTANCE = 'instance=~"$instance"'
SELECTED = f'{MODEL}, version=~"$version", {INSTANCE}'
"""What the variables choose, in metrics with the labels `model` and `version`."""
INFERENCE = f'{SELECTED}, method!~"{NOT_INFERENCE}"'
"""The same, in metrics of calls."""
PROCESS = f'job="attendant", {INSTANCE}'
"""The servers' processes; Prometheus itself has metrics of the same names."""


def rate(metric: str, selector: str) -> str:
    """The increase of each counter a second."""
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def summed(by: str, expression: str) -> str:
    """The sum for each combination of the labels `by`; over everything where there are none."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def quantile(share: float, histogram: str, selector: str, by: str = "") -> str:
    """A quantile of a histogram, for each combination of the labels `by`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {summed(labels, rate(f'{histogram}_bucket', selector))})"


def mean(histogram: str, selector: str, by: str = "") -> str:
    """The mean of a histogram, for each combination of the labels `by`."""
    return f"{summed(by, rate(f'{histogram}_sum', selector))} / {summed(by, rate(f'{histogram}_count', selector))}"


def or_zero(expression: str, label: str = "") -> str:
    """The expression; while it has no series, a zero, named `none` in `label`.

    A counter of failures has no series before the first failure, and a panel without data would look broken.
    """
    zero = f'label_replace(vector(0), "{label}", "none", "", "")' if label else "vector(0)"
    return f"{expression} or on () {zero}"
