"""One model, its versions side by side: for a rollout, a canary, or the question which version is the slow one."""

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Line, PanelBuilder, graph
from deploy.grafana.promql import (
    INFERENCE,
    MODEL,
    SELECTED,
    SERVER_FAULTS,
    mean,
    or_zero,
    quantile,
    rate,
    summed,
)
from deploy.grafana.traffic import OBJECTIVE_S, QUEUE_LIMIT

_VERSION = "{{version}}"
_LEGEND = f"version {_VERSION}"
_INSTANCE = "{{instance}}"


def dashboard() -> str:
    """The dashboard as JSON."""
    return board(
        "attendant-model",
        "Attendant / Model",
        "One model: its versions side by side, and its replicas.",
        [_requests(), _time(), _batches(), _replicas()],
        one_model=True,
    )


def _requests() -> Row:
    every = rate("attendant_requests_total", INFERENCE)
    faults = rate("attendant_requests_total", f'{INFERENCE}, reason=~"{SERVER_FAULTS}"')
    failures = rate("attendant_requests_total", f'{INFERENCE}, reason!="OK"')
    # A version without a failure has no such series: its zero comes from its traffic.
    share = f"({summed('version', faults)} or 0 * {summed('version', every)}) / {summed('version', every)}"
    attention = rate("attendant_attention_requests_total", SELECTED)
    return Row(
        "Requests",
        [
            graph(
                "Requests by version",
                "Follow a rollout: the old version's line goes down as the new one's goes up. Requests under `unknown` "
                "asked for a version that does not serve.",
                "reqps",
                [Line(summed("version", every), _LEGEND)],
                width=6,
                stacked=True,
            ),
            graph(
                "Share failed by the server",
                "By version. Only the new one above 1%: move the alias back (`python -m models alias MODEL stable "
                "--back`), then look at its log.",
                "percentunit",
                [Line(share, _LEGEND)],
                width=6,
                limit=0.01,
            ),
            graph(
                "Errors by reason",
                "INFERENCE_FAILED: the model fails on some inputs; the log has them by request id. SIGNATURE_MISMATCH, "
                "SEQUENCE_TOO_LONG after a new version: its inputs differ, callers must follow or the alias move back.",
                "reqps",
                [Line(or_zero(summed("version, reason", failures), "reason"), f"{_VERSION} {{{{reason}}}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Attention requests",
                "Calls that asked for attention maps, whose replies are large.",
                "reqps",
                [Line(or_zero(summed("version", attention), "version"), _LEGEND)],
                width=6,
            ),
        ],
    )


def _time() -> Row:
    def times(title: str, description: str, histogram: str, selector: str, limit: float | None = None) -> PanelBuilder:
        lines = [
            Line(quantile(q, histogram, selector, "version"), f"{_LEGEND} p{q * 100:g}") for q in (0.5, 0.95, 0.99)
        ]
        return graph(title, description, "s", lines, limit=limit)

    return Row(
        "Time by version",
        [
            times(
                "Request time",
                "First byte to reply. Only the new version slower: compare Compute time, then its size and its inputs.",
                "attendant_request_seconds",
                INFERENCE,
                OBJECTIVE_S,
            ),
            times(
                "Queue time",
                "The wait for a batch. Two versions share the cores: a canary with little traffic waits as long.",
                "attendant_queue_seconds",
                SELECTED,
            ),
            times(
                "Compute time",
                "The session's run of a batch. Slower at equal tokens: the graph itself is slower; profile it.",
                "attendant_compute_seconds",
                SELECTED,
            ),
        ],
    )


def _batches() -> Row:
    cores = summed("version", rate("attendant_compute_seconds_sum", SELECTED))
    return Row(
        "Batches by version",
        [
            graph(
                "Rows of a batch",
                "On average. Near 1 under load: lengths differ too much to share a batch, or the manifest allows one.",
                "none",
                [Line(mean("attendant_batch_rows", SELECTED, "version"), _LEGEND)],
                width=6,
            ),
            graph(
                "Tokens of a batch",
                "On average, padding included. Risen: callers send longer inputs; compute time follows.",
                "none",
                [Line(mean("attendant_batch_tokens", SELECTED, "version"), _LEGEND)],
                width=6,
            ),
            graph(
                "Padding ratio",
                "Share of tokens that is padding, on average. Near 0 where packed graphs run; much above 0.2, rows of "
                "one request may differ in length: let callers send them apart.",
                "percentunit",
                [Line(mean("attendant_padding_ratio", SELECTED, "version"), _LEGEND)],
                width=6,
                highest=1,
            ),
            graph(
                "Cores kept busy",
                "Runs in progress on average. Near the cores of all replicas: this model takes them; add replicas, or "
                "serve it apart.",
                "none",
                [Line(cores, _LEGEND)],
                width=6,
            ),
        ],
    )


def _replicas() -> Row:
    loads = f'{MODEL}, instance=~"$instance"'
    return Row(
        "Replicas",
        [
            graph(
                "Requests by replica",
                "Should be even. One without any: it is not ready, or Envoy takes it for unhealthy.",
                "reqps",
                [Line(summed("instance", rate("attendant_requests_total", INFERENCE)), _INSTANCE)],
                width=6,
            ),
            graph(
                "p99 of the request time by replica",
                "One far above the others: its host is busy; compare CPU in the overview, and replace it.",
                "s",
                [Line(quantile(0.99, "attendant_request_seconds", INFERENCE, "instance"), _INSTANCE)],
                width=6,
                limit=OBJECTIVE_S,
            ),
            graph(
                "Queue depth against capacity",
                "At 100% a replica refuses with QUEUE_FULL: add replicas or cores.",
                "percentunit",
                [
                    Line(
                        "sum by (instance, version) "
                        f"(attendant_queue_rows{{{SELECTED}}} / attendant_queue_capacity_rows{{{SELECTED}}})",
                        f"{_INSTANCE} {_LEGEND}",
                    )
                ],
                width=6,
                limit=QUEUE_LIMIT,
                highest=1,
            ),
            graph(
                "Versions refused",
                "Versions of this model that did not load, since each server started. Rising: see "
                "AttendantReloadRefused in the runbook.",
                "none",
                [
                    Line(
                        or_zero(
                            f"sum by (instance, reason) (attendant_model_load_failures_total{{{loads}}})", "reason"
                        ),
                        f"{_INSTANCE} {{{{reason}}}}",
                    )
                ],
                width=6,
            ),
        ],
    )
