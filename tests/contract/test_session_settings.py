"""SessionStore.configure: what one session does otherwise than its namespace, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.domain.compression import CompressionPolicy, new_summary
from memd.domain.errors import RequestIdReused
from memd.domain.model import Scope, Session, WorkingSet
from memd.domain.session_settings import NO_OVERRIDES, SESSION_SETTINGS, SessionSettings
from memd.ports import SessionPolicy
from tests.contract.builders import POLICY, SESSION, USER, event, request
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("sessions")

NEIGHBOUR = replace(SESSION, session_id="neighbour")
COMPRESSED = SessionPolicy.of(CompressionPolicy(3, 100), compressed=True, episodic_max_items=500, ttl_us=POLICY.ttl_us)
EVERYTHING = SessionSettings(2, 50, False, 0.123456789012345, 7, 0.02, 1 / 3)


async def configure(stores: Stores, *, scope: Scope = SESSION, **change: float | None) -> Session:
    return (await stores.sessions.configure(scope, change, POLICY, None)).value


async def say(stores: Stores, *names: str, scope: Scope = SESSION, policy: SessionPolicy = POLICY) -> SessionSettings:
    return (await stores.sessions.append(scope, [event(name) for name in names], policy, None)).settings


async def working(stores: Stores, scope: Scope = SESSION, policy: SessionPolicy = POLICY) -> WorkingSet:
    found = await stores.sessions.working(scope, policy)
    assert (await stores.sessions.recent(scope, policy, 2))[0] == found
    return found


async def names(stores: Stores, scope: Scope = SESSION, policy: SessionPolicy = POLICY) -> list[str]:
    return [one.event_id for one in (await working(stores, scope, policy)).items]


async def listed(stores: Stores) -> list[Session]:
    return list((await stores.sessions.sessions(replace(SESSION, session_id=""), size=9, cursor="")).items)


async def live(stores: Stores) -> dict[str, SessionSettings]:
    return {one.scope.session_id: one.settings for one in (await stores.sessions.live(10, "")).items}


async def test_a_session_has_nothing_of_its_own_at_first(stores: Stores) -> None:
    assert await say(stores, "a", "b") is NO_OVERRIDES
    assert (await working(stores)).settings is NO_OVERRIDES
    assert [one.settings for one in await listed(stores)] == [NO_OVERRIDES]
    assert await live(stores) == {"s": NO_OVERRIDES}


async def test_every_setting_is_told_wherever_the_session_is(stores: Stores) -> None:
    await say(stores, "a")
    change = {name: getattr(EVERYTHING, name) for name in SESSION_SETTINGS}
    assert (await configure(stores, **change)).settings == EVERYTHING
    assert await say(stores, "b") == EVERYTHING
    assert (await working(stores)).settings == EVERYTHING
    assert [one.settings for one in await listed(stores)] == [EVERYTHING]
    assert await live(stores) == {"s": EVERYTHING}
    await stores.reopen()
    assert (await working(stores)).settings == EVERYTHING
    assert await say(stores, "c") == EVERYTHING
    assert (await stores.sessions.end(SESSION, None)).value.settings == EVERYTHING


async def test_what_is_not_named_stays_and_none_goes_back(stores: Stores) -> None:
    await configure(stores, working_max_items=2, compress=False)
    assert (await configure(stores, compress_at=0.5)).settings == SessionSettings(2, compress=False, compress_at=0.5)
    assert (await configure(stores, compress=None)).settings == SessionSettings(2, compress_at=0.5)
    nothing = await configure(stores, working_max_items=None, compress_at=None, summary_share=None)
    assert nothing.settings is NO_OVERRIDES
    assert (await working(stores)).settings is NO_OVERRIDES


async def test_a_session_that_is_not_there_is_opened(stores: Stores) -> None:
    opened = await configure(stores, working_max_items=2)
    assert (opened.event_count, opened.seq, opened.end_time) == (0, 1, None)
    assert opened.expire_time == opened.create_time + POLICY.ttl_us
    assert await listed(stores) == [opened]
    assert await stores.sessions.count(USER, all_users=False) == {"events": 0, "sessions": 1}
    assert await names(stores) == []
    assert await say(stores, "a", "b", "c") == opened.settings
    assert await names(stores) == ["b", "c"]
    (one,) = await listed(stores)
    assert (one.create_time, one.event_count) == (opened.create_time, 3)


async def test_nothing_is_to_be_consolidated_in_a_session_without_events(stores: Stores) -> None:
    stores.marks.spare(10**12)
    await configure(stores, working_max_items=2)
    assert (await stores.marks.unpromoted(9)).sessions == ()
    assert (await stores.marks.undigested(9, events=1, idle_us=0, expires_us=0)).sessions == ()
    stores.clock.advance(POLICY.ttl_us)
    assert (await stores.marks.expired(9)).sessions == ()
    assert await stores.sessions.sweep(100) >= 1


async def test_bounds_are_the_sessions_own(stores: Stores) -> None:
    await configure(stores, working_max_items=2)
    await configure(stores, working_max_items=5, scope=NEIGHBOUR)
    for scope in (SESSION, NEIGHBOUR):
        await say(stores, *"abcdef", scope=scope)
    assert await names(stores) == ["e", "f"]
    assert await names(stores, NEIGHBOUR) == ["b", "c", "d", "e", "f"]
    await configure(stores, working_max_tokens=30, scope=NEIGHBOUR)
    assert await names(stores, NEIGHBOUR) == ["d", "e", "f"], "a lowered bound holds for reads at once"
    _, older = await stores.sessions.recent(NEIGHBOUR, POLICY, 2)
    assert [one.event_id for one in older] == ["b", "c"]
    await say(stores, "g", scope=NEIGHBOUR)
    assert await names(stores, NEIGHBOUR) == ["e", "f", "g"]


async def test_what_is_unset_follows_the_namespace(stores: Stores) -> None:
    await configure(stores, working_max_tokens=50)
    wider = replace(POLICY, working_max_items=4)
    await say(stores, *"abcdef", policy=wider)
    assert await names(stores, policy=wider) == ["c", "d", "e", "f"]
    assert await names(stores) == ["d", "e", "f"], "the namespace's items"
    roomy = replace(wider, working_max_tokens=10_000)
    await say(stores, "g" * 9, policy=roomy)
    assert await names(stores, policy=replace(roomy, working_max_items=9)) == ["d", "e", "f", "g" * 9]


async def test_what_waits_for_its_summary_has_room_by_the_sessions_bounds(stores: Stores) -> None:
    """As a namespace's: several times the bounds; none where the session is not compressed."""
    many = [f"e{n:03d}" for n in range(100)]
    own = SessionSettings(working_max_items=5, working_max_tokens=150)
    await configure(stores, working_max_items=5, working_max_tokens=150)
    for start in range(0, 100, 10):
        await say(stores, *many[start : start + 10], policy=COMPRESSED)
    _, tokens = COMPRESSED.limits.overridden(own).held
    assert tokens == 600
    assert await names(stores, policy=COMPRESSED) == many[-60:]
    await configure(stores, compress=False)
    assert await names(stores, policy=COMPRESSED) == many[-5:]
    await say(stores, "last", policy=COMPRESSED)
    assert await names(stores, policy=COMPRESSED) == [*many[-4:], "last"]


