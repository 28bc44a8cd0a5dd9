"""The one place that starts background work: named tasks, restarted with back-off, never silently dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from memd.domain.errors import Unavailable

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0


class Supervisor:
    """Background loops of one event loop. ``close`` cancels and awaits them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def every(self, name: str, period_s: float, work: Callable[[], Awaitable[Any]]) -> None:
        """Run ``work`` now and then ``period_s`` after each end of it; after an error wait longer and longer."""
        self._start(name, lambda: _repeat(name, period_s, work))

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, begin: Callable[[], Awaitable[None]]) -> None:
        if self._closed:
            raise RuntimeError(f"{name} started after close")
        task = asyncio.ensure_future(begin())
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _repeat(name: str, period_s: float, work: Callable[[], Awaitable[Any]]) -> None:
    backoff_s = FIRST_BACKOFF_S
    while True:
        if await survives(name, work):
            backoff_s = FIRST_BACKOFF_S
            await asyncio.sleep(period_s)
        else:
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)


async def survives(name: str, work: Callable[[], Awaitable[Any]]) -> bool:
    """Run ``work`` once; False when it failed, which is logged. What comes after it goes on either way."""
    try:
        await work()
    except Unavailable as exc:
        log.warning("background work waits: %s", exc.message, extra={"fields": {"work": name}})
        return False
    except Exception as exc:
        log.error("background work failed", exc_info=exc, extra={"fields": {"work": name}})
        return False
    return True
