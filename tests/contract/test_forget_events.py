"""SessionStore.forget_events: what a Forget takes out of sessions, on every adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memd.domain.model import SessionEvents
from memd.limits import DAY_US, SECOND_US
from memd.ports import Mark
from tests.contract.builders import SESSION, event
from tests.contract.conftest import Stores
from tests.contract.test_compression import WIDE, episodes, names, observed, summary, working

pytestmark = pytest.mark.ports("sessions")
OTHER = replace(SESSION, session_id="other")


async def forget(stores: Stores, *event_ids: str, receipt_id: str = "f_1") -> dict[str, int]:
    asked = [SessionEvents(SESSION, event_ids)]
    return dict(await stores.sessions.forget_events("n", asked, receipt_id=receipt_id))


async def test_events_leave_the_working_set_and_the_episodes(stores: Stores) -> None:
    before = await observed(stores, "a", "b", "c", "d", ephemeral=["b"])
    await stores.sessions.append(OTHER, [event("a"), event("c")], WIDE, None)
    assert await forget(stores, "b", "c", "never", receipt_id="") == {"events": 2, "summaries": 0}
    assert await working(stores) == before, "only counted"
    assert await forget(stores, "b", "c", "never") == {"events": 2, "summaries": 0}
    after = await working(stores)
    assert names(after) == ["a", "d"]
    assert after.tokens == 20
    assert after.seq > before.seq
    assert await episodes(stores) == ["d", "a"]
    assert names(await stores.sessions.working(OTHER, WIDE)) == ["a", "c"]
    assert (await stores.sessions.count(SESSION, all_users=False))["events"] == 2
    assert names(await observed(stores, "e")) == ["a", "d", "e"]
    await stores.reopen()
    assert names(await working(stores)) == ["a", "d", "e"]


async def test_once_for_a_receipt(stores: Stores) -> None:
    await observed(stores, "a", "b")
    first = await forget(stores, "a")
    await observed(stores, "a")
    assert await forget(stores, "a") == first
    assert names(await working(stores)) == ["b", "a"], "what was said anew stays"


async def test_no_repeat_is_merged_into_what_is_gone(stores: Stores) -> None:
    await observed(stores, "a", "b")
    await forget(stores, "b")
    await stores.sessions.append(SESSION, [event("c", "b")], WIDE, None)
    assert names(await working(stores)) == ["a", "c"]


async def test_an_agent_that_is_not_named_is_every_agent(stores: Stores) -> None:
    await observed(stores, "a", "b")
    asked = [SessionEvents(replace(SESSION, agent_id=""), ("a",))]
    assert (await stores.sessions.forget_events("n", asked, receipt_id="f_1"))["events"] == 1
    assert names(await working(stores)) == ["b"]


class TestSummaries:
    async def test_go_when_one_tells_it(self, stores: Stores) -> None:
        seen = await observed(stores, "a", "b", "c", "d", "e")
        await stores.sessions.compress(SESSION, seen, [summary(1, 2, "of a and b"), summary(3, 4, "of c and d")], 4)
        assert await forget(stores, "e") == {"events": 1, "summaries": 0}
        assert names(await working(stores)) == ["summary-1-2", "summary-3-4"]
        assert await forget(stores, "c", receipt_id="") == {"events": 1, "summaries": 2}
        assert await forget(stores, "c", receipt_id="f_2") == {"events": 1, "summaries": 2}
        assert names(await working(stores)) == []
        assert await episodes(stores) == ["d", "b", "a"], "the originals stay"

    async def test_on_their_way_are_late(self, stores: Stores) -> None:
        seen = await observed(stores, "a", "b", "c", "d")
        await forget(stores, "a")
        assert not await stores.sessions.compress(SESSION, seen, [summary(1, 3)], 3)
        assert names(await working(stores)) == ["b", "c", "d"]
        again = await working(stores)
        assert await stores.sessions.compress(SESSION, again, [summary(2, 3)], 3)


async def test_the_digest_is_due_anew_from_the_beginning(stores: Stores) -> None:
    stores.marks.spare(DAY_US)
    await observed(stores, "a", "b", "c")
    (session,) = (await stores.marks.unpromoted(9)).sessions
    await stores.marks.mark(promoted=[Mark(session, 3)], digested=[Mark(session, 3)])
    await forget(stores, "b")
    assert (await stores.marks.unpromoted(9)).sessions == ()
    (again,) = (await stores.marks.undigested(9, events=3, idle_us=DAY_US, expires_us=0)).sessions
    assert again.digested == 0
    assert [one.event_id for one in await stores.marks.since(again, 0, 9)] == ["a", "c"]
    assert await stores.marks.mark(digested=[Mark(replace(again, digested=3), 3)]) == 0, "one on its way is late"


async def test_what_has_expired_and_waits_is_reached(stores: Stores) -> None:
    stores.marks.spare(DAY_US)
    await observed(stores, "a", "b")
    stores.clock.advance(WIDE.ttl_us)
    await observed(stores, "c")
    stores.clock.advance(WIDE.ttl_us + SECOND_US)
    assert await forget(stores, "a", "c") == {"events": 2, "summaries": 0}
    left = (await stores.marks.expired(9)).sessions
    found = [one.event_id for session in left for one in await stores.marks.since(session, 0, 9)]
    assert found == ["b"]
