"""With sessions in Redis and the truth in Postgres: a Forget on one sidecar against consolidation on the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.domain.model import Scope
from memd.limits import CONSOLIDATE_LEASE_US
from tests.contract.conftest import ManualClock
from tests.replica.conftest import OpenPod
from tests.replica.pod import ADA, Pod
from tests.servers.redis import RedisServer

SECRET = "Remember that my sister lives in Lyon"
KEPT = "the weather was fine in May"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def nowhere(pods: list[Pod], redis: RedisServer) -> None:
    """Neither in the truth nor in a replica nor in Redis."""
    for pod in pods:
        assert [one.content for one in await pod.stored() if "Lyon" in one.content] == []
    for key in redis.send("KEYS", "memd:s:*:events"):
        assert [value for value in redis.send("HVALS", key) if b"Lyon" in value] == []
    for key in redis.send("KEYS", "memd:s:*:meta"):
        assert b"Lyon" not in (redis.send("HGET", key, "summaries") or b"")


async def test_by_the_id_of_the_memory(open_pod: OpenPod, clock: ManualClock, redis_server: RedisServer) -> None:
    one, other = await open_pod("one", clock), await open_pod("other", clock)
    await one.say(KEPT, SECRET)
    await one.ends.end(ADA)
    await one.consolidate()
    assert len(await other.stored()) == 2
    (secret,) = [memory for memory in await other.stored() if memory.content == SECRET]
    written = await other.forget.forget(replace(ADA, session_id="s2"), memory_ids=[secret.memory_id], writer="ada")
    counts = written.value.counts
    assert (counts["memories"], counts["digests"], counts["events"]) == (1, 1, 1)
    await nowhere([one, other], redis_server)
    await one.consolidate()
    assert [KEPT in memory.content for memory in await other.stored()] == [True]
    await nowhere([one, other], redis_server)
    assert (await one.sidecar.verified("ns")).ok
    assert (await other.sidecar.verified("ns")).ok


async def test_it_races_with_the_other_sidecar_and_wins(
    open_pod: OpenPod, clock: ManualClock, redis_server: RedisServer
) -> None:
    one, other = await open_pod("one", clock), await open_pod("other", clock)
    for n in range(15):
        scope = Scope("ns", f"user{n}", "", "s")
        await one.say(SECRET, KEPT, scope=scope)
        await one.ends.end(scope)
        seen = await one.observe._sessions.episodes(
            scope, await one.sidecar.policy.policy("ns"), kinds=frozenset(), size=9, cursor=""
        )
        (event_id,) = [event.event_id for event in seen.items if event.content == SECRET]
        jobs = [one.consolidator.promote_once, other.consolidator.digest_once, one.consolidator.digest_once]
        running = [asyncio.ensure_future(job()) for job in jobs]
        for _ in range(n * 3):
            await asyncio.sleep(0)
        await other.forget.forget(scope, event_ids=[event_id], writer="x")
        await asyncio.gather(*running)
        clock.advance(CONSOLIDATE_LEASE_US)
        await (one if n % 2 else other).consolidate()
        await nowhere([one, other], redis_server)
        assert len(await other.stored()) == n + 1, "the digest of what is left"
