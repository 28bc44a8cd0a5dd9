"""Forget on Postgres: nothing slips past it, and what its receipt claims is done."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from memd.adapters.postgres import PostgresStores, schema
from memd.domain.errors import Forgotten, StoreBusy
from memd.domain.visibility import forgettable
from memd.ports import ForgetPlan
from tests.contract.builders import USER, draft
from tests.postgres.calls import forget, page, remember
from tests.postgres.conftest import OpenStores

GONE_TIMEOUT_S = 20.0
WAITS_FOR_A_ROW = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND pid <> pg_backend_pid() AND query LIKE '%ORDER BY memory_id FOR UPDATE'"
)
WAITS_AT_THE_GATE = (
    "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND NOT l.granted"
    " AND d.datname = current_database()"
)
EVERYTHING = ForgetPlan(USER, forgettable(USER), everything=True)


async def test_writers_of_another_daemon_never_bring_it_back(open_stores: OpenStores) -> None:
    """Each write began before the Forget; it ends before it, and is deleted, or after it, and is refused."""
    one, two = await open_stores(), await open_stores()
    for turn in range(4):
        fence = await one.memories.fence("n")
        writes = [
            asyncio.create_task(
                stores.memories.remember("n", [draft(f"m{turn}-{i}")], fence=fence, writer="w", request=None)
            )
            for i in range(12)
            for stores in (one, two)
        ]
        await asyncio.sleep(0.002 * turn)
        await two.memories.forget(EVERYTHING, writer="w", request=None)
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(result, Forgotten) or not isinstance(result, BaseException) for result in results)
        assert await page(one) == []


async def test_a_forget_waits_for_a_write_that_is_not_committed_and_takes_its_rows(
    database_url: str, open_stores: OpenStores
) -> None:
    stores, other = await open_stores(), await open_stores()
    await remember(stores, "m1")
    blocker, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM memd.memory FOR UPDATE")
        writing = asyncio.create_task(remember(stores, "m1", "m2", content="newer"))
        await _until(watcher, WAITS_FOR_A_ROW)
        forgetting = asyncio.create_task(other.memories.forget(EVERYTHING, writer="w", request=None))
        await _until(watcher, WAITS_AT_THE_GATE)
    written, receipt = await writing, await forgetting
    assert receipt.seq == written.seq + 1
    assert receipt.value.counts["memories"] == 2
    assert await page(stores) == []
    await blocker.close()
    await watcher.close()


async def test_the_dead_rows_are_vacuumed_behind_the_reply(database_url: str, open_stores: OpenStores) -> None:
    stores = await open_stores()
    await remember(stores, *(f"m{i}" for i in range(50)))
    connection = await asyncpg.connect(database_url)
    pages = "SELECT pg_relation_size('memd.memory')"
    assert await connection.fetchval(pages) > 0
    await stores.memories.forget(EVERYTHING, writer="w", request=None)
    # a VACUUM gives pages without rows at the end of a table back to the system
    await _until(connection, f"SELECT 1 WHERE ({pages}) = 0")
    await connection.close()


async def test_the_receipt_says_what_is_out_of_reach(open_stores: OpenStores) -> None:
    stores = await open_stores()
    await remember(stores, "m1")
    receipt = (await stores.memories.forget(EVERYTHING, writer="w", request=None)).value
    told = " ".join(receipt.out_of_reach)
    for word in ("VACUUM", "write-ahead log", "standbys", "backups"):
        assert word in told


async def test_the_planner_keeps_no_samples_of_content(database_url: str, open_stores: OpenStores) -> None:
    """Neither now nor from before the schema said so."""
    stores = await open_stores()
    await remember(stores, *(f"m{i}" for i in range(10)), content="")  # each its own
    connection = await asyncpg.connect(database_url)
    sampled = (
        "SELECT tablename::text, attname::text FROM pg_stats WHERE schemaname = 'memd'"
        " AND concat(most_common_vals::text, histogram_bounds::text) LIKE '%content of m3%'"
    )
    await connection.execute("ALTER TABLE memd.memory ALTER content SET STATISTICS -1; ANALYZE memd.memory")
    assert [tuple(one) for one in await connection.fetch(sampled)] == [("memory", "content")]
    (script,) = (name for name in schema.MIGRATIONS if name.endswith("_no_samples.sql"))
    await connection.execute(schema._script(script))
    assert not await connection.fetch(sampled)
    await connection.execute("ANALYZE")
    assert not await connection.fetch(sampled)
    await connection.close()


async def test_a_fence_of_a_history_that_was_lost(open_stores: OpenStores) -> None:
    """Its number says nothing about the tombstones of this one."""
    stores = await open_stores()
    await remember(stores, "m1")
    with pytest.raises(StoreBusy, match="nothing was stored"):
        await stores.memories.remember("n", [draft("m2")], fence=99, writer="w", request=None)


async def test_another_namespace_does_not_wait(database_url: str, open_stores: OpenStores) -> None:
    stores, other = await open_stores(), await open_stores()
    await remember(stores, "m1")
    blocker, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM memd.memory FOR UPDATE")
        writing = asyncio.create_task(remember(stores, "m1", content="newer"))
        await _until(watcher, WAITS_FOR_A_ROW)
        forgetting = asyncio.create_task(forget(other, "m1"))
        assert (await remember(stores, "m1", namespace="elsewhere")).seq == 1
    await asyncio.gather(writing, forgetting)
    await blocker.close()
    await watcher.close()


class TestLeases:
    async def test_one_holder_at_a_time_and_growing_tokens(self, open_stores: OpenStores) -> None:
        one, two = await open_stores(), await open_stores()
        first = await one.leases.claim("n", "job", "one", 60_000_000)
        assert first == 1
        assert await two.leases.claim("n", "job", "two", 60_000_000) is None
        assert await one.leases.claim("n", "job", "one", 60_000_000) == first, "a holder prolongs its own"
        assert await two.leases.claim("n", "other job", "two", 60_000_000) == 1
        assert await two.leases.claim("m", "job", "two", 60_000_000) == 1
        await one.leases.release("n", "job", first)
        second = await two.leases.claim("n", "job", "two", 60_000_000)
        assert second == 2
        await one.leases.release("n", "job", first)
        assert await one.leases.claim("n", "job", "one", 60_000_000) is None, "a late release frees nobody's lease"

    async def test_a_lease_that_ran_out_is_anybodys(self, open_stores: OpenStores) -> None:
        one, two = await open_stores(), await open_stores()
        assert await one.leases.claim("n", "job", "one", 0) == 1
        assert await two.leases.claim("n", "job", "two", 0) == 2
        assert await two.leases.claim("n", "job", "two", 60_000_000) == 3, "its own as well: others had their chance"

    async def test_of_many_claims_one_wins(self, open_stores: OpenStores) -> None:
        daemons: list[PostgresStores] = [await open_stores(), await open_stores()]
        claims = await asyncio.gather(
            *(daemons[i % 2].leases.claim("n", "job", f"holder {i}", 60_000_000) for i in range(12))
        )
        assert sorted(claims, key=lambda token: token or 0) == [None] * 11 + [1]


async def _until(connection: asyncpg.Connection[asyncpg.Record], question: str) -> None:
    """Until the database answers with a row."""
    end = time.monotonic() + GONE_TIMEOUT_S
    while not await connection.fetch(question):
        assert time.monotonic() < end, question
        await asyncio.sleep(0.01)
