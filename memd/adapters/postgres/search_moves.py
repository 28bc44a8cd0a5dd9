"""Moves namespaces to Postgres's own search and back as their setting ``index`` says, while they are read and written.

What is wanted (settings) and how far it is (``memd.search_namespace``) are both in Postgres: every daemon reads them with one
query and does its part, and whatever a daemon that fell left half done the next one goes on with. A namespace is searched
where it was until the new place has everything:

- to pgvector: one daemon, under a lease, builds; then all of them search there and let go of their index in memory;
- to memory: each daemon loads its own index, then searches that; the tables go when everybody had time to.

The same look keeps the tables near the change log, so that few searches have to, and counts words anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.leases import PostgresLeases
from memd.adapters.postgres.search_tables import SearchTables
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.domain.errors import MemdError, NotReady
from memd.limits import SEARCH_COUNT_EVERY_US, SEARCH_DROP_AFTER_US, SEARCH_MOVE_LEASE_US

log = logging.getLogger(__name__)
MOVE_JOB = "search_move"
MEMORIES = "memory"
_STATES = (
    "SELECT namespace, n.namespace IS NOT NULL, coalesce(s.searchable, false), s.namespace IS NOT NULL, s.unwanted_time,"
    " coalesce(h.seq, 0) - coalesce(s.seq, 0), coalesce(h.seq, 0) - coalesce(s.counted_seq, 0),"
    " coalesce(s.counted_time, 0) FROM (SELECT namespace FROM memd.namespace_settings"
    " WHERE (body::jsonb ->> 'index') = 'pgvector') n FULL JOIN memd.search_namespace s USING (namespace)"
    " LEFT JOIN memd.namespace_head h USING (namespace)"
)
_UNWANTED = "UPDATE memd.search_namespace SET unwanted_time = $2 WHERE namespace = $1"


class LocalIndex(Protocol):
    """The index in memory, as far as a move needs it. Both may block for a moment."""

    def begin(self, namespace: str, kind: str) -> bool:
        """Load it where it is not loaded; whether it is."""

    def release(self, namespace: str, kind: str) -> None:
        """Let go of it, in memory and on disk."""


@dataclass(frozen=True, slots=True)
class _State:
    """Of one namespace. ``behind``: changes its rows lack; ``uncounted``: changes since words were counted."""

    namespace: str
    wanted: bool
    searchable: bool
    made: bool
    unwanted_us: int | None
    behind: int
    uncounted: int
    counted_us: int


class SearchMoves:
    """``moved`` is the router's question; ``run_once`` must be called again and again. ``holder`` names this daemon to the
    others. On the event loop."""

    def __init__(
        self,
        database: Database,
        leases: PostgresLeases,
        tables: SearchTables,
        local: LocalIndex,
        holder: str,
        *,
        drop_after_us: int = SEARCH_DROP_AFTER_US,
    ) -> None:
        self._database = database
        self._leases = leases
        self._tables = tables
        self._local = local
        self._holder = holder
        self._drop_after_us = drop_after_us
        self._moved: frozenset[str] = frozenset()
        """Replaced, never changed: other threads look into it."""
        self._work: dict[str, asyncio.Future[None]] = {}

    def moved(self, namespace: str) -> bool:
        """Whether Postgres is to search the namespace now. From any thread."""
        return namespace in self._moved

    async def run_once(self) -> None:
        """Look once, and go on with every namespace; what takes long goes on behind it."""
        now_us, states = await self._database.read_all(_states)
        for state in states:
            if state.wanted and state.searchable:
                await self._serve(state, now_us)
            elif state.wanted:
                self._start(state.namespace, self._tables.build)
            else:
                await self._leave(state, now_us)
        gone = self._moved - {state.namespace for state in states}
        self._moved -= gone

    async def settled(self) -> None:
        """Until no build or removal of this daemon is under way."""
        while self._work:
            await asyncio.wait(list(self._work.values()))

    async def close(self) -> None:
        """What is under way ends where it is; the next daemon goes on with it."""
        work = list(self._work.values())
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    async def _serve(self, state: _State, now_us: int) -> None:
        namespace = state.namespace
        if state.unwanted_us is not None:  # the setting went there and back
            await self._mark_unwanted(namespace, None)
        if namespace not in self._moved:
            self._moved |= {namespace}
            log.info("a namespace is searched by Postgres from now on")
        await asyncio.to_thread(self._local.release, namespace, MEMORIES)
        if state.behind:
            with contextlib.suppress(NotReady):  # removed since the look
                await self._tables.catch_up(namespace)
        if state.uncounted and now_us - state.counted_us > SEARCH_COUNT_EVERY_US:
            await self._tables.count(namespace, self._holder)

    async def _leave(self, state: _State, now_us: int) -> None:
        """Out of Postgres: this daemon at once when its own index is there, the tables when all had time for that."""
        namespace = state.namespace
        building = self._work.get(namespace)
        if building is not None and not state.searchable:
            building.cancel()
        if namespace in self._moved and await asyncio.to_thread(self._local.begin, namespace, MEMORIES):
            self._moved -= {namespace}
            log.info("a namespace is searched in memory from now on")
        if state.unwanted_us is None:
            await self._mark_unwanted(namespace, now_us)
        elif now_us - state.unwanted_us >= self._drop_after_us and namespace not in self._moved:
            self._start(namespace, self._tables.drop)

    async def _mark_unwanted(self, namespace: str, now_us: int | None) -> None:
        async def operation(tx: Transaction) -> None:
            await tx.execute(_UNWANTED, namespace, now_us)

        await self._database.write(namespace, operation)

    def _start(self, namespace: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """One piece of work a namespace at a time."""
        if namespace in self._work:
            return
        task = self._work[namespace] = asyncio.ensure_future(self._leased(namespace, work))
        task.add_done_callback(lambda _: self._work.pop(namespace, None))

    async def _leased(self, namespace: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """``work`` while this daemon holds the lease: nothing while another does; cancelled when it is lost."""
        try:
            token = await self._claim(namespace)
            if token is None:
                return
            doing = asyncio.ensure_future(work(namespace))
            try:
                while not doing.done():
                    await asyncio.wait([doing], timeout=SEARCH_MOVE_LEASE_US / 3e6)
                    if not doing.done() and await self._claim(namespace) != token:
                        return
                await doing
            finally:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)
                await self._leases.release(namespace, MOVE_JOB, token)
        except MemdError as error:  # the next look tries again
            log.warning("moving a namespace's search waits: %s", error.message)

    async def _claim(self, namespace: str) -> int | None:
        return await self._leases.claim(namespace, MOVE_JOB, self._holder, SEARCH_MOVE_LEASE_US)


async def _states(reader: Reader) -> tuple[int, list[_State]]:
    return reader.now_us, [_State(*row) for row in await reader.rows(_STATES)]
