"""Keeps the local replica in step with the truth: which namespaces are here, how far each is, and how old that is.

Correctness comes from three things. Change numbers are gap-free and in commit order, and a batch is applied only where it
continues what is here. A poll compares the heads of all namespaces in use. What the change log cannot tell any more is
loaded anew. Hints and the daemon's own writes make it quicker, nothing else.

One *flight* at a time brings a namespace forward; whoever needs a change number waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from memd.adapters.replica.followed import Followed
from memd.adapters.sqlite.replica import SqliteReplica
from memd.domain.errors import AWAY_US, MemdError, ReplicaStale
from memd.domain.model import ReplicaStats
from memd.limits import (
    MAX_NAMESPACES_FOLLOWED,
    MAX_REPLICA_HINTS_S,
    REPLICA_HINTS_S,
    REPLICA_LAGS_AFTER_S,
    REPLICA_LOADS,
    REPLICA_NOTE_S,
    REPLICA_WAIT_S,
)
from memd.ports import ChangeBatch, ChangeSource, Clock, Freshness, Head

LOADING = "REPLICA_LOADING"
BEHIND = "REPLICA_BEHIND"
_NOTHING = Head(0, 0)
_REST = 2
"""Times as long as a batch took a replica rests from hints: it takes a third of a busy machine's time at most."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerStats:
    """``staleness_s``: of the namespace that was last known to be current longest ago."""

    namespaces: int
    loading: int
    staleness_s: float
    reachable: bool


