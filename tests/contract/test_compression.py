"""SessionStore.compress: a summary in the place of what it stands for, by compare-and-set, on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from memd.domain.compression import new_summary
from memd.domain.model import Event, EventKind, WorkingSet
from tests.contract.builders import POLICY, SESSION, USER, event
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("sessions")

WIDE = replace(POLICY, working_max_items=100, working_max_tokens=10_000, episodic_max_items=100)
TEXT = 'what was said: tab\t quote " nul \0 é 漢 \U0001f600'


async def observed(stores: Stores, *names: str, ephemeral: Sequence[str] = ()) -> WorkingSet:
    events = [event(name, ephemeral=name in ephemeral) for name in names]
    await stores.sessions.append(SESSION, events, WIDE, None)
    return await working(stores)


async def working(stores: Stores) -> WorkingSet:
    return await stores.sessions.working(SESSION, WIDE)


def summary(first: int, through: int, text: str = TEXT) -> Event:
    return new_summary(text, 4, first, through, 1_700_000_000_000_123, "test")


def names(seen: WorkingSet) -> list[str]:
    return [one.event_id for one in seen.items]


async def episodes(stores: Stores) -> list[str]:
    page = await stores.sessions.episodes(SESSION, WIDE, kinds=frozenset(), size=100, cursor="")
    return [one.event_id for one in page.items]


async def test_the_summary_takes_the_place_and_the_originals_stay_episodes(stores: Stores) -> None:
    seen = await observed(stores, "a", "b", "c", "d")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 3)], 3)
    after = await working(stores)
    assert after.items[0] == summary(1, 3)
    assert names(after) == ["summary-1-3", "d"]
    assert (after.tokens, after.seq) == (14, seen.seq + 1)
    recalled, older = await stores.sessions.recent(SESSION, WIDE, 2)
    assert recalled == after
    assert [one.event_id for one in older] == ["b", "c"]
    assert await episodes(stores) == ["d", "c", "b", "a"]


async def test_what_comes_after_is_behind_the_summary(stores: Stores) -> None:
    seen = await observed(stores, "a", "b")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 1)], 1)
    assert names(await observed(stores, "c")) == ["summary-1-1", "b", "c"]


async def test_a_second_one_joins_or_folds_the_first(stores: Stores) -> None:
    seen = await observed(stores, "a", "b", "c", "d")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 1)], 1)
    seen = await working(stores)
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 1), summary(2, 2)], 2)
    assert names(await working(stores)) == ["summary-1-1", "summary-2-2", "c", "d"]
    seen = await working(stores)
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 3)], 3)
    assert names(await working(stores)) == ["summary-1-3", "d"]


async def test_the_newest_item_stays(stores: Stores) -> None:
    seen = await observed(stores, "a", "b")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    assert names(await working(stores)) == ["summary-1-2", "b"]


async def test_without_a_summary_the_items_go_all_the_same(stores: Stores) -> None:
    seen = await observed(stores, "a", "b")
    assert await stores.sessions.compress(SESSION, seen, [], 1)
    assert names(await working(stores)) == ["b"]


async def test_ephemeral_items_end_with_it(stores: Stores) -> None:
    seen = await observed(stores, "a", "x", "b", ephemeral=["x"])
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    assert names(await working(stores)) == ["summary-1-2", "b"]
    assert await episodes(stores) == ["b", "a"]


async def test_appends_meanwhile_do_not_stop_it(stores: Stores) -> None:
    seen = await observed(stores, "a", "b", "c")
    await observed(stores, "d")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    assert names(await working(stores)) == ["summary-1-2", "c", "d"]


async def test_it_survives_a_restart(stores: Stores) -> None:
    seen = await observed(stores, "a", "b", "c")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    before = await working(stores)
    await stores.reopen()
    assert await working(stores) == before
    assert names(await observed(stores, "d")) == ["summary-1-2", "c", "d"]


async def test_of_many_that_compress_one_wins(stores: Stores) -> None:
    seen = await observed(stores, "a", "b", "c")
    tries = [stores.sessions.compress(SESSION, seen, [summary(1, 2, f"try {n}")], 2) for n in range(8)]
    assert sum(await asyncio.gather(*tries)) == 1
    assert names(await working(stores)) == ["summary-1-2", "c"]


@pytest.mark.parametrize("change", ["cleared", "ended", "forgotten", "forgotten and observed again", "expired"])
async def test_one_that_comes_late_brings_nothing_back(stores: Stores, change: str) -> None:
    seen = await observed(stores, "a", "b", "c")
    if change == "cleared":
        await stores.sessions.clear_working(SESSION, None)
    elif change == "ended":
        await stores.sessions.end(SESSION, None)
    elif change == "expired":
        stores.clock.advance(WIDE.ttl_us + 1)
    else:
        await stores.sessions.forget(USER, all_users=False, receipt_id=f"receipt-{change}")
    if "again" in change or change == "expired":
        await observed(stores, "a", "b", "c")
    assert not await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    assert all(one.kind is not EventKind.SUMMARY for one in (await working(stores)).items)


@pytest.mark.parametrize("change", ["clear", "end", "forget"])
async def test_summaries_go_with_what_they_stand_for(stores: Stores, change: str) -> None:
    seen = await observed(stores, "a", "b", "c")
    assert await stores.sessions.compress(SESSION, seen, [summary(1, 2)], 2)
    if change == "clear":
        assert (await stores.sessions.clear_working(SESSION, None)).value == 2
    elif change == "end":
        await stores.sessions.end(SESSION, None)
    else:
        await stores.sessions.forget(USER, all_users=False, receipt_id="receipt")
    assert (await working(stores)).items == ()
    assert names(await observed(stores, "d")) == ["d"]


async def test_a_session_without_events_left_has_nothing_to_clear(stores: Stores) -> None:
    await observed(stores, "a")
    assert (await stores.sessions.clear_working(SESSION, None)).value == 1
    assert (await stores.sessions.clear_working(SESSION, None)).value == 0


async def test_an_unknown_session_is_not_compressed(stores: Stores) -> None:
    assert not await stores.sessions.compress(SESSION, await working(stores), [summary(1, 2)], 2)
