"""A namespace moves between the memory of sidecars and Postgres's own search while it is read and written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from memd.adapters.index_routes import RoutedIndex
from memd.adapters.postgres import SearchMoves
from memd.domain.model import IndexPlace, NamespaceSettings, Scope
from memd.domain.visibility import EVERYTHING
from memd.ports import ForgetPlan, SearchOptions
from tests.replica.conftest import OpenSidecar
from tests.replica.sidecar import Sidecar
from tests.servers.postgres import Launcher

ALL = SearchOptions(limit=100, candidates=100, trim_ratio=0.0)
OpenPod = Callable[[str], Awaitable["Pod"]]


@dataclass
class Pod:
    """A sidecar with its routes; nothing looks at the settings by itself."""

    sidecar: Sidecar
    moves: SearchMoves
    routed: RoutedIndex

    async def look(self) -> None:
        """One look, and everything it set off."""
        await self.moves.run_once()
        await self.moves.settled()

    async def found(self, query: str = "ferry") -> set[str]:
        answer = await asyncio.to_thread(self.routed.search, "n", "memory", query, None, EVERYTHING, ALL)
        return {hit.entry_id for hit in answer.hits}

    async def put(self, place: IndexPlace) -> None:
        settings = NamespaceSettings(index=place)
        await self.sidecar.settings.put_settings("n", settings, expected_version=0, writer="w", request=None)

    async def forget(self, memory_id: str) -> None:
        plan = ForgetPlan(Scope("n", "u"), EVERYTHING, memory_ids=(memory_id,))
        await self.sidecar.memories.forget(plan, writer="w", request=None)

    async def remember(self, *ids: str) -> None:
        await self.sidecar.remember("n", *ids, content="the ferry leaves")

    async def searched_by_postgres(self) -> list[tuple[bool]]:
        sql = "SELECT searchable FROM memd.search_namespace"
        return await self.sidecar.postgres._database.read("n", lambda reader: reader.rows(sql))


@pytest.fixture
async def database_url(postgres18: Launcher) -> AsyncIterator[str]:
    """With pgvector, and of its own: it gets indexes that others must not find."""
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await asyncio.to_thread(server.create_database)
    yield server.url(name)
    await asyncio.to_thread(server.drop_database, name)


@pytest.fixture
async def open_pod(open_sidecar: OpenSidecar) -> AsyncIterator[OpenPod]:
    opened: list[Pod] = []

    async def make(name: str) -> Pod:
        sidecar = await open_sidecar(name)
        remote = sidecar.postgres.pgvector()
        moves = sidecar.postgres.moves(remote, sidecar.index, drop_after_us=0)
        routed = RoutedIndex(sidecar.index, remote, asyncio.get_running_loop(), moves.moved)
        opened.append(Pod(sidecar, moves, routed))
        return opened[-1]

    yield make
    for pod in opened:
        await pod.moves.close()


async def test_every_sidecar_follows_the_setting_in_both_directions(open_pod: OpenPod) -> None:
    one, other = await open_pod("one"), await open_pod("other")
    await one.remember("a", "b")
    await other.sidecar.follower.follow("n", 1, 5.0)
    assert await one.found() == await other.found() == {"a", "b"}
    await other.put("pgvector")
    assert not one.moves.moved("n")
    await one.look()
    assert await one.searched_by_postgres() == [(True,)]
    assert await one.found() == {"a", "b"}
    for pod in (one, other):
        await pod.look()
        assert pod.moves.moved("n")
        assert ("n", "memory") not in pod.sidecar.index._slots
    await one.remember("c")
    assert await one.found() == await other.found() == {"a", "b", "c"}
    await one.forget("a")
    assert await one.found() == await other.found() == {"b", "c"}
    await other.sidecar.poll()

    await one.put("memory")
    await one.look()
    while one.moves.moved("n"):  # its own index is being loaded
        await one.look()
    await one.look()
    assert await one.searched_by_postgres() == []
    assert other.moves.moved("n")
    assert await other.found() == {"b", "c"}, "its own rows answer where Postgres has nothing any more"
    await other.look()
    assert not other.moves.moved("n")
    assert await one.found() == await other.found() == {"b", "c"}


@dataclass
class History:
    """What a writer was told, for readers to compare with."""

    there: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def grown(self, size: int, *while_these_run: asyncio.Future[Any]) -> None:
        """Until so many are there, or one of those that run has ended."""
        while len(self.there) < size and not any(one.done() for one in while_these_run):
            self.changed.clear()
            waiting = asyncio.ensure_future(self.changed.wait())
            await asyncio.wait([waiting, *while_these_run], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()


async def _write(pod: Pod, history: History, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await pod.remember(f"w{number}")
        history.there.add(f"w{number}")
        history.changed.set()
        if number % 2 == 0:
            victim = f"w{number // 2}"
            history.there.discard(victim)
            await pod.forget(victim)
            history.gone.add(victim)


async def _read(pod: Pod, history: History, stop: asyncio.Event) -> int:
    reads = 0
    while not stop.is_set():
        there, gone = set(history.there), set(history.gone)
        found = await pod.found()
        assert there & history.there <= found, "acknowledged, not deleted, and not found"
        assert not found & gone, "deleted before the search, and found"
        reads += 1
    return reads


async def _until(pod: Pod, moved: bool) -> None:
    while pod.moves.moved("n") != moved:
        await pod.look()


async def test_nothing_is_missing_and_nothing_comes_back_while_it_moves(open_pod: OpenPod) -> None:
    pod = await open_pod("one")
    history, stop = History(), asyncio.Event()
    writing = asyncio.ensure_future(_write(pod, history, stop))
    reading = asyncio.ensure_future(_read(pod, history, stop))
    try:
        for place in ("pgvector", "memory", "pgvector"):
            await pod.put(place)
            await _until(pod, place == "pgvector")
            seen = len(history.there)
            await history.grown(seen + 3, writing, reading)
    finally:
        stop.set()
    await writing
    assert await reading > 0
    assert await pod.found() == history.there


async def test_a_daemon_that_falls_while_it_builds_is_succeeded_by_the_next(open_pod: OpenPod) -> None:
    one = await open_pod("one")
    await one.remember("a", "b")
    await one.put("pgvector")
    # What a kill between the rows and the index leaves: rows made, an index that is not valid, nothing searchable.
    tables = one.sidecar.postgres.pgvector().tables
    hnsw = tables.hnsw("n")
    await tables.build("n")
    async with one.sidecar.postgres._database.connections.own() as connection:
        await connection.execute("UPDATE memd.search_namespace SET searchable = false")
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass", f"memd.{hnsw.name}"
        )
    held = await one.sidecar.postgres.leases.claim("n", "search_move", "who fell", 60_000_000)
    assert held is not None
    await one.look()
    assert not one.moves.moved("n"), "the lease of who fell still lives"
    assert await one.found() == {"a", "b"}
    await one.sidecar.postgres.leases.release("n", "search_move", held)
    await _until(one, moved=True)
    assert await one.found() == {"a", "b"}
    async with one.sidecar.postgres._database.connections.own() as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass"
        assert await connection.fetchval(valid, f"memd.{hnsw.name}")


async def test_a_change_of_mind_ends_a_build_and_leaves_nothing(open_pod: OpenPod) -> None:
    pod = await open_pod("one")
    await pod.remember("a")
    await pod.put("pgvector")
    await pod.moves.run_once()
    await pod.put("memory")
    for _ in range(4):
        await pod.look()
    assert await pod.searched_by_postgres() == []
    assert not pod.moves.moved("n")
    assert await pod.found() == {"a"}
