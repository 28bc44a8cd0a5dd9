"""Sessions whose digest a hosted model is asked for: they wait here, out of everybody's way.

A step of the digest job hands over as many as there is room for and makes extracts of the others itself. So a model that is
slow or gone holds up the few that wait for it, for DIGEST_PATIENCE_S and one call at most, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from memd.limits import DIGEST_PATIENCE_S, DIGEST_QUEUE, DIGEST_REST_S
from memd.ports import Clock, MarkedSession


@dataclass(slots=True)
class DigestCounts:
    """Since the start. ``made``: digests that were stored; ``crowded``: sessions that got an extract because too many waited
    for the model, or they for too long; ``refused``: summaries that no memory can hold, of a model extracted instead."""

    made: int = 0
    crowded: int = 0
    refused: int = 0


class DigestQueue:
    """On the event loop alone."""

    def __init__(self, clock: Clock, counts: DigestCounts) -> None:
        self._clock = clock
        self._counts = counts
        self._waiting: OrderedDict[str, tuple[MarkedSession, float]] = OrderedDict()
        """By key, with the time since when."""
        self._running: set[str] = set()
        self._resting: dict[str, float] = {}
        """Namespaces where what a model wrote could not be stored, and until when it is not asked for them."""
        self._ready = asyncio.Semaphore(0)
        """As many as are waiting."""
        self._finished = 0

    @property
    def depth(self) -> int:
        """Sessions that wait, or a model is asked for."""
        return len(self._waiting) + len(self._running)

    def has(self, session: MarkedSession) -> bool:
        return session.key in self._waiting or session.key in self._running

    def takes(self, session: MarkedSession) -> bool:
        """Whether the session waits from now on; else its digest is the caller's."""
        now_s = self._clock.monotonic_s()
        if now_s < self._resting.get(session.scope.namespace, 0.0):
            return False
        if len(self._waiting) >= DIGEST_QUEUE:
            self._counts.crowded += 1
            return False
        self._waiting[session.key] = session, now_s
        self._ready.release()
        return True

    async def next(self) -> tuple[MarkedSession, bool]:
        """The session that waits longest, once there is one, and whether the model is to be asked for it: not if it waited
        too long. To be given back with ``done``."""
        await self._ready.acquire()
        key, (session, since_s) = self._waiting.popitem(last=False)
        self._running.add(key)
        in_time = self._clock.monotonic_s() <= since_s + DIGEST_PATIENCE_S
        self._counts.crowded += not in_time
        return session, in_time

    def done(self, session: MarkedSession, marked: int) -> None:
        self._running.discard(session.key)
        self._finished += marked

    def finished(self) -> int:
        """Sessions that were marked since this was asked last."""
        finished, self._finished = self._finished, 0
        return finished

    def rest(self, namespace: str) -> None:
        """What a model wrote could not be stored there: it would be asked again for the same at every step."""
        now_s = self._clock.monotonic_s()
        resting = {name: until_s for name, until_s in self._resting.items() if now_s < until_s}
        self._resting = {**resting, namespace: now_s + DIGEST_REST_S}
