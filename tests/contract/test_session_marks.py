"""What every session store offers the work behind the replies: which sessions have something new, and how far it has come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memd.domain.model import Scope
from memd.limits import DAY_US, HOUR_US, SECOND_US, SWEEP_GAP_US
from memd.ports import Mark, MarkedSession, SessionPolicy
from tests.contract.builders import SESSION, event
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("sessions")
LONG = SessionPolicy(working_max_items=3, working_max_tokens=100, episodic_max_items=5_000, ttl_us=HOUR_US)
MANY = 1_000
MINUTE_US = 60 * SECOND_US


@pytest.fixture(autouse=True)
def consolidating(stores: Stores) -> None:
    stores.marks.spare(DAY_US)


async def say(stores: Stores, *names: str, scope: Scope = SESSION) -> None:
    await stores.sessions.append(scope, [event(name) for name in names], LONG, None)


async def unpromoted(stores: Stores) -> list[MarkedSession]:
    return list((await stores.marks.unpromoted(MANY)).sessions)


async def undigested(stores: Stores) -> list[MarkedSession]:
    page = await stores.marks.undigested(MANY, events=20, idle_us=5 * MINUTE_US, expires_us=8 * SECOND_US)
    return list(page.sessions)


async def expired(stores: Stores) -> list[MarkedSession]:
    return list((await stores.marks.expired(MANY)).sessions)


async def consolidate(stores: Stores, session: MarkedSession) -> None:
    mark = Mark(session, session.last_position)
    await stores.marks.mark(promoted=[mark], digested=[mark])


async def sweep(stores: Stores) -> int:
    total = 0
    while swept := await stores.sessions.sweep(MANY):
        total += swept
    return total


async def test_a_session_is_there_until_it_is_marked_and_again_when_it_goes_on(stores: Stores) -> None:
    assert await unpromoted(stores) == []
    await say(stores, "a", "b")
    (session,) = await unpromoted(stores)
    assert (session.scope, session.promoted, session.last_position) == (SESSION, 0, 2)
    assert await stores.marks.mark(promoted=[Mark(session, 2)]) == 1
    assert await unpromoted(stores) == []
    await say(stores, "c")
    (again,) = await unpromoted(stores)
    assert (again.key, again.promoted, again.last_position) == (session.key, 2, 3)


async def test_a_repeat_is_nothing_new(stores: Stores) -> None:
    await say(stores, "a")
    await consolidate(stores, (await unpromoted(stores))[0])
    await say(stores, "a")
    await stores.sessions.append(SESSION, [event("other", "a")], LONG, None)  # merged into the one before it
    assert await unpromoted(stores) == []


async def test_a_mark_moves_only_from_where_it_was_read(stores: Stores) -> None:
    await say(stores, "a", "b", "c")
    (session,) = await unpromoted(stores)
    assert await stores.marks.mark(promoted=[Mark(session, 3)]) == 1
    assert await stores.marks.mark(promoted=[Mark(session, 2)]) == 0, "somebody who began before"
    assert await unpromoted(stores) == []
    gone = replace(session, key=session.key + "0", create_time=session.create_time + 1)
    assert await stores.marks.mark(promoted=[Mark(gone, 3)], digested=[Mark(gone, 3)]) == 0
    assert await stores.marks.mark(digested=[Mark(session, 3)]) == 1, "the other mark is another one"


class TestDigests:
    async def test_are_due_by_number_rest_and_end(self, stores: Stores) -> None:
        await say(stores, *(f"e{n}" for n in range(19)))
        assert await undigested(stores) == []
        await say(stores, "e19")
        (session,) = await undigested(stores)
        await stores.marks.mark(digested=[Mark(session, 20)])
        await say(stores, "e20")
        assert await undigested(stores) == []
        stores.clock.advance(5 * MINUTE_US)
        (session,) = await undigested(stores)
        await stores.marks.mark(digested=[Mark(session, 21)])
        await say(stores, "e21")
        await stores.sessions.end(SESSION, None)
        assert [one.digested for one in await undigested(stores)] == [21]

    async def test_are_due_before_the_session_expires(self, stores: Stores) -> None:
        short = replace(LONG, ttl_us=MINUTE_US)
        await stores.sessions.append(SESSION, [event("a")], short, None)
        stores.clock.advance(MINUTE_US - 10 * SECOND_US)
        assert await undigested(stores) == []
        stores.clock.advance(5 * SECOND_US)
        assert len(await undigested(stores)) == 1


async def test_events_since_a_position_come_oldest_first(stores: Stores) -> None:
    await stores.sessions.append(
        SESSION, [event("a"), event("b", ephemeral=True), *(event(f"e{n}") for n in range(300))], LONG, None
    )
    (session,) = await unpromoted(stores)
    found = await stores.marks.since(session, 0, 2)
    assert [one.event_id for one in found] in (["a", "b"], ["a", "e0"]), "ephemeral ones may be gone"
    assert [one.position for one in await stores.marks.since(session, 2, MANY)] == list(range(3, 303))
    assert [one.position for one in await stores.marks.since(session, 300, MANY)] == [301, 302]
    assert await stores.marks.since(session, 302, MANY) == ()
    before = replace(session, last_position=5)
    assert [one.position for one in await stores.marks.since(before, 3, MANY)] == [4, 5], "as it was read"


async def test_pages_go_over_all_of_them(stores: Stores) -> None:
    scopes = {Scope(name, f"u{n}", "", f"s{n}") for n in range(10) for name in ("n", "m")}
    for scope in scopes:
        await say(stores, "a", scope=scope)
    found: list[Scope] = []
    after = ""
    for _ in range(30):
        page = await stores.marks.unpromoted(3, after)
        assert len(page.sessions) <= 3
        found += [one.scope for one in page.sessions]
        after = page.after
        if not after:
            break
    assert after == ""
    assert len(found) == len(scopes)
    assert set(found) == scopes


class TestExpiry:
    async def test_what_was_not_consolidated_is_spared_unseen(self, stores: Stores) -> None:
        await say(stores, "a", "b")
        stores.clock.advance(LONG.ttl_us)
        assert await sweep(stores) == 0
        assert (await stores.sessions.working(SESSION, LONG)).items == ()
        assert (await stores.sessions.sessions(SESSION, size=9, cursor="")).items == ()
        (session,) = await expired(stores)
        assert [one.event_id for one in await stores.marks.since(session, 0, MANY)] == ["a", "b"]
        await consolidate(stores, session)
        assert await expired(stores) == []
        stores.clock.advance(MINUTE_US)
        assert await sweep(stores) == 3

    async def test_but_not_for_ever(self, stores: Stores) -> None:
        await say(stores, "a")
        stores.clock.advance(LONG.ttl_us)
        for _ in range(DAY_US // SWEEP_GAP_US):
            assert await sweep(stores) == 0
            stores.clock.advance(SWEEP_GAP_US - SECOND_US)
        swept = 0
        for _ in range(3):
            swept += await sweep(stores)
            stores.clock.advance(SWEEP_GAP_US - SECOND_US)
        assert swept == 2
        assert await expired(stores) == []

    async def test_a_session_opened_again_is_another_life_and_the_old_one_waits(self, stores: Stores) -> None:
        await say(stores, "old")
        stores.clock.advance(LONG.ttl_us)
        await say(stores, "new")
        assert [one.event_id for one in (await stores.sessions.working(SESSION, LONG)).items] == ["new"]
        old, new = sorted(await unpromoted(stores), key=lambda one: one.create_time)
        assert old.key != new.key
        assert [one.key for one in await expired(stores)] == [old.key]
        assert [one.key for one in await undigested(stores)] == [old.key]
        assert [one.event_id for one in await stores.marks.since(old, 0, MANY)] == ["old"]
        assert [one.event_id for one in await stores.marks.since(new, 0, MANY)] == ["new"]
        await consolidate(stores, old)
        assert [one.key for one in await unpromoted(stores)] == [new.key]
        await sweep(stores)
        assert [one.event_id for one in (await stores.sessions.working(SESSION, LONG)).items] == ["new"]
        assert await stores.marks.since(old, 0, MANY) == ()

    async def test_a_forget_takes_both_lives(self, stores: Stores) -> None:
        await say(stores, "old")
        stores.clock.advance(LONG.ttl_us)
        await say(stores, "new")
        lives = await unpromoted(stores)
        await stores.sessions.forget(SESSION, all_users=False, receipt_id="f_1")
        assert await unpromoted(stores) == []
        assert [await stores.marks.since(one, 0, MANY) for one in lives] == [(), ()]


async def test_marks_outlive_a_restart(stores: Stores) -> None:
    await say(stores, "a")
    other = replace(SESSION, session_id="other")
    await say(stores, "b", scope=other)
    first = next(one for one in await unpromoted(stores) if one.scope == SESSION)
    await stores.marks.mark(promoted=[Mark(first, 1)])
    await stores.reopen()
    stores.marks.spare(DAY_US)
    await undigested(stores)  # the patrol, where there is one
    assert [one.scope for one in await unpromoted(stores)] == [other]


async def test_what_is_told_to_nobody_is_found_all_the_same(stores: Stores) -> None:
    """A daemon that falls between an append and its next look."""
    await say(stores, "a")
    await stores.reopen()
    stores.marks.spare(DAY_US)
    await undigested(stores)
    assert [one.scope for one in await unpromoted(stores)] == [SESSION]
