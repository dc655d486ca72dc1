"""Waiting, on the loop that the server shares, for what must happen."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 60.0
"""What has not happened by then is taken not to happen: a test fails then, instead of never ending."""


async def reached(condition: Callable[[], object]) -> None:
    """Lets other tasks go on until the condition holds. Raises TimeoutError where it does not."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)