class Follower:
    """Implements ``ports.Replica``. ``settings_changed`` is told namespaces whose settings may be others now."""

    def __init__(
        self,
        source: ChangeSource,
        replica: SqliteReplica,
        clock: Clock,
        *,
        max_stale_s: float,
        settings_changed: Callable[[str], None] = lambda namespace: None,
        most: int = MAX_NAMESPACES_FOLLOWED,
    ) -> None:
        self._source = source
        self._replica = replica
        self._clock = clock
        self._max_stale_s = max_stale_s
        self.settings_changed = settings_changed
        self._most = most
        self._followed: OrderedDict[str, Followed] = OrderedDict()
        self._leaving: dict[str, asyncio.Future[None]] = {}
        self._loads = asyncio.Semaphore(REPLICA_LOADS)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._hinted: set[str] = set()
        self._departure: asyncio.TimerHandle | None = None
        self._departed_s = float("-inf")
        self._step_s = 0.0
        """How long the last batch or load took."""
        self._reachable = True
        self._noted_s = float("-inf")

    async def start(self) -> None:
        """Go on from what the replica holds; how current that is counts from when it was last known to be. Waits a little
        for what changed meanwhile."""
        age_s = max(0, self._clock.now_us() - await self._replica.current_us()) / 1e6
        fresh_s = self._clock.monotonic_s() - age_s
        for namespace, head in (await self._replica.heads()).items():
            self._followed[namespace] = Followed(namespace, head, fresh_s)
        self._evict()
        await self.poll()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLICA_WAIT_S):
                await self.settled()

    async def close(self) -> None:
        """End what is under way; the truth may have left meanwhile."""
        if self._departure is not None:
            self._departure.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(MemdError):
            await self._note(0.0)

    # -- what is asked of it

    async def follow(self, namespace: str, min_seq: int, wait_s: float) -> Freshness:
        one = self._use(namespace)
        if not one.has(min_seq):
            await self._catch_up(one, min_seq, wait_s)
        if one.applied is None:
            if not self._reachable:
                raise ReplicaStale("Postgres is out of reach, and this namespace is not here")
            return Freshness(LOADING)
        stale_s = self._clock.monotonic_s() - one.fresh_s
        if stale_s > self._max_stale_s:
            words = "Postgres is out of reach, and what is here is older than replica.max_stale"
            raise ReplicaStale(words, metadata={AWAY_US: str(int(stale_s * 1e6))})
        if stale_s > REPLICA_LAGS_AFTER_S or not one.has(min_seq):
            return Freshness(BEHIND, int(stale_s * 1e6))
        return Freshness()

    async def _catch_up(self, one: Followed, min_seq: int, wait_s: float) -> None:
        one.wanted = max(one.wanted, min_seq, one.owed)
        if not self._reachable and one.applied is not None and one.applied.seq >= min_seq:
            return  # what this daemon wrote last is not here, and cannot come now
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                for _ in range(2):  # one that is under way may have asked before what is wanted was there
                    await asyncio.shield(self._fly(one))
                    if one.has(min_seq):
                        return

    async def wrote(self, namespace: str, seq: int) -> None:
        """This daemon's write got this number: until it is here too, and the others hear of it."""
        one = self._use(namespace)
        one.owed = max(one.owed, seq)
        await self._source.announce((namespace,))
        if not one.has(seq):
            await self._catch_up(one, seq, REPLICA_WAIT_S)

    def landed(self, batch: ChangeBatch) -> None:
        """What a write of this daemon changed: applied without asking the source for it, where it continues what is here."""
        one = self._followed.get(batch.namespace)
        if one is not None and one.flight is None and one.applied == Head(batch.since, batch.reached.epoch):
            one.flight = self._start(self._flight(one, batch))

    def holds(self, namespace: str) -> bool:
        """Whether all of the namespace is here; begins to follow it."""
        return self._use(namespace).applied is not None

    async def settled(self) -> None:
        """Until every flight that is under way has ended."""
        while flights := [one.flight for one in self._followed.values() if one.flight is not None]:
            await asyncio.wait(flights)

    def stats(self) -> FollowerStats:
        now_s = self._clock.monotonic_s()
        here = [one for one in self._followed.values() if one.applied is not None]
        oldest_s = max((now_s - one.fresh_s for one in here), default=0.0)
        return FollowerStats(len(self._followed), len(self._followed) - len(here), oldest_s, self._reachable)

    def position(self, namespace: str) -> ReplicaStats:
        """How far the copy of the namespace is; does not begin to follow it."""
        one = self._followed.get(namespace)
        if one is None or one.applied is None:
            return ReplicaStats(0, 0, self._reachable)
        stale_s = max(0.0, self._clock.monotonic_s() - one.fresh_s)
        return ReplicaStats(one.applied.seq, int(stale_s * 1e6), self._reachable)

    # -- what keeps it going

    async def poll(self) -> None:
        """Ask once how far every namespace is, and go after those that are behind. Never raises MemdError."""
        asked_s = self._clock.monotonic_s()
        try:
            heads = await self._source.heads(tuple(self._followed))
        except MemdError as error:
            self._lost(error)
            return
        self._found()
        for one in list(self._followed.values()):
            self._compare(one, heads.get(one.namespace, _NOTHING), asked_s)
        with contextlib.suppress(MemdError):  # a full disk: at the next start the replica counts as older than it is
            await self._note(REPLICA_NOTE_S)

    async def listen(self) -> None:
        """Follow hints until they end."""
        with contextlib.suppress(MemdError):  # the poll says so
            async for namespaces in await self._source.hints():
                self.hint(namespaces)

    def hint(self, namespaces: Iterable[str]) -> None:
        """Go after these: with the next one that is in a hurry, at the latest REPLICA_HINTS_S after the last one was, or
        later on a machine so busy that a batch takes long: then more go together."""
        self._hinted.update(namespaces)
        if self._departure is None:
            loop = asyncio.get_running_loop()
            apart_s = min(max(REPLICA_HINTS_S, _REST * self._step_s), MAX_REPLICA_HINTS_S)
            self._departure = loop.call_at(self._departed_s + apart_s, self._depart)

    def _depart(self) -> None:
        """All that were hinted at, so that the source is asked for all of them together."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        self._departed_s = asyncio.get_running_loop().time()
        hinted, self._hinted = self._hinted, set()
        for one in [self._followed[name] for name in hinted if name in self._followed]:
            one.hinted = True
            self._board(one)

    def _compare(self, one: Followed, head: Head, asked_s: float) -> None:
        if one.applied == head or (one.applied is not None and one.applied.seq == head.seq == 0):
            one.fresh_s = max(one.fresh_s, asked_s)
            return
        one.wanted = max(one.wanted, head.seq)
        one.goal, one.goal_asked_s = head.seq, asked_s
        self._fly(one)

    async def _note(self, every_s: float) -> None:
        """Keep for the next start how current all of it is."""
        now_s = self._clock.monotonic_s()
        here = [one for one in self._followed.values() if one.applied is not None]
        if not here or now_s - self._noted_s < every_s:
            return
        self._noted_s = now_s
        oldest_s = max(now_s - one.fresh_s for one in here)
        await self._replica.note_current(self._clock.now_us() - int(oldest_s * 1e6))

    # -- one namespace

    def _use(self, namespace: str) -> Followed:
        one = self._followed.get(namespace)
        if one is None:
            one = self._followed[namespace] = Followed(namespace, None, self._clock.monotonic_s())
            self._evict()
            self._fly(one)
        else:
            self._followed.move_to_end(namespace)
        return one

    def _evict(self) -> None:
        """Let go of those unused for longest: what is not followed must not stay, or a Forget would miss it."""
        while len(self._followed) > self._most:
            resting = next((one for one in self._followed.values() if one.flight is None), None)
            if resting is None:
                return
            del self._followed[resting.namespace]
            self.settings_changed(resting.namespace)
            self._leaving[resting.namespace] = self._start(self._leave(resting.namespace))

    async def _leave(self, namespace: str) -> None:
        try:
            await self._replica.drop(namespace)
        except MemdError as error:
            log.error("a namespace could not leave the replica: %s", type(error).__name__)
        finally:
            del self._leaving[namespace]

    def _fly(self, one: Followed) -> asyncio.Future[None]:
        """The flight that is under way, or a new one; what hints are about goes along."""
        if one.flight is None:
            self._depart()
        return self._board(one)

    def _board(self, one: Followed) -> asyncio.Future[None]:
        if one.flight is None:
            one.flight = self._start(self._flight(one))
        return one.flight

    async def _flight(self, one: Followed, landed: ChangeBatch | None = None) -> None:
        try:
            if landed is not None and await self._landed(one, landed):
                return
            while True:
                one.hinted, begun_s = False, self._clock.monotonic_s()
                more = await self._step(one)
                self._step_s = self._clock.monotonic_s() - begun_s
                if not more and not one.hinted:
                    return
        except MemdError as error:
            self._lost(error)
        finally:
            one.flight = None

    async def _step(self, one: Followed) -> bool:
        """One batch, or a load; whether more is wanted."""
        if one.applied is None:
            await self._load(one)
            return not one.has(one.wanted)
        asked_s, wanted, owed = self._clock.monotonic_s(), one.wanted, one.owed
        batch = await self._source.changes(one.namespace, one.applied)
        if batch is None or not await self._took(one, batch):
            one.applied = None
            return True
        if (
            batch.reached.seq == batch.since
        ):  # nothing is left to tell, nor will what was wanted before the question come
            one.fresh_s = max(one.fresh_s, asked_s)
            one.goal = min(one.goal, batch.since)
            one.wanted = batch.since if one.wanted == wanted else one.wanted
            one.owed = min(owed, batch.since) if one.owed == owed else one.owed
        return not one.has(one.wanted)

    async def _landed(self, one: Followed, batch: ChangeBatch) -> bool:
        """Whether that was all there was to do."""
        one.hinted = False
        if await self._replica.apply(batch):
            one.arrived(batch.reached)
        return one.has(one.wanted) and not one.hinted

    async def _took(self, one: Followed, batch: ChangeBatch) -> bool:
        if batch.reached == one.applied:
            return True
        if not await self._replica.apply(batch):
            log.error("a batch of changes did not continue the replica; the namespace is loaded anew")
            return False
        one.arrived(batch.reached)
        if batch.settings is not None:
            self.settings_changed(one.namespace)
        return True

    async def _load(self, one: Followed) -> None:
        leaving = self._leaving.get(one.namespace)
        if leaving is not None:
            await asyncio.shield(leaving)
        async with self._loads:
            asked_s = self._clock.monotonic_s()
            await self._replica.begin(one.namespace)
            reached = _NOTHING
            async for batch in self._source.snapshot(one.namespace):
                await self._replica.fill(batch)
                reached = batch.reached
            await self._replica.finish(one.namespace, reached)
        one.arrived(reached)
        one.fresh_s = max(one.fresh_s, asked_s)
        self.settings_changed(one.namespace)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _lost(self, error: MemdError) -> None:
        if self._reachable:
            log.warning("the replica cannot follow: %s", error.message)
        self._reachable = False

    def _found(self) -> None:
        if not self._reachable:
            log.warning("the replica follows again")
        self._reachable = True
