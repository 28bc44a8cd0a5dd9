"""Sessions and tasks that several daemons write to, and commits of theirs that got lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import asyncpg
import pytest

from memd.adapters.postgres import PostgresStores
from memd.domain.errors import NotFound, VersionConflict
from memd.domain.model import Checkpoint, Event, RequestKey, Written
from memd.ports import SessionPolicy
from tests.contract.builders import POLICY, SESSION, event, request
from tests.postgres.conftest import OpenStores
from tests.postgres.cutting import Cut, Cutter

WIDE = replace(POLICY, episodic_max_items=1_000, ttl_us=3_600_000_000)
TTL_US = 3_600_000_000
HOT = 40


async def save(
    stores: PostgresStores, state: bytes, expected: int, key: RequestKey | None = None
) -> Written[Checkpoint]:
    return await stores.tasks.save("n", "t", state, expected_version=expected, ttl_us=TTL_US, keep=9, request=key)


async def episodes(stores: PostgresStores, policy: SessionPolicy = WIDE) -> list[Event]:
    page = await stores.sessions.episodes(SESSION, policy, kinds=frozenset(), size=1_000, cursor="")
    return list(page.items)[::-1]


@pytest.mark.parametrize("key", [request("r"), None], ids=["with request_id", "without"])
@pytest.mark.parametrize("cut", ["before", "after"])
class TestOneEffect:
    async def test_of_an_append(self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            await stores.sessions.append(SESSION, [event("a", "same")], WIDE, None)
            cutter.cuts = [cut, cut]
            written = await stores.sessions.append(SESSION, [event("b", "same"), event("c")], WIDE, key)
            assert [(one.merged, one.position) for one in written.value] == [(True, 1), (False, 2)]
            assert [(one.event_id, one.count) for one in await episodes(stores)] == [("a", 2), ("c", 1)]

    async def test_of_a_save(self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            cutter.cuts = [cut]
            assert (await save(stores, b"x", 0, key)).value.version == 1
            assert (await save(stores, b"y", 1)).value.version == 2


async def test_two_daemons_append_to_one_session(open_stores: OpenStores) -> None:
    one, other = await open_stores(), await open_stores()
    calls = [
        (one if i % 2 else other).sessions.append(SESSION, [event(f"{i}-{k}") for k in range(3)], WIDE, None)
        for i in range(HOT)
    ]
    written = await asyncio.gather(*calls)
    positions = sorted(observed.position for one in written for observed in one.value)
    assert positions == list(range(1, 3 * HOT + 1))
    assert sorted(one.seq for one in written) == list(range(1, HOT + 1))
    stored = [one.event_id.split("-")[0] for one in await episodes(one)]
    assert all(stored[i] == stored[i + 1] == stored[i + 2] for i in range(0, 3 * HOT, 3)), "a call was split"


async def test_two_daemons_save_one_task(open_stores: OpenStores) -> None:
    both = await open_stores(), await open_stores()
    for current in range(5):
        calls = [save(both[i % 2], f"{i}".encode(), current) for i in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, Written) for result in results) == 1
        assert sum(isinstance(result, VersionConflict) for result in results) == 7


async def test_a_hot_session_leaves_connections_to_the_others(database_url: str, open_at: OpenStores) -> None:
    """Its writers wait for their turn without one: a pool of two would be used up by the first two."""
    stores = await open_at(database_url, pool=2)
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE memd.event IN EXCLUSIVE MODE")
        hot = [asyncio.create_task(stores.sessions.append(SESSION, [event(f"{i}")], WIDE, None)) for i in range(HOT)]
        await save(stores, b"x", 0)
        assert not any(one.done() for one in hot)
    await asyncio.gather(*hot)
    assert len(await episodes(stores)) == HOT
    await blocker.close()


async def test_times_are_the_servers(open_stores: OpenStores) -> None:
    """Without a clock of its own the adapter asks Postgres, for what is stored and for what has expired."""
    stores = await open_stores()
    before = int(time.time() * 1e6)
    saved = await save(stores, b"x", 0)
    assert before - 1_000_000 < saved.value.create_time < before + 60_000_000
    await stores.sessions.append(SESSION, [event("a")], replace(WIDE, ttl_us=1), None)
    assert await episodes(stores) == []
    with pytest.raises(NotFound):
        await stores.sessions.end(SESSION, None)


async def test_a_sweep_beside_appends_takes_only_what_has_expired(open_stores: OpenStores) -> None:
    one, other = await open_stores(), await open_stores()
    for i in range(20):
        scope = replace(SESSION, session_id=f"old-{i}")
        await one.sessions.append(scope, [event("a"), event("b")], replace(WIDE, ttl_us=1), None)
    sweeping = asyncio.gather(*(stores.sessions.sweep(7) for stores in (one, other) for _ in range(6)))
    for i in range(20):
        await one.sessions.append(SESSION, [event(f"{i}")], WIDE, None)
        await one.sessions.append(replace(SESSION, session_id=f"old-{i}"), [event("a")], WIDE, None)
    await sweeping
    while await one.sessions.sweep(100):
        pass
    assert len(await episodes(other)) == 20
    counted = await one.sessions.count(replace(SESSION, session_id=""), all_users=False)
    assert counted == {"events": 40, "sessions": 21}
