"""What time does to the stock: expired rows go, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from memd.limits import SWEEP_ROWS
from memd.ports import MemoryStore, SessionStore, StepLedger, TaskStore


class ExpirySweeper:
    """Expired rows are invisible at once; this gives their bytes back. Run it every half minute."""

    def __init__(
        self,
        sessions: SessionStore,
        memories: MemoryStore,
        tasks: TaskStore,
        steps: StepLedger,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``before`` comes first in every run and must not raise: what is made of expired sessions before they go."""
        self._stores = (sessions, memories, tasks, steps)
        self._before = before

    async def run_once(self) -> int:
        """Sweep every store once, at most SWEEP_ROWS rows each; how many went. More are there while it is not 0."""
        if self._before is not None:
            await self._before()
        return sum([await store.sweep(SWEEP_ROWS) for store in self._stores])
