"""The leases of background jobs that this daemon holds: claimed when there is work, prolonged while there is more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from memd.limits import CONSOLIDATE_LEASE_US, SECOND_US
from memd.ports import Clock, Leases

T = TypeVar("T")
_LOOK_S = CONSOLIDATE_LEASE_US / SECOND_US / 3
"""Between two looks at a lease that is held: even if one comes just too early, the next one prolongs it before its end."""


class HeldLeases:
    """Kept between two rounds, since whoever had the last one has the least to look up; given back by ``release`` or by their
    end. On the event loop."""

    def __init__(self, leases: Leases, clock: Clock, holder: str) -> None:
        self._leases = leases
        self._clock = clock
        self._holder = holder
        self._held: dict[tuple[str, str], tuple[int, float]] = {}
        """Fencing token, and until when by this machine's clock nobody need be asked: a third of the lease."""

    async def held(self, namespace: str, job: str) -> bool:
        """Whether the namespace's job is this daemon's now, and nobody had it since the question before was answered so."""
        now_s = self._clock.monotonic_s()
        _, until_s = self._held.get((namespace, job), (0, 0.0))
        if now_s < until_s:
            return True
        token = await self._leases.claim(namespace, job, self._holder, CONSOLIDATE_LEASE_US)
        if token is None:
            self._held.pop((namespace, job), None)
            return False
        live = {name: one for name, one in self._held.items() if now_s < one[1] + 3 * _LOOK_S}
        self._held = {**live, (namespace, job): (token, now_s + _LOOK_S)}
        return True

    async def during(self, namespace: str, job: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """What ``work`` comes to, however long it takes: the lease is prolonged meanwhile. None without it; where it becomes
        another's, ``work`` is cancelled."""
        if not await self.held(namespace, job):
            return None
        task = asyncio.ensure_future(work())
        try:
            while not (await asyncio.wait([task], timeout=_LOOK_S))[0]:
                if not await self.held(namespace, job):
                    return None
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def release(self) -> None:
        """Give all of them back."""
        held, self._held = self._held, {}
        for (namespace, job), (token, _) in held.items():
            await self._leases.release(namespace, job, token)
