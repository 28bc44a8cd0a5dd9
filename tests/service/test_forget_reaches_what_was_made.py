"""A Forget by id, by event or by filter takes what was said from the session, its summaries and its digest as well."""

from __future__ import annotations

import asyncio

import pytest

from memd.domain.compression import new_summary
from memd.domain.errors import InvalidArgument
from memd.domain.filters import Compare
from memd.domain.model import Event, EventKind, Memory, Scope
from memd.domain.visibility import EVERYTHING
from memd.service.observe import UNSCORED
from tests.service.conftest import SCOPE, House
from tests.service.writing import say

OTHER = Scope("ns", "ada", "", "s47")
SECRET = "Remember that my sister lives in Lyon"
KEPT = ("the weather was fine in May", "we went to the lake by train")


async def said(house: House, scope: Scope = SCOPE) -> None:
    await say(house, KEPT[0], SECRET, KEPT[1], scope=scope)


async def consolidate(house: House) -> None:
    while await house.consolidator.promote_once() + await house.consolidator.digest_once():
        pass


async def memories(house: House) -> list[Memory]:
    return list((await house.stores.memories.page("ns", EVERYTHING, size=99, cursor="")).items)


async def digest(house: House) -> str:
    (found,) = [one.content for one in await memories(house) if one.source.value == "digest"]
    return found


async def secret_id(house: House) -> str:
    (found,) = [one.memory_id for one in await memories(house) if one.content == SECRET]
    return found


async def nowhere(house: House, scope: Scope = SCOPE) -> None:
    """Neither in what a caller gets nor in what the store has."""
    for asked in (scope, OTHER):
        assert "Lyon" not in (await house.ask("where does the sister live? Lyon", asked)).context
    sql = (
        "SELECT content FROM memory UNION ALL SELECT content FROM memory_revision UNION ALL SELECT content FROM event e"
        " JOIN session s ON s.pk = e.session_pk WHERE s.user_id = ? UNION ALL SELECT content FROM working_summary"
    )
    found = [str(content) for (content,) in house.stores._connection.execute(sql, (scope.user_id,)).fetchall()]
    assert [content for content in found if "Lyon" in content] == []


async def test_by_the_id_of_the_memory(house: House) -> None:
    await said(house)
    await house.sessions.end(SCOPE)
    await consolidate(house)
    assert "Lyon" in await digest(house)
    plan = {"memory_ids": [await secret_id(house)], "writer": "ada"}
    dry = await house.forget.forget(OTHER, dry_run=True, **plan)  # type: ignore[arg-type]
    written = await house.forget.forget(OTHER, **plan)  # type: ignore[arg-type]
    counts = written.value.counts
    assert (counts["memories"], counts["digests"], counts["events"], counts["summaries"]) == (1, 1, 1, 0)
    assert dict(dry.value.counts) == dict(counts)
    await nowhere(house)
    await consolidate(house)
    for text in KEPT:
        assert text in await digest(house), "made anew from what is left"
    await nowhere(house)


async def test_by_a_filter(house: House) -> None:
    await said(house)
    await house.sessions.end(SCOPE)
    await consolidate(house)
    written = await house.forget.forget(OTHER, filter=Compare("eq", "source", "user"), writer="ada")
    assert (written.value.counts["digests"], written.value.counts["events"]) == (1, 1)
    await consolidate(house)
    await nowhere(house)


async def test_by_the_event_before_anything_was_made_of_it(house: House) -> None:
    observed = await say(house, SECRET, KEPT[0])
    await house.forget.forget(SCOPE, event_ids=[observed.value[0].event_id], writer="ada")
    await house.sessions.end(SCOPE)
    await consolidate(house)
    assert KEPT[0] in await digest(house)
    await nowhere(house)


async def test_by_the_event_afterwards(house: House) -> None:
    observed = await say(house, SECRET, KEPT[0])
    await house.sessions.end(SCOPE)
    await consolidate(house)
    written = await house.forget.forget(SCOPE, event_ids=[observed.value[0].event_id], writer="ada")
    counts = written.value.counts
    assert (counts["memories"], counts["digests"], counts["events"]) == (1, 1, 1)
    await nowhere(house)
    with pytest.raises(InvalidArgument, match="within a session"):
        await house.forget.forget(Scope("ns", "ada"), event_ids=["e1"], writer="ada")


async def test_the_running_summary_goes_and_one_on_its_way_is_late(house: House) -> None:
    await say(house, SECRET, *KEPT, "and then some more")
    policy = await house.policy.policy("ns")
    seen = await house.stores.sessions.working(SCOPE, policy)
    running = new_summary("the sister lives in Lyon", 6, 1, 2, house.clock.now_us(), "test")
    assert await house.stores.sessions.compress(SCOPE, seen, [running], 2)
    seen = await house.stores.sessions.working(SCOPE, policy)
    await house.consolidator.promote_once()
    written = await house.forget.forget(SCOPE, memory_ids=[await secret_id(house)], writer="ada")
    assert written.value.counts["summaries"] == 1
    late = new_summary("the sister lives in Lyon, and they went there", 9, 1, 3, house.clock.now_us(), "test")
    assert not await house.stores.sessions.compress(SCOPE, seen, [late], 3)
    await nowhere(house)


async def test_a_forget_that_fell_half_way_is_finished_and_nothing_is_made_meanwhile(house: House) -> None:
    await said(house)
    await house.sessions.end(SCOPE)
    await consolidate(house)
    secret, whole = await secret_id(house), house.stores.sessions.forget_events

    async def fall(*args: object, **more: object) -> dict[str, int]:
        raise asyncio.CancelledError

    house.stores.sessions.forget_events = fall  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await house.forget.forget(OTHER, memory_ids=[secret], writer="ada")
    house.stores.sessions.forget_events = whole  # type: ignore[method-assign]
    house.stores._connection.execute("UPDATE session SET promoted = 0, digested = 0").fetchall()
    await consolidate(house)
    assert await memories(house) == []
    assert await house.forget.resume() == 1
    await nowhere(house)
    await consolidate(house)
    await nowhere(house)


async def test_it_races_with_consolidation_and_wins(house: House) -> None:
    for n in range(20):
        scope = Scope("ns", f"user{n}", "", "s")
        observed = await say(
            house, SECRET, Event("", EventKind.TURN, KEPT[0], role="user", importance=UNSCORED), scope=scope
        )
        await house.sessions.end(scope)
        jobs = [
            asyncio.ensure_future(job()) for job in (house.consolidator.promote_once, house.consolidator.digest_once)
        ]
        for _ in range(n * 2):
            await asyncio.sleep(0)
        await house.forget.forget(scope, event_ids=[observed.value[0].event_id], writer="x")
        await asyncio.gather(*jobs)
        await consolidate(house)
        await nowhere(house, scope)
        assert len(await memories(house)) == n + 1, "the digest of what is left"
