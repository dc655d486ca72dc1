"""What the servers do with requests: batches and queues."""

from deploy.grafana.board import Row
from deploy.grafana.panels import Line, graph
from deploy.grafana.promql import INFERENCE, REFUSALS, SELECTED, mean, or_zero, quantile, rate, summed
from deploy.grafana.traffic import QUEUE_LIMIT


def batches() -> Row:
    """What runs together."""
    failed = summed("model", rate("attendant_batch_failures_total", SELECTED))
    return Row(
        "Batches",
        [
            graph(
                "Rows of a batch",
                "Rows that ran together. Near 1 under load: requests are too different in length to share a batch, or "
                "the model's manifest allows one row.",
                "none",
                [Line(mean("attendant_batch_rows", SELECTED, "model"), "{{model}} mean"), _p95("attendant_batch_rows")],
                width=6,
            ),
            graph(
                "Tokens of a batch",
                "Tokens computed, padding included. At batching.max_batch_tokens under load: raising it may help.",
                "none",
                [
                    Line(mean("attendant_batch_tokens", SELECTED, "model"), "{{model}} mean"),
                    _p95("attendant_batch_tokens"),
                ],
                width=6,
            ),
            graph(
                "Padding ratio",
                "Share of computed tokens that is padding. Near 0 where packed graphs run; much above 0.2, single "
                "requests may hold rows of very different lengths: let callers send them apart.",
                "percentunit",
                [
                    Line(mean("attendant_padding_ratio", SELECTED, "model"), "{{model}} mean"),
                    _p95("attendant_padding_ratio"),
                ],
                width=6,
                highest=1,
            ),
            graph(
                "Failed batches",
                "Batches that failed as a whole and were run again one by one. Not 0: the log has `a run failed` "
                "lines with the model; move the alias back if it began with a version.",
                "ops",
                [Line(or_zero(failed, "model"), "{{model}}")],
                width=6,
            ),
        ],
    )


def queue() -> Row:
    """What waits, and what is turned away."""
    refusals = rate("attendant_requests_total", f'{INFERENCE}, reason=~"{REFUSALS}"')
    return Row(
        "Queue",
        [
            graph(
                "Queue depth against capacity",
                "The fullest replica of each model. At 100% requests are refused with QUEUE_FULL: add replicas or "
                "cores; a larger batching.max_queue_rows only makes them wait longer.",
                "percentunit",
                [
                    Line(
                        "max by (model) "
                        f"(attendant_queue_rows{{{SELECTED}}} / attendant_queue_capacity_rows{{{SELECTED}}})",
                        "{{model}}",
                    )
                ],
                width=6,
                limit=QUEUE_LIMIT,
                highest=1,
            ),
            graph(
                "Rows that wait",
                "By replica. One replica alone: it is slow, or the balancing is uneven; look at its CPU.",
                "none",
                [Line(summed("instance", f"attendant_queue_rows{{{SELECTED}}}"), "{{instance}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Refusals by reason",
                "QUEUE_FULL, DEADLINE_UNREACHABLE, DEADLINE_EXPIRED: overload, or deadlines that are too short. "
                "DRAINING: a replica stops; harmless while it is being replaced. MODEL_NOT_READY: look at Models.",
                "reqps",
                [Line(or_zero(summed("reason", refusals), "reason"), "{{reason}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Left the queue unserved",
                "By model and reason. CANCELLED: callers go away before their turn, often because they wait too long.",
                "reqps",
                [
                    Line(
                        or_zero(summed("model, reason", rate("attendant_dropped_total", SELECTED)), "reason"),
                        "{{model}} {{reason}}",
                    )
                ],
                width=6,
                stacked=True,
            ),
        ],
    )


def _p95(histogram: str) -> Line:
    return Line(quantile(0.95, histogram, SELECTED, "model"), "{{model}} p95")
