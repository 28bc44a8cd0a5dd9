"""Behind PgBouncer in transaction mode: everything but hints works, nothing leaks from one client to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.postgres.calls import Follower, forget_all, page, remember
from tests.postgres.conftest import OpenStores
from tests.postgres.databases import borrow, give_back
from tests.servers.postgres import PGBOUNCER, Launcher

pytestmark = pytest.mark.skipif(not PGBOUNCER.exists(), reason=f"no PgBouncer: there is no {PGBOUNCER}")


@pytest.fixture
async def pooled_url(postgres18: Launcher) -> AsyncIterator[str]:
    server = await asyncio.to_thread(lambda: postgres18.shared)
    pooler = await asyncio.to_thread(postgres18.pooler, server)
    name = await borrow(server)
    yield pooler.url(name)
    await asyncio.to_thread(pooler.kill)
    await give_back(server, name)


async def test_more_clients_than_sessions(pooled_url: str, open_at: OpenStores) -> None:
    daemons = [await open_at(pooled_url) for _ in range(3)]
    assert all(stores.facts.pooled for stores in daemons)
    names = ["n", "m"]

    async def write(i: int) -> None:
        await remember(daemons[i % 3], f"m{i}", namespace=names[i % 2])

    await asyncio.gather(*(write(i) for i in range(40)))
    for at, name in enumerate(names):
        found = await page(daemons[0], name)
        assert {memory.memory_id for memory in found} == {f"m{i}" for i in range(40) if i % 2 == at}
        follower, copy = Follower(name), Follower(name)
        assert await follower.catch_up(daemons[1])
        await copy.reload(daemons[2])
        assert (follower.at.seq, follower.memories) == (20, copy.memories)
    await forget_all(daemons[0])
    assert await page(daemons[1]) == []
    assert await daemons[0].memories.sweep(10) == 0


async def test_hints_end_at_once(pooled_url: str, open_at: OpenStores) -> None:
    stores = await open_at(pooled_url)
    await stores.changes.announce(["n"])
    assert [names async for names in await stores.changes.hints()] == []


async def test_it_says_so(pooled_url: str, open_at: OpenStores) -> None:
    assert (await open_at(pooled_url)).describe()["pooler"].startswith("yes")
