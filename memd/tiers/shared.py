"""What two tiers of one Recall both need, done once: the session's read, and the model's run on the query.

Tiers of one Recall get the same ``TierAsk`` object and are started in the same turn of the event loop. The first to ask
does the work, the others wait for it; what fails fails for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Guest:
    work: Callable[[bytes], Any]
    future: asyncio.Future[Any]


class QueryOnce:
    """The embedding of an ask's query, and the searches that use it, on one worker thread in one go."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def run(self, ask: TierAsk, work: Callable[[bytes], T]) -> T:
        """``work(embedding)`` on the worker thread that embedded the query. Errors: the embedder's, and ``work``'s."""
        guests: list[_Guest] | None = ask.shared.get(self)
        if guests is not None:
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            guests.append(_Guest(work, future))
            return await future
        return await self._host(ask, work)

    async def _host(self, ask: TierAsk, work: Callable[[bytes], T]) -> T:
        guests: list[_Guest] = ask.shared.setdefault(self, [])
        try:
            await asyncio.sleep(0)  # the other tiers, started in this turn of the loop, join here
        finally:
            del ask.shared[self]
        try:
            return await self._embed(ask, work, guests)
        except MemdError as error:
            for guest in guests:
                _fail(guest.future, error)
            raise
        finally:
            for guest in guests:
                guest.future.cancel()

    async def _embed(self, ask: TierAsk, work: Callable[[bytes], T], guests: list[_Guest]) -> T:
        def all_work(embedding: bytes) -> tuple[_Outcome[T], list[_Outcome[Any]]]:
            return _attempt(work, embedding), [_attempt(guest.work, embedding) for guest in guests]

        mine, theirs = await self._embedder.query(ask.query, all_work, cache=ask.use_cache)
        for guest, outcome in zip(guests, theirs, strict=True):
            if outcome.error is not None:
                _fail(guest.future, outcome.error)
            elif not guest.future.done():
                guest.future.set_result(outcome.value)
        if mine.error is not None:
            raise mine.error
        return mine.value  # type: ignore[return-value]  # set where there is no error


def _attempt(work: Callable[[bytes], T], embedding: bytes) -> _Outcome[T]:
    try:
        return _Outcome(work(embedding), None)
    except MemdError as error:
        return _Outcome(None, error)


def _fail(future: asyncio.Future[Any], error: MemdError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: nobody may be waiting any more
