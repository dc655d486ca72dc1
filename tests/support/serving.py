"""A real server in this process, on free ports, for the time of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from server.bootstrap import Application
from server.settings import Settings


@dataclass(frozen=True)
class Serving:
    """Where the server listens, and the application behind it."""

    address: str
    metrics_url: str
    application: Application


@asynccontextmanager
async def serving(store: Path, /, **groups: dict[str, object]) -> AsyncIterator[Serving]:
    """Serves a store; keyword arguments are groups of settings, such as `batching={"max_queue_rows": 1}`."""
    groups.setdefault("store", {}).update(path=store)
    for group, setting in (("grpc", "port"), ("telemetry", "metrics_port")):
        groups.setdefault(group, {}).setdefault(setting, 0)
    groups["store"].setdefault("poll_s", 0.05)
    groups["runtime"] = {"calibration_s": 0, **groups.get("runtime", {})}  # measuring would be most of a test's time
    application = Application(Settings.model_validate(groups))
    try:
        await application.start()
        yield Serving(f"127.0.0.1:{application.grpc_port}", f"http://127.0.0.1:{application.metrics_port}", application)
    finally:
        await application.close()


def rows_not_begun(application: Application) -> int:
    """Rows that wait: in the queues, and in batches that are made ahead of a free core."""
    queued = sum(servable.lane.queue.rows for servable in application.registry.servables())
    made = [request.rows for batch in application._scheduler._made for request in batch.requests]
    return queued + sum(made)
