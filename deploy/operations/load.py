"""Calls that go on while something else happens, by a plain client that tries nothing again."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from attendant import Client
from attendant.errors import AttendantError
from PIL import Image

CALLERS = 8
PAUSE_S = 0.01
"""Between two calls of one caller, so that the load stays far below what two servers bear."""
TIMEOUT_S = 20.0
BEFORE, AFTER = 200, 200
"""Calls that are answered before the operation begins, and once it is over."""
SHOWN_FAILURES = 10

Calling = Callable[[Client], int]
"""One call; returns the version that answered."""


@dataclass
class Load:
    """What became of the calls so far."""

    versions: Counter[int] = field(default_factory=Counter)
    """Answers by the version that gave them."""
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    stopped: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def answered(self) -> int:
        """Calls that got an answer."""
        return self.versions.total()

    def __str__(self) -> str:
        versions = ", ".join(f"{count:,} by version {version}" for version, count in sorted(self.versions.items()))
        lines = [f"{self.answered:,} calls answered ({versions}), {len(self.failures)} failed"]
        lines[0] += f", the slowest in {self.slowest_s:.2f} s"
        return "\n".join(lines + [f"  {failure}" for failure in self.failures[:SHOWN_FAILURES]])

    def wait_for(self, answers: int, version: int | None = None) -> None:
        """Returns once so many further calls are answered (by this version), or a call has failed.

        Raises TimeoutError where that takes longer than any call may.
        """
        goal = self._count(version) + answers
        with self._changed:
            if not self._changed.wait_for(lambda: self._count(version) >= goal or self.failures, 3 * TIMEOUT_S):
                raise TimeoutError(f"no {answers} answers within {3 * TIMEOUT_S:.0f} s; so far: {self}")

    def ended(self, version: int | None, failure: str, took_s: float) -> None:
        """Notes a call: the version that answered, or how it failed."""
        with self._changed:
            if version is None:
                self.failures.append(failure)
            else:
                self.versions[version] += 1
            self.slowest_s = max(self.slowest_s, took_s)
            self._changed.notify_all()

    def _count(self, version: int | None) -> int:
        return self.answered if version is None else self.versions[version]


@contextmanager
def load(address: str, call: Calling, callers: int = CALLERS) -> Iterator[Load]:
    """Calls from several threads, each over a connection of its own, from before the block until after it."""
    running = Load()
    threads = [threading.Thread(target=_call_on, args=(running, address, call)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        running.wait_for(BEFORE)
        yield running
        running.wait_for(AFTER)
    finally:
        running.stopped.set()
        for thread in threads:
            thread.join()


def classify_image(model: str) -> Calling:
    """Asks a classifier of images about a plain grey one."""
    content = BytesIO()
    Image.new("L", (8, 8), 128).save(content, format="PNG")
    return lambda client: client.classify(model, content.getvalue(), top_k=1).model.version


def _call_on(running: Load, address: str, call: Calling) -> None:
    own = [("grpc.use_local_subchannel_pool", 1)]
    with Client(address, retries=0, timeout_s=TIMEOUT_S, channel_options=own) as client:
        while not running.stopped.wait(PAUSE_S):
            began = time.monotonic()
            version, failure = None, ""
            try:
                version = call(client)
            except AttendantError as error:
                failure = f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}"
            running.ended(version, failure, time.monotonic() - began)
