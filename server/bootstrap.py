"""The only wiring: settings in, a running application out."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from server.batching.scheduler import Scheduler
from server.batching.servable import Batched
from server.batching.workers import WorkerThreads
from server.clock import MonotonicClock
from server.codecs.codec import CodecLimits
from server.generation.servable import Generative
from server.loading.generation.loaded import LoadedGeneration
from server.loading.loaded import Loaded
from server.loading.loader import Loader
from server.registry import Registry
from server.rpc.server import RpcServer
from server.runtime.budget import CoreBudget
from server.runtime.cores import available_cores
from server.runtime.session import RUNTIME_VERSION
from server.servable import Servable
from server.settings import Settings, told_settings
from server.store.scan import Store
from server.store.watch import Watch
from server.telemetry.engine import Cores
from server.telemetry.exposition import Exposition
from server.telemetry.metrics import Metrics
from server.version import server_version

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""The event loop shows this often that it comes round."""

STUCK_S = 20.0
"""A loop that has not come round for this long is told by /livez, so that the process is restarted."""

CODEC_THREADS = 2
"""Threads that decode images and long texts; they release the interpreter while they do."""


def make_loader(settings: Settings) -> Loader:
    """The loader that these settings ask for."""
    limits = CodecLimits(
        max_text_bytes=settings.security.max_text_bytes, max_image_pixels=settings.security.max_image_pixels
    )
    return Loader(
        store=settings.store.path,
        max_bundle_bytes=settings.security.max_bundle_bytes,
        limits=limits,
        batching=settings.batching,
        generation=settings.generation,
        runtime=settings.runtime,
        cores=settings.runtime.cores or available_cores(),
    )


class Application:
    """One server process: made anywhere, started and closed on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = MonotonicClock()
        self._budget = CoreBudget(settings.runtime.cores or available_cores())
        self._runs = WorkerThreads(self._budget.cores)
        self._codecs = ThreadPoolExecutor(CODEC_THREADS, "codec")
        self._loads = ThreadPoolExecutor(settings.runtime.load_threads, "load")
        self.metrics = Metrics(version=server_version(), runtime=RUNTIME_VERSION, settings=told_settings(settings))
        self._scheduler = Scheduler(
            self._runs,
            self._budget,
            self._clock,
            self.metrics,
            max_age_s=settings.batching.max_age_s,
            ahead=self._budget.cores,
        )
        self._loader = make_loader(settings)
        polls = settings.store.control == "poll"
        watch = Watch(Store(settings.store.path).scan, hold_changing=polls)
        self.registry = Registry(watch.look, self._load, self._serve, settings.store, self.metrics)
        self.registry.subscribe(self._show_store)
        self._rpc: RpcServer | None = None
        self._exposition = Exposition(
            self.metrics,
            live=self._not_live,
            ready=self._not_ready,
            host=settings.telemetry.metrics_host,
            port=settings.telemetry.metrics_port,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._beat_at = self._clock.now()
        self.grpc_port = 0
        self.metrics_port = 0

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended."""
        return self._rpc.in_flight if self._rpc else 0

    async def start(self) -> None:
        """Listens, not yet ready; loads the models; then is ready and follows the store.

        Raises OSError where a port cannot be listened on, StoreUnavailable where the store cannot be read.
        """
        self._tasks.append(asyncio.ensure_future(self._beat()))
        self.metrics_port = self._exposition.start()
        self._rpc = RpcServer(self.registry, self._settings, self.metrics, self._clock)
        self.metrics.watch_in_flight(lambda: self.in_flight)
        self.metrics.watch_engine(
            lambda: [servable.loaded for servable in self.registry.servables() if isinstance(servable, Batched)],
            lambda: Cores(self._budget.cores, self._budget.taken),
        )
        self.metrics.watch_generation(
            lambda: [
                state
                for servable in self.registry.servables()
                if isinstance(servable, Generative)
                for state in servable.states
            ]
        )
        self.grpc_port = await self._rpc.start()
        log.info(
            "starting",
            extra={
                "version": server_version(),
                "cores": self._budget.cores,
                "settings": self._settings.model_dump(mode="json"),
            },
        )
        await self.registry.start()
        if self._settings.store.control == "poll":
            self._tasks.append(asyncio.ensure_future(self.registry.follow()))
        log.info(
            "serving",
            extra={
                "grpc_port": self.grpc_port,
                "metrics_port": self.metrics_port,
                "models": sorted(f"{servable.name}/{servable.version}" for servable in self.registry.servables()),
            },
        )

    async def drain(self) -> None:
        """Refuses new calls, tells health watchers, and returns once every call in flight is answered."""
        self.registry.drain()
        if self._rpc:
            await self._rpc.drain()

    async def close(self) -> None:
        """Stops listening, cancels what is still in flight, gives everything back."""
        self.registry.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._rpc:
            await self._rpc.stop()
        self.registry.stop_runs()
        await self.registry.close()
        await asyncio.to_thread(self._exposition.close)
        for pool in (self._loads, self._codecs):
            pool.shutdown(wait=False, cancel_futures=True)
        self._runs.close(wait=False)

    async def _load(self, model: str, number: int) -> tuple[Loaded, float]:
        begin = time.monotonic()
        loaded = await asyncio.get_running_loop().run_in_executor(self._loads, self._loader.load, model, number)
        return loaded, time.monotonic() - begin

    def _serve(self, loaded: Loaded) -> Servable:
        if isinstance(loaded, LoadedGeneration):
            return self._serve_generative(loaded)
        servable = Batched(
            loaded,
            self._scheduler,
            self._codecs,
            self._clock,
            self._settings.batching,
            self._settings.security.max_tensor_bytes,
        )
        self.metrics.track(servable.name, servable.version, servable.statistics, servable.lane.queue)
        return servable

    def _serve_generative(self, loaded: LoadedGeneration) -> Servable:
        servable = Generative(
            loaded,
            self._scheduler,
            self._codecs,
            self._clock,
            self.metrics,
            self._settings.generation,
            self._settings.security.max_tensor_bytes,
        )
        self.metrics.track(servable.name, servable.version, servable.statistics, servable.queue)
        return servable

    def _show_store(self) -> None:
        states = [(entry.name, entry.version, entry.state.value) for entry in self.registry.index()]
        self.metrics.show_store(states, ready=self.registry.ready())

    async def _beat(self) -> None:
        while True:
            self._beat_at = self._clock.now()
            await asyncio.sleep(BEAT_S)

    def _not_live(self) -> str | None:
        """Asked from the metrics thread: has the event loop come round lately?"""
        silent_s = self._clock.now() - self._beat_at
        return f"the event loop has been stuck for {silent_s:.0f} s" if silent_s > STUCK_S else None

    def _not_ready(self) -> str | None:
        if self.registry.ready():
            return None
        return "draining" if self.registry.draining else "loading models"
