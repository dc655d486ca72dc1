"""The dashboard to open first: the whole service, from what callers feel down to the processes and the balancer."""

from deploy.grafana.board import board
from deploy.grafana.servers import balancer, models, process
from deploy.grafana.traffic import glance, time, traffic
from deploy.grafana.work import batches, queue


def dashboard() -> str:
    """The dashboard as JSON."""
    return board(
        "attendant-overview",
        "Attendant / Overview",
        "All models and replicas: start here, then open one model.",
        [glance(), traffic(), time(), batches(), queue(), models(), process(), balancer()],
    )