async def test_a_session_may_compress_though_its_namespace_does_not(stores: Stores) -> None:
    off = SessionPolicy.of(CompressionPolicy(3, 100), compressed=False, episodic_max_items=500, ttl_us=POLICY.ttl_us)
    await configure(stores, compress=True)
    for scope in (SESSION, NEIGHBOUR):
        await say(stores, *"abcdefgh", scope=scope, policy=off)
    assert await names(stores, policy=off) == [*"abcdefgh"]
    assert await names(stores, NEIGHBOUR, off) == [*"fgh"]


async def test_a_change_touches_neither_events_nor_lifetime(stores: Stores) -> None:
    await say(stores, "a", "b")
    (before,) = await listed(stores)
    changed = await configure(stores, compress_keep=1)
    assert replace(changed, settings=NO_OVERRIDES, seq=before.seq) == before
    assert changed.seq == before.seq + 1
    assert await names(stores) == ["a", "b"]
    ended = (await stores.sessions.end(SESSION, None)).value
    still = await configure(stores, compress_keep=2)
    assert still.end_time == ended.end_time
    await say(stores, "c")
    (reopened,) = await listed(stores)
    assert (reopened.end_time, reopened.settings) == (None, SessionSettings(compress_keep=2))


async def test_a_compression_under_way_is_not_late_for_it(stores: Stores) -> None:
    await say(stores, "a", "b", "c")
    seen = await working(stores)
    await configure(stores, compress_keep=1)
    assert await stores.sessions.compress(SESSION, seen, [new_summary("said", 4, 1, 2, 7, "test")], 2)
    after = await working(stores)
    assert [one.event_id for one in after.items] == ["summary-1-2", "c"]
    assert after.settings == SessionSettings(compress_keep=1)
    await stores.sessions.clear_working(SESSION, None)
    assert (await working(stores)).settings == SessionSettings(compress_keep=1)


