"""The threads in which runs block; one that dies is replaced, and whoever waits for its job is told."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What a thread does, and what is called if the thread dies of it."""

    run: Callable[[], None]
    died: Callable[[], None]


class Workers(Protocol):
    """Takes jobs."""

    def submit(self, job: Job) -> None:
        """Starts a job in a thread, now or as soon as one is free."""
        ...


class WorkerThreads:
    """So many threads; each is idle, without spinning, until a job comes."""

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = False
        for _ in range(count):
            self._start()

    def submit(self, job: Job) -> None:
        """Hands a job to the next free thread."""
        self._jobs.put(job)

    def close(self, *, wait: bool = True) -> None:
        """Ends all threads once the jobs handed in so far are done; waits for that unless told not to."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            for _ in threads:
                self._jobs.put(None)
        for thread in threads if wait else ():
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="run", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.run()
            except BaseException:
                log.critical("a worker thread died and is replaced", exc_info=True)
                self._replace()
                job.died()
                return
            del job  # or the arrays of the last batch stay in memory until the next

    def _replace(self) -> None:
        with self._lock:
            self._threads.discard(threading.current_thread())
            self._start()
            if self._closed:
                self._jobs.put(None)
