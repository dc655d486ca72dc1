"""What serves: models and their versions, processes, and the balancer before them."""

from deploy.grafana.board import Row
from deploy.grafana.panels import Line, graph, rows_now
from deploy.grafana.promql import INSTANCE, MODEL, PROCESS, SELECTED, or_zero, rate, summed

_LISTENERS = 'envoy_http_conn_manager_prefix!~"admin|metrics"'
_CLUSTERS = 'envoy_cluster_name!="admin"'
"""Envoy's own administration is no traffic."""


def models() -> Row:
    """Versions, their states and their loads."""
    loads = f"{MODEL}, {INSTANCE}"
    return Row(
        "Models",
        [
            rows_now(
                "Versions and their state",
                "On how many replicas each version of the store is in which state. A version READY on some only: the "
                "others have not followed yet, or refused it; `server check` and the log say why.",
                f"sum by (model, version, state) (attendant_model_state{{{SELECTED}}})",
                {"model": "Model", "version": "Version", "state": "State", "Value": "Replicas"},
            ),
            graph(
                "Ready",
                "1 while a replica takes requests. 0 for longer than a load takes: its log says what it waits for.",
                "none",
                [Line(f"attendant_ready{{{INSTANCE}}}", "{{instance}}")],
                width=4,
                highest=1,
            ),
            graph(
                "Attention requests",
                "Calls that asked for attention maps. They cost no more compute, but large replies: look at CPU.",
                "reqps",
                [
                    Line(
                        or_zero(summed("model", rate("attendant_attention_requests_total", SELECTED)), "model"),
                        "{{model}}",
                    )
                ],
                width=4,
            ),
            graph(
                "Load time",
                "Reading, verifying and warming a version, on average. Risen: a larger model, or a slower store.",
                "s",
                [
                    Line(
                        f"sum by (model) (attendant_model_load_seconds_sum{{{loads}}}) "
                        f"/ sum by (model) (attendant_model_load_seconds_count{{{loads}}})",
                        "{{model}}",
                    )
                ],
                width=4,
            ),
            graph(
                "Versions refused",
                "Versions that did not load, since each server started. Rising: the version that was published last is "
                "unusable; the one before it keeps serving. See AttendantReloadRefused in the runbook.",
                "none",
                [
                    Line(
                        or_zero(f"sum by (model, reason) (attendant_model_load_failures_total{{{loads}}})", "reason"),
                        "{{model}} {{reason}}",
                    )
                ],
                width=4,
            ),
        ],
    )


def process() -> Row:
    """Memory, cores, files, restarts."""
    return Row(
        "Servers",
        [
            graph(
                "Memory",
                "Resident memory of each server. A slope that does not end: see AttendantMemoryGrowth in the runbook. "
                "A step: a version was loaded.",
                "bytes",
                [Line(f"process_resident_memory_bytes{{{PROCESS}}}", "{{instance}}")],
                width=6,
            ),
            graph(
                "CPU",
                "Cores kept busy by each server. At its quota while queues grow: add replicas or cores. "
                "At 0 with requests in flight: it is stuck.",
                "none",
                [Line(rate("process_cpu_seconds_total", PROCESS), "{{instance}}")],
                width=6,
            ),
            graph(
                "Open files",
                "File descriptors open, as a share of those allowed. Towards 100%: more connections than expected.",
                "percentunit",
                [
                    Line(
                        f"process_open_fds{{{PROCESS}}} / process_max_fds{{{PROCESS}}}",
                        "{{instance}}",
                    )
                ],
                width=4,
                highest=1,
            ),
            graph(
                "Uptime",
                "Since each server started. Sawteeth: it is restarted; see AttendantReplicaRestarting in the runbook.",
                "s",
                [Line(f"time() - process_start_time_seconds{{{PROCESS}}}", "{{instance}}")],
                width=4,
            ),
            rows_now(
                "What runs",
                "Versions of the server, of ONNX Runtime and of Python. More than one of them outside a rollout: "
                "a replica was left behind.",
                f"attendant_build_info{{{INSTANCE}}}",
                {"instance": "Instance", "version": "Server", "runtime": "Runtime", "python": "Python"},
                width=4,
            ),
        ],
    )


def balancer() -> Row:
    """Envoy, which spreads the requests."""

    def by_cluster(name: str) -> str:
        return f"sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_{name}{{{_CLUSTERS}}}[$__rate_interval]))"

    return Row(
        "Envoy",
        [
            graph(
                "Healthy replicas",
                "Replicas that answer Envoy's health checks, and all that it knows. Fewer healthy than known: see "
                "AttendantReplicaUnhealthy in the runbook.",
                "none",
                [
                    Line(f"envoy_cluster_membership_healthy{{{_CLUSTERS}}}", "{{envoy_cluster_name}} healthy"),
                    Line(f"envoy_cluster_membership_total{{{_CLUSTERS}}}", "{{envoy_cluster_name}} known"),
                ],
                width=6,
            ),
            graph(
                "Retries",
                "Requests that Envoy sent again, and those that succeeded then. A few while a replica is replaced are "
                "its purpose; steady ones: look at Errors by reason.",
                "reqps",
                [
                    Line(by_cluster("retry"), "{{envoy_cluster_name}} retried"),
                    Line(by_cluster("retry_success"), "{{envoy_cluster_name}} succeeded"),
                    Line(by_cluster("retry_overflow"), "{{envoy_cluster_name}} over budget"),
                ],
                width=6,
            ),
            graph(
                "HTTP responses by class",
                "What callers got from Envoy. gRPC's own errors are 200 here; 5xx comes from Envoy itself (no healthy "
                "replica) or is a transcoded error.",
                "reqps",
                [
                    Line(
                        "sum by (envoy_response_code_class) "
                        f"(rate(envoy_http_downstream_rq_xx{{{_LISTENERS}}}[$__rate_interval]))",
                        "{{envoy_response_code_class}}xx",
                    )
                ],
                width=6,
                stacked=True,
            ),
            graph(
                "p99 at Envoy",
                "From Envoy to a replica and back. Far above the servers' own p99: the network, or connections that "
                "cannot be made.",
                "ms",
                [
                    Line(
                        "histogram_quantile(0.99, sum by (le, envoy_cluster_name) "
                        f"(rate(envoy_cluster_upstream_rq_time_bucket{{{_CLUSTERS}}}[$__rate_interval])))",
                        "{{envoy_cluster_name}}",
                    )
                ],
                width=6,
            ),
        ],
    )