@pytest.mark.parametrize("end", ["expired", "forgotten"])
async def test_settings_end_with_the_session(stores: Stores, end: str) -> None:
    await configure(stores, working_max_items=1)
    await say(stores, "a", "b")
    if end == "expired":
        stores.clock.advance(POLICY.ttl_us + 1)
    else:
        await stores.sessions.forget(USER, all_users=False, receipt_id="receipt")
    assert (await working(stores)).settings is NO_OVERRIDES
    assert await say(stores, "c", "d") is NO_OVERRIDES
    assert await names(stores) == ["c", "d"]
    (again,) = await listed(stores)
    assert again.settings is NO_OVERRIDES


async def test_an_expired_session_is_opened_anew(stores: Stores) -> None:
    stores.marks.spare(10**12)
    await say(stores, "a", "b")
    await configure(stores, working_max_items=1)
    stores.clock.advance(POLICY.ttl_us + 1)
    opened = await configure(stores, compress_keep=3)
    assert (opened.event_count, opened.settings) == (0, SessionSettings(compress_keep=3))
    assert await names(stores) == []
    (waiting,) = (await stores.marks.expired(9)).sessions
    assert [one.event_id for one in await stores.marks.since(waiting, 0, 9)] == ["a", "b"], "the life before waits"


async def test_other_sessions_have_their_own(stores: Stores) -> None:
    others = [replace(SESSION, **{name: "other"}) for name in ("namespace", "user_id", "agent_id", "session_id")]
    await configure(stores, working_max_items=1)
    for other in others:
        assert await say(stores, "a", "b", scope=other) is NO_OVERRIDES
        assert await names(stores, other) == ["a", "b"]


async def test_a_repeat_has_one_effect(stores: Stores) -> None:
    key = request("r")
    first = await stores.sessions.configure(SESSION, {"compress_keep": 3}, POLICY, key)
    await configure(stores, compress_keep=4, working_max_items=2)
    again = await stores.sessions.configure(SESSION, {"compress_keep": 3}, POLICY, key)
    assert again == replace(first, replayed=True)
    assert (await working(stores)).settings == SessionSettings(2, compress_keep=4)
    with pytest.raises(RequestIdReused):
        await stores.sessions.configure(SESSION, {"compress_keep": 5}, POLICY, request("r", "another body"))


async def test_a_repeated_end_tells_the_settings_of_the_first(stores: Stores) -> None:
    await configure(stores, compress_keep=3)
    first = await stores.sessions.end(SESSION, request("r"))
    await configure(stores, compress_keep=4)
    assert await stores.sessions.end(SESSION, request("r")) == replace(first, replayed=True)


async def test_of_changes_side_by_side_none_is_lost(stores: Stores) -> None:
    own = SessionSettings(5, 50, True, 0.5, 7, 0.25, 0.125)
    changes = [{name: getattr(own, name)} for name in SESSION_SETTINGS]
    written = await asyncio.gather(*(stores.sessions.configure(SESSION, one, POLICY, None) for one in changes))
    assert sorted(one.seq for one in written) == list(range(1, len(changes) + 1))
    assert (await working(stores)).settings == own
