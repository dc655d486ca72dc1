"""One soak: a server process, callers, new versions while texts are written, and what must hold at the end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from urllib.request import urlopen

import psutil
from attendant import AsyncClient

from tests.soak.callers import Callers, Outcomes
from tests.soak.models import Models
from tests.support.server_process import Process

SMALL_WINDOW = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 * 1024),
)
"""Options of a connection on which a stream soon stands still where nobody reads it."""
GAUGES = ("slots_used", "waiting", "paused")
SETTINGS = (
    *("--store.poll-s", "0.2", "--generation.stream-buffer", "8", "--generation.max-pause-s", "1"),
    *("--generation.max-rows", "16", "--runtime.calibration-s", "0"),
)
"""Few slots, small buffers and short pauses, so that all of them are reached."""


@dataclass
class Soaked:
    """What a soak came to."""

    outcomes: Outcomes
    left_over: dict[str, float]
    """Gauges that are not 0 at the end."""
    rss_bytes: list[tuple[int, int]]
    """(texts that had ended, resident memory of the server), a few times."""

    def growth(self, after: int) -> float:
        """By what share the server's memory has grown since so many texts had ended; single samples may fall into a
        reload, so three are taken at either end."""
        early = [rss for texts, rss in self.rss_bytes if texts >= after][:3]
        return median(rss for _, rss in self.rss_bytes[-3:]) / median(early) - 1


async def soak(
    server: Process,
    models: Models,
    texts: int,
    *,
    at_once: int = 24,
    reload_every: int,
    seed: int,
    say: Callable[[str], None],
) -> Soaked:
    """Asks for so many texts; after each `reload_every` of them a new version of a model is published."""
    process = psutil.Process(server.popen.pid)
    rss: list[tuple[int, int]] = []
    names = list(models.bundles)

    def each(ended: int) -> None:
        if ended % reload_every == 0:
            models.publish_next(names[ended // reload_every % len(names)])
        if ended % max(1, texts // 20) == 0:
            rss.append((ended, process.memory_info().rss))
            say(f"{ended} texts, {rss[-1][1] / 2**20:.1f} MiB")

    async with (
        AsyncClient(server.address, retries=0) as client,
        AsyncClient(server.address, retries=0, channel_options=SMALL_WINDOW) as slow_client,
    ):
        for name in names:
            await client.wait_ready(name)
        callers = Callers(client, slow_client, models.prompts, texts, at_once, seed, each)
        outcomes = await callers.run()
        left_over = await _left_over(server)
    rss.append((texts, process.memory_info().rss))
    return Soaked(outcomes, left_over, rss)


async def _left_over(server: Process) -> dict[str, float]:
    """What the server still holds, once it has heard of everybody who has gone."""
    left: dict[str, float] = {}
    for _ in range(200):
        left = {name: value for name, value in (await asyncio.to_thread(_gauges, server)).items() if value}
        if not left:
            break
        await asyncio.sleep(0.05)
    return left


def _gauges(server: Process) -> dict[str, float]:
    port = server.said("serving")["metrics_port"]
    with urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    prefixes = tuple(f"attendant_generation_{name}{{" for name in GAUGES)
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefixes)}
