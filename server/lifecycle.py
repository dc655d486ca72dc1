"""Start, ready, drain, stop: what happens between the command and its exit code."""

import asyncio
import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from server.bootstrap import Application

log = logging.getLogger(__name__)

GARBAGE_THRESHOLDS = (10_000, 20, 20)
"""So many more objects made than freed make Python look through the young ones; so many looks, through older ones."""


def look_for_cycles_seldom() -> None:
    """For a process that serves: every thread stops while Python looks for garbage in cycles, and calls leave few.

    What was imported by now is never looked through again: it stays until the end anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def serve_until_signalled(application: Application, grace_s: float) -> None:
    """Serves until SIGTERM or SIGINT, then drains: new requests are refused, running ones have `grace_s` seconds.

    A second signal stops at once. Returns when everything is closed; raises what `Application.start` raises.
    """
    first, second = asyncio.Event(), asyncio.Event()
    with _signals(first, second):
        starting = asyncio.ensure_future(application.start())
        stopped_early = asyncio.ensure_future(first.wait())
        await asyncio.wait({starting, stopped_early}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            log.info("stopped while starting")
        except BaseException:
            stopped_early.cancel()
            await application.close()
            raise
        else:
            await stopped_early
            await _drain(application, grace_s, second)
        await application.close()
        log.info("stopped")


async def _drain(application: Application, grace_s: float, forced: asyncio.Event) -> None:
    log.info("draining", extra={"in_flight": application.in_flight, "grace_s": grace_s})
    draining = asyncio.ensure_future(application.drain())
    forcing = asyncio.ensure_future(forced.wait())
    await asyncio.wait({draining, forcing}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        why = "a second signal" if forcing.done() else "the grace period is over"
        log.warning("stopping with requests in flight", extra={"cause": why, "in_flight": application.in_flight})
    for task in (draining, forcing):
        task.cancel()
    await asyncio.gather(draining, forcing, return_exceptions=True)


@contextmanager
def _signals(first: asyncio.Event, second: asyncio.Event) -> Iterator[None]:
    """Sets `first` at the first SIGTERM or SIGINT and `second` at the next."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
