"""The same sessions on a cluster, through a failover, and under Sentinel."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from redis.crc import key_slot

from memd.adapters.redis import RedisCheckpoints, RedisSessionMarks, RedisSessions, RedisSettings, keys
from memd.domain.errors import Unavailable
from memd.domain.model import Scope
from memd.limits import DAY_US, HOUR_US, MAX_REDIS_TIMEOUT_S
from memd.ports import Mark, MarkedSession
from tests.contract.builders import POLICY, SESSION, event, request
from tests.servers.redis import MASTERS, MAX_SLOT, cluster, sentinel

SESSIONS = 30
LONG = replace(POLICY, ttl_us=HOUR_US)
BACK_S = 30.0
FIRST_THIRD = (MAX_SLOT + 1) // MASTERS
"""Slots below it are the first primary's."""


async def append_until_it_works(sessions: RedisSessions, scope: Scope, event_id: str) -> None:
    """As a client does: the same call with the same request_id."""
    end = time.monotonic() + BACK_S
    while True:
        try:
            await sessions.append(scope, [event(event_id)], LONG, request(event_id))
            return
        except Unavailable:
            assert time.monotonic() < end, "it did not come back"
            await asyncio.sleep(0.05)


async def unpromoted(marks: RedisSessionMarks) -> list[MarkedSession]:
    """As soon as every slot is served again."""
    end = time.monotonic() + BACK_S
    while True:
        try:
            return list((await marks.unpromoted(10 * SESSIONS)).sessions)
        except Unavailable:
            assert time.monotonic() < end, "it did not come back"
            await asyncio.sleep(0.05)


async def test_sessions_of_every_slot_survive_a_failover(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path) as formed:
        sessions = await RedisSessions.open(RedisSettings(formed.url, breaker_cool_down_s=0.1))
        tasks = RedisCheckpoints(sessions.link)
        try:
            scopes = [replace(SESSION, session_id=f"s{i}", user_id=f"u{i % 3}") for i in range(SESSIONS)]
            for scope in scopes:
                await sessions.append(scope, [event("a"), event("b")], LONG, None)
                await tasks.save(
                    "n", scope.session_id, b"1", expected_version=0, ttl_us=60_000_000, keep=2, request=None
                )
            assert sum(node.send("DBSIZE") > 0 for node in formed.nodes[:3]) == 3, "all on one node show nothing"
            assert await sessions.count(Scope("n"), all_users=True) == {"events": 2 * SESSIONS, "sessions": SESSIONS}
            formed.wait_replicated()
            formed.kill_primary(0)
            for scope in scopes:
                await append_until_it_works(sessions, scope, f"{scope.session_id}-c")
                working = await sessions.working(scope, LONG)
                assert [one.event_id for one in working.items] == ["a", "b", f"{scope.session_id}-c"]
            page = await tasks.page("n", "", size=100, cursor="")
            assert len(page.items) == SESSIONS
            assert sessions.describe().reachable
            forgotten = await sessions.forget(Scope("n"), all_users=True, receipt_id="r")
            assert forgotten == {"events": 3 * SESSIONS, "sessions": SESSIONS}
        finally:
            await sessions.close()


async def test_slots_that_move_cut_no_call(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path) as formed:
        sessions = await RedisSessions.open(RedisSettings(formed.url, timeout_s=MAX_REDIS_TIMEOUT_S))
        try:
            await sessions.append(SESSION, [event("a")], LONG, None)  # every connection and slot is known
            moving = [replace(SESSION, session_id=f"m{i}") for i in range(10 * SESSIONS)]
            slots = {key_slot(keys.session_keys(scope)[0].encode()): scope for scope in moving}
            of_first = {slot: scope for slot, scope in slots.items() if slot < FIRST_THIRD}
            assert len(of_first) > SESSIONS
            formed.move(of_first, 0, 2)
            # none has a request_id: one whose connection was cut would be refused, not repeated
            written = [sessions.append(scope, [event("a"), event("b")], LONG, None) for scope in of_first.values()]
            assert [len(one.value) for one in await asyncio.gather(*written)] == [2] * len(of_first)
            assert sessions.describe().reachable
        finally:
            await sessions.close()


async def test_marks_of_every_slot_survive_a_failover(binary: Path, tmp_path: Path) -> None:
    """Each primary dies in its turn: that of the index of what is to be done, and those of the sessions in it."""
    with cluster(binary, tmp_path) as formed:
        sessions = await RedisSessions.open(RedisSettings(formed.url, breaker_cool_down_s=0.1))
        marks = RedisSessionMarks(sessions)
        marks.spare(DAY_US)
        try:
            scopes = {replace(SESSION, session_id=f"s{i}") for i in range(SESSIONS)}
            for scope in scopes:
                await sessions.append(scope, [event("a")], LONG, None)
            waiting = await unpromoted(marks)
            assert {one.scope for one in waiting} == scopes
            for third in range(MASTERS):
                done = waiting[third::MASTERS]
                assert await marks.mark(promoted=[Mark(one, 1) for one in done]) == len(done)
                formed.wait_replicated(range(third, MASTERS))
                formed.kill_primary(third)
                scopes -= {one.scope for one in done}
                assert {one.scope for one in await unpromoted(marks)} == scopes
        finally:
            await sessions.close()


async def test_sentinel_is_followed_to_the_new_primary(binary: Path, tmp_path: Path) -> None:
    with sentinel(binary, tmp_path) as group:
        sessions = await RedisSessions.open(RedisSettings(group.url, breaker_cool_down_s=0.1))
        try:
            await sessions.append(SESSION, [event("a")], LONG, None)
            group.primary.send("WAIT", 1, 2_000)
            group.primary.kill()
            group.wait_for_failover()
            await append_until_it_works(sessions, SESSION, "b")
            working = await sessions.working(SESSION, LONG)
            assert [one.event_id for one in working.items] == ["a", "b"]
        finally:
            await sessions.close()
