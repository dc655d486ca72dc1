"""Calls whose replies may still be on their way when their handlers have returned."""

import asyncio
from typing import Any

MIN_PRUNED = 256
"""So many are kept before it is worth looking which have ended."""


class Unsent:
    """The library's tasks of calls: each ends when what its handler returned is sent.

    A callback at the end of each task would cost every call a turn of the event loop; so the ended are let go of many
    at a time, when their number has doubled.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = MIN_PRUNED

    def __len__(self) -> int:
        """Tasks that are held, ended ones among them."""
        return len(self._tasks)

    def add_current(self) -> None:
        """Adds the task that runs now."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.append(task)
        if len(self._tasks) >= self._prune_at:
            self._prune_at = max(MIN_PRUNED, 2 * len(self.tasks()))

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks
