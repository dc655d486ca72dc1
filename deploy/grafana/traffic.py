"""What callers feel: the numbers at a glance, traffic, errors and times."""

from deploy.grafana.board import Row
from deploy.grafana.panels import GREEN, ORANGE, RED, Line, figure, graph
from deploy.grafana.promql import (
    INFERENCE,
    INSTANCE,
    REFUSALS,
    SELECTED,
    SERVER_FAULTS,
    or_zero,
    quantile,
    rate,
    summed,
)

OBJECTIVE_S = 1.0
"""The 99th percentile of the request time that the alert AttendantLatencyHigh holds."""

QUEUE_LIMIT = 0.8
"""How full a queue may be before AttendantQueueNearlyFull tells of it."""


def glance() -> Row:
    """The few numbers that say whether all is well."""
    calls = rate("attendant_requests_total", INFERENCE)
    faults = rate("attendant_requests_total", f'{INFERENCE}, reason=~"{SERVER_FAULTS}"')
    refused = rate("attendant_requests_total", f'{INFERENCE}, reason=~"{REFUSALS}"')
    return Row(
        "At a glance",
        [
            figure(
                "Ready replicas",
                "Servers that take requests. 0: nobody is served; see AttendantNoReadyReplica in the runbook.",
                "none",
                or_zero(f"sum(attendant_ready{{{INSTANCE}}})"),
                (None, RED),
                (1, GREEN),
            ),
            figure(
                "Ready models",
                "Models with a version that serves. Fewer than expected: the table of versions below says which.",
                "none",
                or_zero(f'count(count by (model) (attendant_model_state{{{SELECTED}, state="READY"}}))'),
                (None, RED),
                (1, GREEN),
            ),
            figure(
                "Alerts firing",
                "Alerts of Prometheus that fire now. Above 0: Alerting, or Alerts in Prometheus, links the runbook.",
                "none",
                or_zero('count(ALERTS{alertstate="firing"})'),
                (None, GREEN),
                (1, RED),
            ),
            figure(
                "Requests",
                "Inference requests a second. Suddenly none: callers cannot reach the service, or have stopped.",
                "reqps",
                or_zero(summed("", calls)),
            ),
            figure(
                "Failed by the server",
                "Share of inference requests that failed through no fault of the caller. Above 1%: errors by reason.",
                "percentunit",
                f"({or_zero(summed('', faults))}) / {summed('', calls)}",
                (None, GREEN),
                (0.001, ORANGE),
                (0.01, RED),
            ),
            figure(
                "Refused",
                "Share of inference requests turned away or out of time. Above 5%: add replicas; see the row Queue.",
                "percentunit",
                f"({or_zero(summed('', refused))}) / {summed('', calls)}",
                (None, GREEN),
                (0.01, ORANGE),
                (0.05, RED),
            ),
            figure(
                "p99 of the request time",
                "One request in a hundred takes longer. Above the objective: is it queue or compute? See the row Time.",
                "s",
                quantile(0.99, "attendant_request_seconds", INFERENCE),
                (None, GREEN),
                (OBJECTIVE_S / 2, ORANGE),
                (OBJECTIVE_S, RED),
            ),
            figure(
                "Fullest queue",
                "Rows that wait against rows that may. Towards 100%: requests will be refused; add replicas or cores.",
                "percentunit",
                f"max(attendant_queue_rows{{{SELECTED}}} / attendant_queue_capacity_rows{{{SELECTED}}})",
                (None, GREEN),
                (0.5, ORANGE),
                (QUEUE_LIMIT, RED),
            ),
        ],
    )


def traffic() -> Row:
    """How many requests, and how they end."""
    failures = rate("attendant_requests_total", f'{INFERENCE}, reason!="OK"')
    return Row(
        "Traffic",
        [
            graph(
                "Requests by model and method",
                "Inference requests that ended. A step down without a deployment: look at errors, then at the callers.",
                "reqps",
                [Line(summed("model, method", rate("attendant_requests_total", INFERENCE)), "{{model}} {{method}}")],
                stacked=True,
            ),
            graph(
                "Errors by reason",
                "INFERENCE_FAILED, UNEXPECTED: the log has the cause by request id. MODEL_NOT_READY: look at Models. "
                "QUEUE_FULL, DEADLINE reasons: overload. The others are the callers' own; docs/errors.md names each.",
                "reqps",
                [Line(or_zero(summed("reason", failures), "reason"), "{{reason}}")],
                stacked=True,
            ),
            graph(
                "Requests in flight",
                "Calls that have begun and not ended. Rising without more traffic: a replica is slow or stuck. "
                "One far above the others: the balancing is uneven.",
                "none",
                [Line(f"attendant_requests_in_flight{{{INSTANCE}}}", "{{instance}}")],
            ),
        ],
    )


def time() -> Row:
    """Where the time goes."""
    return Row(
        "Time",
        [
            graph(
                "Request time",
                "First byte of an inference request to its reply. High while queue and compute are low: codecs, large "
                "replies, or a busy event loop; look at CPU.",
                "s",
                _quantiles("attendant_request_seconds", INFERENCE),
                limit=OBJECTIVE_S,
            ),
            graph(
                "Queue time",
                "A request's wait for its batch. High: the cores are busy; add replicas or cores, or move the model "
                "with the most compute to servers of its own.",
                "s",
                _quantiles("attendant_queue_seconds", SELECTED),
            ),
            graph(
                "Compute time",
                "The session's run of a batch. Risen without a new version: longer inputs (Tokens of a batch), or "
                "neighbours on the same cores.",
                "s",
                _quantiles("attendant_compute_seconds", SELECTED),
            ),
        ],
    )


def _quantiles(histogram: str, selector: str, shares: tuple[float, ...] = (0.5, 0.95, 0.99)) -> list[Line]:
    """One line a quantile, over all that is selected."""
    return [Line(quantile(share, histogram, selector), f"p{share * 100:g}") for share in shares]
