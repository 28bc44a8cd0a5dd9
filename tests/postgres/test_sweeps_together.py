"""Every daemon of a fleet sweeps, whenever it likes: what one is at the others pass over, and nothing goes twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from memd.adapters.postgres import PostgresStores
from memd.limits import REQUEST_ID_TTL_US
from tests.contract.builders import POLICY, SESSION, draft, event, request
from tests.contract.conftest import ManualClock
from tests.postgres.calls import Follower
from tests.postgres.conftest import OpenStores

DAEMONS = 4
MEMORIES, SESSIONS, EVENTS, TASKS = 60, 20, 3, 20
BATCH = 7


async def sweep(stores: PostgresStores) -> int:
    """Until nothing is left for this daemon; how many rows it took."""
    swept = 0
    while n := sum([await one.sweep(BATCH) for one in (stores.memories, stores.sessions, stores.tasks)]):
        swept += n
    return swept


async def test_each_row_goes_once_and_changes_are_numbered_without_gaps(open_stores: OpenStores) -> None:
    clock = ManualClock()
    daemons = [await open_stores(clock=clock) for _ in range(DAEMONS)]
    first = daemons[0]
    due_us = clock.wall_us + POLICY.ttl_us
    drafts = [draft(f"m{n}", expire_time=due_us) for n in range(MEMORIES)]
    await first.memories.remember("n", [*drafts, draft("kept")], fence=0, writer="w", request=request("r"))
    for n in range(SESSIONS):
        scope = replace(SESSION, session_id=f"s{n}")
        await first.sessions.append(scope, [event(f"e{i}") for i in range(EVENTS)], POLICY, None)
        await first.tasks.save("n", f"t{n}", b"x", expected_version=0, ttl_us=POLICY.ttl_us, keep=9, request=None)
    follower = Follower()
    await follower.catch_up(first)
    clock.advance(2 * POLICY.ttl_us + REQUEST_ID_TTL_US)
    swept = await asyncio.gather(*(sweep(daemon) for daemon in daemons))
    swept.append(await sweep(first))  # what was locked when the last one looked
    assert await follower.catch_up(first), "a change number has no line"
    assert set(follower.memories) == {"kept"}
    deleted = [entry for batch in follower.batches for _, entry in batch.deleted]
    assert len(deleted) == len(set(deleted)) == MEMORIES
    assert (await first.settings.counts("n"))["memories"] == 1
    records = 1 + SESSIONS + TASKS
    assert sum(swept) == MEMORIES + SESSIONS * (EVENTS + 1) + TASKS + records
