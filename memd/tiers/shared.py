"""What two tiers of one Recall both need, done once: the session's read, and the model's run on the query.

Tiers of one Recall get the same ``TierAsk`` object and are started in the same turn of the event loop. The first to ask
does the work, the others wait for it; what fails fails for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from memd.domain.errors import MemdError
from memd.domain.model import Event, WorkingSet
from memd.ports import Embedder, SessionStore, TierAsk

T = TypeVar("T")
Recent: TypeAlias = tuple[WorkingSet, tuple[Event, ...]]


class RecentOnce:
    """Working set and newest other episodes of an ask's session, one snapshot."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    async def read(self, ask: TierAsk) -> Recent:
        reading: asyncio.Future[Recent] | None = ask.shared.get(self)
        if reading is not None:
            return await asyncio.shield(reading)
        reading = ask.shared[self] = asyncio.get_running_loop().create_future()
        try:
            recent = await self._sessions.recent(ask.scope, ask.policy, ask.max_episodes)
        except MemdError as error:
            _fail(reading, error)
            raise
        else:
            reading.set_result(recent)
            return recent
        finally:
            reading.cancel()


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    value: T | None
    error: MemdError | None


Search: TypeAlias = Callable[[bytes], T]
Prepare: TypeAlias = Callable[[], Search[T]]


class _Party:
    """The searches that share one embedding."""

    def __init__(self) -> None:
        self._members: list[tuple[Prepare[Any], asyncio.Future[Any]]] = []
        self._searches: list[_Outcome[Search[Any]]] = []

    def join(self, prepare: Prepare[T]) -> asyncio.Future[T]:
        """What the search will find. Not once the query is on its way."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._members.append((prepare, future))
        return future

    def prepare(self) -> None:
        """On a worker thread, beside the model."""
        self._searches = [_attempt(prepare) for prepare, _ in self._members]

    def search(self, embedding: bytes) -> list[_Outcome[Any]]:
        """On a worker thread, after both."""
        return [_search(search, embedding) for search in self._searches]

    def tell(self, outcomes: list[_Outcome[Any]]) -> None:
        for (_, future), outcome in zip(self._members, outcomes, strict=True):
            if outcome.error is not None:
                _fail(future, outcome.error)
            elif not future.done():
                future.set_result(outcome.value)

    def fail(self, error: MemdError) -> None:
        for _, future in self._members:
            _fail(future, error)

    def leave(self) -> None:
        """Nobody will tell any more: those who still wait are cancelled."""
        for _, future in self._members:
            future.cancel()


class QueryOnce:
    """The embedding of an ask's query, and the searches that use it, on the worker threads in one go."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def run(self, ask: TierAsk, prepare: Prepare[T]) -> T:
        """``prepare()(embedding)``, the first part beside the model. Errors: the embedder's, and those of both parts."""
        party: _Party | None = ask.shared.get(self)
        if party is not None:
            return await party.join(prepare)
        party = ask.shared[self] = _Party()
        future = party.join(prepare)
        await self._host(ask, party)
        return await future

    async def _host(self, ask: TierAsk, party: _Party) -> None:
        try:
            try:
                await asyncio.sleep(0)  # the other tiers, started in this turn of the loop, join here
            finally:
                del ask.shared[self]
            query = self._embedder.query(ask.query, party.search, meanwhile=party.prepare, cache=ask.use_cache)
            party.tell(await query)
        except MemdError as error:
            party.fail(error)
        finally:
            party.leave()


def _attempt(work: Callable[[], T]) -> _Outcome[T]:
    try:
        return _Outcome(work(), None)
    except MemdError as error:
        return _Outcome(None, error)


def _search(search: _Outcome[Search[T]], embedding: bytes) -> _Outcome[T]:
    if search.value is None:
        return _Outcome(None, search.error)
    return _attempt(partial(search.value, embedding))


def _fail(future: asyncio.Future[Any], error: MemdError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: nobody may be waiting any more
