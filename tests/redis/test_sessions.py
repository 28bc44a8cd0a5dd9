"""What is Redis's own about sessions: the contract is in tests/contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from memd.adapters.redis import RedisCheckpoints, RedisLink, RedisSessions, RedisSettings, keys
from memd.adapters.redis.session_index import SessionIndex
from memd.domain.errors import LimitExceeded
from memd.domain.model import Scope
from memd.limits import DAY_US, HOUR_US
from tests.contract.builders import POLICY, SESSION, event, request
from tests.contract.conftest import ManualClock
from tests.redis.test_keys import HOSTILE
from tests.servers.redis import RedisServer

LONG = replace(POLICY, ttl_us=HOUR_US)
"""Of sessions that are not to expire, by the server's clock, while a test runs."""
TTL_MS = (POLICY.ttl_us + DAY_US) // 1_000


@pytest_asyncio.fixture
async def sessions(server: RedisServer) -> AsyncIterator[RedisSessions]:
    opened = await RedisSessions.open(RedisSettings(server.url))
    yield opened
    await opened.close()


def calls(server: RedisServer) -> int:
    """Commands the server has run for clients; what a script calls is not one."""
    info = server.send("INFO", "commandstats")
    return sum(int(info[f"cmdstat_{name}"]["calls"]) for name in ("evalsha", "eval") if f"cmdstat_{name}" in info)


async def test_an_append_and_a_recent_are_one_round_trip_each(server: RedisServer, sessions: RedisSessions) -> None:
    await sessions.append(SESSION, [event("a")], POLICY, None)
    await sessions.recent(SESSION, POLICY, 3)
    server.send("CONFIG", "RESETSTAT")
    await sessions.append(SESSION, [event(c) for c in "bcdef"], POLICY, request("r"))
    await sessions.recent(SESSION, POLICY, 3)
    assert calls(server) == 2


async def test_scripts_that_the_server_has_lost_are_sent_again(server: RedisServer, sessions: RedisSessions) -> None:
    await sessions.append(SESSION, [event("a")], LONG, None)
    server.send("SCRIPT", "FLUSH")
    await sessions.append(SESSION, [event("b")], LONG, None)
    assert [one.event_id for one in (await sessions.working(SESSION, LONG)).items] == ["a", "b"]


async def test_keys_outlive_the_ttl_by_a_day_and_no_longer(server: RedisServer, sessions: RedisSessions) -> None:
    await sessions.append(SESSION, [event("a")], POLICY, request("r"))
    *three, record = keys.session_keys(SESSION, request("r"))
    for key in three:
        assert TTL_MS - 5_000 < server.send("PTTL", key) <= TTL_MS
    assert 0 < server.send("PTTL", record) <= DAY_US // 1_000


async def test_a_session_is_known_before_it_is_there(server: RedisServer, sessions: RedisSessions) -> None:
    index = SessionIndex(sessions.link)
    await index.register(SESSION, POLICY.ttl_us)
    assert await index.of_user("n", "u") == [SESSION]
    assert [user async for user in index.users("n")] == ["u"]
    assert await index.live([SESSION]) == []
    assert await index.of_user("n", "u") == [SESSION], "it may be about to come"


async def test_names_of_what_is_gone_leave_the_indexes(server: RedisServer) -> None:
    clock = ManualClock()
    link = await RedisLink.open(RedisSettings(server.url), clock)
    sessions = RedisSessions(link)
    try:
        for i in range(3):
            await sessions.append(replace(SESSION, session_id=f"s{i}"), [event("a")], POLICY, None)
        await RedisCheckpoints(link).save(
            "n", "t", b"x", expected_version=0, ttl_us=POLICY.ttl_us, keep=1, request=None
        )
        clock.advance(HOUR_US + POLICY.ttl_us)
        assert await sessions.sweep(100) == 6
        assert await RedisCheckpoints(link).sweep(100) == 1
        left = {key.decode() for key in server.send("KEYS", "*")}
        assert left == {keys.task_keys("n", "t")[0]}, "the number of a task stays reserved"
    finally:
        await link.close()


