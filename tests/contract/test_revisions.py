"""SessionStore.revise: what is found out about events after their reply, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from memd.domain.model import Event, EventKind, Outcome
from memd.ports import EventRevision
from tests.contract.builders import POLICY, SESSION, USER, event
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("sessions")

WIDE = replace(POLICY, working_max_items=100, working_max_tokens=10_000, episodic_max_items=100)
TEXT = 'tab\t quote " nul \0 é 漢 \U0001f600'


async def observed(stores: Stores, *names: str, **fields: Any) -> tuple[Event, ...]:
    events = [event(name, f"{name}: {TEXT}", kind=EventKind.TOOL_CALL, **fields) for name in names]
    await stores.sessions.append(SESSION, events, WIDE, None)
    return await episodes(stores)


async def episodes(stores: Stores) -> tuple[Event, ...]:
    """Oldest first."""
    page = await stores.sessions.episodes(SESSION, WIDE, kinds=frozenset(), size=100, cursor="")
    return page.items[::-1]


def revised(was: Event, **fields: Any) -> EventRevision:
    return EventRevision(was, replace(was, **fields))


EVERYTHING: dict[str, Any] = {
    "importance": 0.1 + 0.2,
    "importance_reasons": ("kind:error", "resolved"),
    "content": f"other {TEXT}",
    "tokens": 3,
    "original_bytes": 99,
    "original_sha256": b"\x00\xff" * 16,
    "resolves": "x",
    "resolved_by": "b",
    "body_event_id": "b",
    "kept_whole": True,
}


async def test_what_was_found_out_is_read_everywhere(stores: Stores) -> None:
    metadata = {"a": 1, "b": [True, False], "c": "x", "d": 0.1}
    a, b = await observed(stores, "a", "b", outcome=Outcome.FAILURE, importance=0.7, metadata=metadata)
    before = await stores.sessions.working(SESSION, WIDE)
    assert await stores.sessions.revise(SESSION, [revised(a, **EVERYTHING)]) == 1
    expected = replace(a, **EVERYTHING)
    assert await episodes(stores) == (expected, b)
    after = await stores.sessions.working(SESSION, WIDE)
    assert (after.items, after.tokens, after.seq) == ((expected, b), 13, before.seq + 1)
    await stores.reopen()
    assert await episodes(stores) == (expected, b)


async def test_the_caps_count_the_new_tokens(stores: Stores) -> None:
    a, b, _ = await observed(stores, "a", "b", "c")
    assert await stores.sessions.revise(SESSION, [revised(a, tokens=70), revised(b, tokens=1)]) == 2
    await stores.sessions.append(SESSION, [event("d", tokens=20)], replace(WIDE, working_max_tokens=100), None)
    kept = (await stores.sessions.working(SESSION, WIDE)).items
    assert [one.event_id for one in kept] == ["b", "c", "d"]


async def test_an_event_that_changed_since_is_passed_over(stores: Stores) -> None:
    a, b = await observed(stores, "a", "b")
    first = revised(a, resolved_by="b")
    assert await stores.sessions.revise(SESSION, [first, revised(b, importance=0.9)]) == 2
    assert await stores.sessions.revise(SESSION, [first, revised(b, importance=0.1)]) == 0
    assert [one.importance for one in await episodes(stores)] == [a.importance, 0.9]


async def test_a_repeat_merged_meanwhile_stays_counted(stores: Stores) -> None:
    (a,) = await observed(stores, "a")
    await stores.sessions.append(SESSION, [replace(a, event_id="other", last_seen=50)], WIDE, None)
    assert await stores.sessions.revise(SESSION, [revised(a, importance=0.9)]) == 1
    (one,) = await episodes(stores)
    assert (one.count, one.last_seen, one.importance) == (2, 50, 0.9)


async def test_the_newest_event_is_still_what_a_repeat_is_merged_into(stores: Stores) -> None:
    (a,) = await observed(stores, "a")
    assert await stores.sessions.revise(SESSION, [revised(a, importance=0.9)]) == 1
    merged = await stores.sessions.append(SESSION, [replace(a, event_id="other")], WIDE, None)
    assert (merged.value[0].merged, merged.value[0].importance) == (True, 0.9)


async def test_a_body_that_is_no_episode_is_not_pointed_at(stores: Stores) -> None:
    a, _ = await observed(stores, "a", "b")
    await observed(stores, "passing", ephemeral=True)
    for gone in ("nowhere", "passing"):
        assert await stores.sessions.revise(SESSION, [revised(a, body_event_id=gone)]) == 0
    assert (await episodes(stores))[0] == a


@pytest.mark.parametrize("change", ["unknown", "forgotten", "expired", "opened again"])
async def test_an_event_that_is_gone_stays_gone(stores: Stores, change: str) -> None:
    a = replace(event("a"), position=1) if change == "unknown" else (await observed(stores, "a"))[0]
    if change == "forgotten" or change == "opened again":
        await stores.sessions.forget(USER, all_users=False, receipt_id="receipt")
    elif change == "expired":
        stores.clock.advance(WIDE.ttl_us + 1)
    if change == "opened again":
        await observed(stores, "other")
    assert await stores.sessions.revise(SESSION, [revised(a, content="back again")]) == 0
    assert "back again" not in [one.content for one in await episodes(stores)]


async def test_of_two_who_revise_at_once_one_comes_late(stores: Stores) -> None:
    (a,) = await observed(stores, "a")
    both = [stores.sessions.revise(SESSION, [revised(a, resolved_by=name)]) for name in ("x", "y")]
    assert sorted(await asyncio.gather(*both)) == [0, 1]


async def test_an_ended_session_stays_ended(stores: Stores) -> None:
    (a,) = await observed(stores, "a")
    await stores.sessions.end(SESSION, None)
    assert await stores.sessions.revise(SESSION, [revised(a, resolved_by="x")]) == 1
    (session,) = (await stores.sessions.sessions(SESSION, size=10, cursor="")).items
    assert session.end_time is not None
    assert (await episodes(stores))[0].resolved_by == "x"