async def test_a_session_that_lives_on_is_looked_at_again(server: RedisServer) -> None:
    clock = ManualClock()
    link = await RedisLink.open(RedisSettings(server.url), clock)
    sessions = RedisSessions(link)
    try:
        await sessions.append(SESSION, [event("a")], POLICY, None)
        clock.advance(POLICY.ttl_us // 2)
        await sessions.append(SESSION, [event("b")], POLICY, None)
        clock.advance(POLICY.ttl_us // 2)
        assert await sessions.sweep(100) == 0
        clock.advance(POLICY.ttl_us // 2)
        assert await sessions.sweep(100) == 3
    finally:
        await link.close()


async def test_what_a_server_evicted_is_missed_and_nothing_else(server: RedisServer, sessions: RedisSessions) -> None:
    for lost in range(3):
        scope = replace(SESSION, session_id=f"s{lost}")
        await sessions.append(scope, [event(c, "same" if c == "c" else "") for c in "abc"], LONG, None)
        server.send("DEL", keys.session_keys(scope)[lost])
        await sessions.recent(scope, LONG, 3)
        written = await sessions.append(scope, [event("d", "same"), event("e")], LONG, None)
        assert len(written.value) == 2
        working, _ = await sessions.recent(scope, LONG, 3)
        assert working.items[-1].event_id == "e"
        await sessions.end(scope, None)


async def test_a_user_has_a_bounded_number_of_sessions(
    server: RedisServer, sessions: RedisSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memd.adapters.redis.session_index.MAX_SESSIONS_PER_USER", 3)
    monkeypatch.setattr(SessionIndex._add_to_user, "__defaults__", (3,))
    for i in range(3):
        await sessions.append(replace(SESSION, session_id=f"s{i}"), [event("a")], LONG, None)
    with pytest.raises(LimitExceeded, match="3 sessions"):
        await sessions.append(replace(SESSION, session_id="s3"), [event("a")], LONG, None)
    await sessions.append(replace(SESSION, session_id="s2"), [event("b")], LONG, None)
    await sessions.append(replace(SESSION, user_id="v"), [event("a")], LONG, None)
    await sessions.forget(replace(SESSION, session_id="s0"), all_users=False, receipt_id="r")
    await sessions.append(replace(SESSION, session_id="s3"), [event("a")], LONG, None)


async def test_namespaces_never_mix_whatever_they_are_called(server: RedisServer, sessions: RedisSessions) -> None:
    names = [name for name in HOSTILE if name]
    scopes = [Scope(name, user, agent, name) for name in names for user in ("", "{u}:*") for agent in ("", "%")]
    for i, scope in enumerate(scopes):
        await sessions.append(scope, [event("e", f"canary {i}")], LONG, request("r", namespace=scope.namespace))
    for i, scope in enumerate(scopes):
        assert [one.content for one in (await sessions.working(scope, LONG)).items] == [f"canary {i}"]
        page = await sessions.sessions(replace(scope, session_id=""), size=100, cursor="")
        assert [one.scope for one in page.items] == [scope]
    for name in names:
        assert await sessions.count(Scope(name), all_users=True) == {"events": 4, "sessions": 4}
        assert await sessions.forget(Scope(name), all_users=True, receipt_id="r") == {"events": 4, "sessions": 4}
    assert not [key for key in server.send("KEYS", "*") if b":events" in key]


async def test_callers_that_give_up_leave_whole_writes_and_no_crossed_replies(
    server: RedisServer, sessions: RedisSessions
) -> None:
    async def impatient(i: int) -> None:
        scope = replace(SESSION, session_id=f"s{i % 7}")
        task = asyncio.ensure_future(sessions.append(scope, [event(f"e{i}", f"{i % 7} e{i}")], LONG, None))
        reading = asyncio.ensure_future(sessions.working(scope, LONG))
        for _ in range(i % 5):
            await asyncio.sleep(0)
        task.cancel()
        reading.cancel()
        await asyncio.gather(task, reading, return_exceptions=True)

    for _ in range(5):
        await asyncio.gather(*(impatient(i) for i in range(60)))
    await sessions.close()  # waits for what nobody waits for any more
    again = await RedisSessions.open(RedisSettings(server.url))
    try:
        for k in range(7):
            scope = replace(SESSION, session_id=f"s{k}")
            working = await again.working(scope, LONG)
            assert {one.content.split()[0] for one in working.items} == {str(k)}
            assert await again.count(scope, all_users=False) == {"events": LONG.episodic_max_items, "sessions": 1}
    finally:
        await again.close()


async def test_far_times_keep_every_microsecond(sessions: RedisSessions) -> None:
    far = event("a", event_time=253_402_300_799_999_999, last_seen=253_402_300_799_999_998)
    early = event("b", event_time=-62_135_596_800_000_001, last_seen=-62_135_596_799_999_999)
    await sessions.append(SESSION, [far, early], LONG, None)
    items = (await sessions.working(SESSION, LONG)).items
    assert [(one.event_time, one.last_seen) for one in items] == [
        (far.event_time, far.last_seen),
        (early.event_time, early.last_seen),
    ]


async def test_an_unset_time_is_the_servers(sessions: RedisSessions) -> None:
    await sessions.append(SESSION, [event("a", event_time=0, last_seen=0)], LONG, None)
    (one,) = (await sessions.working(SESSION, LONG)).items
    (session,) = (await sessions.sessions(SESSION, size=1, cursor="")).items
    assert one.event_time == one.last_seen == session.create_time
    assert abs(await sessions.link.now_us() - session.create_time) < 60_000_000
