"""What sessions leave behind: digests and promoted memories, once each, and never what was forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memd.adapters.embed_onnx import AbsentEmbedder
from memd.domain.errors import Corruption, ModelUnavailable
from memd.domain.filters import Compare
from memd.domain.model import Event, EventKind, Memory, Scope
from memd.limits import (
    CONSOLIDATE_GRACE_US,
    CONSOLIDATE_SESSIONS,
    DAY_US,
    DIGEST_EVENTS,
    DIGEST_IDLE_US,
    SECOND_US,
    SWEEP_GAP_US,
)
from memd.ports import Embedder, MarkedSession
from memd.service.observe import UNSCORED
from tests.service.conftest import SCOPE, Build, House
from tests.service.writing import say

OTHER = Scope("ns", "ada", "", "s47")
EVERYTHING = 1_000


def decision(content: str) -> Event:
    return Event("", EventKind.DECISION, content, role="assistant", importance=UNSCORED)


async def stored(house: House, scope: Scope = OTHER, *, invalid: bool = False) -> list[Memory]:
    page = await house.remember.list(scope, None, include_invalid=invalid, size=EVERYTHING)
    return list(page.items)


async def promoted(house: House, scope: Scope = OTHER, *, invalid: bool = False) -> list[str]:
    return [one.content for one in await stored(house, scope, invalid=invalid) if one.source.value != "digest"]


async def test_what_is_marked_is_known_in_another_session(house: House) -> None:
    await say(
        house, "Remember that I prefer green tea to coffee", "my name is Ada Lovelace", "nice weather today, is it not?"
    )
    await house.consolidator.promote_once()
    assert sorted(await promoted(house)) == ["Remember that I prefer green tea to coffee", "my name is Ada Lovelace"]
    reply = await house.ask("what does the user like to drink?", OTHER)
    assert reply.memories[0][0].content == "Remember that I prefer green tea to coffee"
    assert reply.memories[0][0].scope.session_id == "s1"


async def test_nothing_is_promoted_twice(house: House) -> None:
    await say(house, decision("We deploy on Thursdays only"))
    (session,) = (await house.stores.marks.unpromoted(9)).sessions
    await house.consolidator.promote_once()
    assert await house.consolidator.promote_once() == 0, "it is marked as done"
    before = await stored(house)
    house.stores._connection.execute("UPDATE session SET promoted = 0").fetchall()  # a crash before the mark
    assert [one.key for one in (await house.stores.marks.unpromoted(9)).sessions] == [session.key]
    await house.consolidator.promote_once()
    assert await stored(house) == before


async def test_what_is_too_long_for_a_memory_does_not_keep_its_session(house: House) -> None:
    await say(house, "remember that " + "a b c d e " * 2_000, "remember that I prefer tea")
    assert await house.consolidator.promote_once() == 1
    assert await promoted(house) == ["remember that I prefer tea"]
    assert await house.consolidator.promote_once() == 0


class Counting:
    """The real embedder, and how many texts it was given."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.memory_texts = self.queries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        self.memory_texts += len(texts)
        return await self._embedder.memories(texts)

    async def query(self, text: str, use: Callable[[bytes], Any], **more: Any) -> Any:
        self.queries += 1
        return await self._embedder.query(text, use, **more)


async def test_an_event_is_embedded_once(build: Build, embedder: Embedder) -> None:
    counting = Counting(embedder)
    house = build(instead=counting)
    long = "remember that I need " + "one thing and another, " * 100
    await say(house, "remember that I prefer tea", "remember that I live in Lyon")
    await house.consolidator.promote_once()
    assert (counting.memory_texts, counting.queries) == (2, 0)
    await say(house, long)
    await house.consolidator.promote_once()
    assert (counting.memory_texts, counting.queries) == (3, 1), "one of several windows has no embedding of its own"
    assert len(await promoted(house)) == 3


async def test_a_correction_by_the_user_outlives_a_second_run(house: House) -> None:
    await say(house, decision("We deploy on Thursdays only"))
    await house.consolidator.promote_once()
    (memory,) = await stored(house)
    await house.remember.update(OTHER, memory.memory_id, {"content": "We deploy on Fridays only"}, writer="ada")
    house.stores._connection.execute("UPDATE session SET promoted = 0").fetchall()
    await house.consolidator.promote_once()
    assert await promoted(house) == ["We deploy on Fridays only"]


async def test_a_preference_said_again_stays_one_valid_memory_with_its_history(house: House) -> None:
    said = ("Remember that I prefer tea over coffee", "remember that I prefer tea over coffee!")
    await say(house, said[0])
    await house.consolidator.promote_once()
    await say(house, said[1], scope=OTHER)
    await house.consolidator.promote_once()
    await say(house, said[1], scope=Scope("ns", "ada", "", "s48"))
    await house.consolidator.promote_once()
    assert await promoted(house) == [said[1]]
    assert sorted(await promoted(house, invalid=True)) == sorted(said), "the first one is superseded, not lost"


async def test_two_things_that_differ_in_a_number_are_two(house: House) -> None:
    said = [
        "Remember that the staging database listens on port 5432",
        "Remember that the staging database listens on port 5433",
    ]
    await say(house, *said)
    await house.consolidator.promote_once()
    assert sorted(await promoted(house)) == said


async def test_events_are_told_whether_they_were_new(house: House) -> None:
    said = "Remember that I prefer tea over coffee"
    await say(house, said, "Remember that the staging database listens on port 5432")
    await house.consolidator.promote_once()
    await say(house, f"{said}!", scope=OTHER)
    await house.consolidator.promote_once()
    first, second = (await house.sessions.episodes(SCOPE, size=9)).items[::-1]
    (again,) = (await house.sessions.episodes(OTHER, size=9)).items
    assert (first.importance_reasons[-1], second.importance_reasons[-1]) == ("novel", "novel")
    assert again.importance_reasons[-1] == "known"
    assert again.importance < first.importance
    (memory,) = [one for one in await stored(house) if one.content == f"{said}!"]
    assert memory.importance == again.importance


async def test_a_session_is_promoted_when_all_is_known_of_its_events(house: House) -> None:
    await say(house, "I prefer window seats", "ok", "I prefer window seats!", "ok", "I prefer window seats.")
    assert not house.relations.settled(SCOPE)
    assert await house.consolidator.promote_once() == 0
    await house.relations.work()
    assert await house.consolidator.promote_once() == 1
    assert await promoted(house) == ["I prefer window seats."], "said three times, it is worth remembering"


async def test_ephemeral_events_are_neither_promoted_nor_told(house: House) -> None:
    secret = Event(
        "", EventKind.TURN, "Remember that the code is 4711", role="user", importance=UNSCORED, ephemeral=True
    )
    await say(house, secret, "we talked about the weather in Lyon")
    await house.sessions.end(SCOPE)
    await house.consolidator.promote_once()
    await house.consolidator.digest_once()
    assert [one.content for one in await stored(house) if "4711" in one.content] == []
    assert len(await stored(house)) == 1


class TestDigests:
    async def test_a_session_gets_one_when_it_goes_on_rests_or_ends(self, house: House) -> None:
        await say(house, *[f"we moved service number {n} to the new cluster" for n in range(DIGEST_EVENTS - 1)])
        assert await house.consolidator.digest_once() == 0, "too early"
        await say(house, "and the last one")
        assert await house.consolidator.digest_once() == 1
        assert await house.consolidator.digest_once() == 0
        await say(house, "one thing more")
        house.clock.advance(DIGEST_IDLE_US)
        assert await house.consolidator.digest_once() == 1
        await say(house, "and then an end")
        await house.sessions.end(SCOPE)
        assert await house.consolidator.digest_once() == 1
        assert len(await stored(house)) == 1, "made anew in its place"

    async def test_it_is_recent_context_of_the_next_session_and_no_knowledge(self, house: House) -> None:
        await say(house, "the migration of the billing database is planned for March")
        await house.sessions.end(SCOPE)
        await house.consolidator.digest_once()
        reply = await house.ask("when is the migration of the billing database?", OTHER)
        assert reply.memories == ()
        recent = reply.context.split("## Recent context")[1]
        assert "earlier session: user: the migration of the billing database is planned for March" in recent
        own = await house.ask("billing", SCOPE)
        assert "earlier session" not in own.context, "not of the session itself"

    async def test_another_user_sees_none(self, house: House) -> None:
        await say(house, "the migration of the billing database is planned for March")
        await house.sessions.end(SCOPE)
        await house.consolidator.digest_once()
        for scope in (Scope("ns", "bob", "", "s1"), Scope("ns", "", "", "s1"), Scope("other", "ada", "", "s2")):
            assert "March" not in (await house.ask("billing", scope)).context


def events_kept(house: House) -> int:
    ((count,),) = house.stores._connection.execute("SELECT count(*) FROM event").fetchall()
    return int(str(count))


class TestThreeDaysInWhichNothingRan:
    """As the daemon runs it: the sweep is the first thing after the start, with the grace that is shipped."""

    async def test_the_user_is_still_known(self, build: Build) -> None:
        house = build()
        for n in range(60):
            await say(house, f"step {n} of the move to the new data centre is under way")
        await say(house, decision("We keep Postgres 16 until the audit is over"))
        await say(house, "remember that I want short answers")
        house = build()  # the daemon stops before anything was consolidated
        house.clock.advance(3 * DAY_US)
        while await house.sweeper.run_once():
            pass
        assert (await house.sessions.list(Scope("ns", "ada"), size=9)).items == (), "the session has expired"
        assert events_kept(house) == 0, "nothing waits for the grace to end"
        reply = await house.ask("which Postgres do we keep?", Scope("ns", "ada", "", "day3"))
        assert "We keep Postgres 16" in reply.context.split("## Relevant knowledge")[0], "the digest tells the decision"
        assert reply.memories[0][0].content == "We keep Postgres 16 until the audit is over"
        assert "short answers" in (await house.ask("how long should an answer be?", OTHER)).context

    async def test_more_sessions_than_fit_in_a_step_are_all_consolidated(self, build: Build) -> None:
        house = build()
        for n in range(CONSOLIDATE_SESSIONS + 6):
            await say(house, f"remember that room {n} is taken", scope=Scope("ns", "ada", "", f"s{n}"))
        house = build()
        house.clock.advance(3 * DAY_US)
        await house.sweeper.run_once()
        assert len(await promoted(house)) == CONSOLIDATE_SESSIONS + 6
        assert events_kept(house) == 0

    async def test_a_consolidation_that_cannot_work_is_waited_for_and_not_for_ever(self, build: Build) -> None:
        broken = AbsentEmbedder(ModelUnavailable("no model"))
        house = build()
        await say(house, "remember that I want short answers")
        house.clock.advance(3 * DAY_US)
        house.consolidator._embedder = house.remember._embedder = broken
        for _ in range(CONSOLIDATE_GRACE_US // SWEEP_GAP_US):
            await house.sweeper.run_once()
            house.clock.advance(SWEEP_GAP_US - SECOND_US)
        assert events_kept(house) == 1, "its grace began when the sweeps did"
        house.clock.advance(3 * DAY_US)  # the machine sleeps, the daemon with it
        await house.sweeper.run_once()
        assert events_kept(house) == 1, "and begins anew"
        for _ in range(CONSOLIDATE_GRACE_US // SWEEP_GAP_US + 2):
            house.clock.advance(SWEEP_GAP_US - SECOND_US)
            await house.sweeper.run_once()
        assert events_kept(house) == 0


async def test_a_round_that_ended_with_a_full_page_begins_anew_at_once(house: House) -> None:
    for n in range(CONSOLIDATE_SESSIONS):
        await say(house, f"remember that room {n} is taken", scope=Scope("ns", "ada", "", f"s{n}"))
    assert await house.consolidator.promote_once() == CONSOLIDATE_SESSIONS
    assert house.consolidator.more("promote"), "as far as it can tell"
    await say(house, "remember that I prefer tea", scope=Scope("ns", "ada", "", "s0"))
    assert await house.consolidator.promote_once() == 1
    assert not house.consolidator.more("promote")
    assert await house.consolidator.promote_once() == 0


class TestOneSessionThatFails:
    @staticmethod
    async def _said(house: House) -> None:
        for n in range(3):
            await say(house, f"remember that room {n} is taken", scope=Scope("ns", "ada", "", f"s{n}"))

    @staticmethod
    def _fail_in(house: House, session_id: str, error: Exception) -> None:
        since = house.stores.marks.since

        async def fail(session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
            if session.scope.session_id == session_id:
                raise error
            return await since(session, position, limit)

        house.stores.marks.since = fail  # type: ignore[method-assign]

    async def test_does_not_keep_the_others_of_its_round(self, house: House) -> None:
        await self._said(house)
        self._fail_in(house, "s0", Corruption("a row cannot be read"))
        assert await house.consolidator.promote_once() == 2
        assert sorted(await promoted(house)) == ["remember that room 1 is taken", "remember that room 2 is taken"]

    async def test_with_an_error_of_the_program_keeps_them_for_a_round(self, house: House) -> None:
        await self._said(house)
        self._fail_in(house, "s1", ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await house.consolidator.promote_once()
        assert await house.consolidator.promote_once() == 1
        assert sorted(await promoted(house)) == ["remember that room 0 is taken", "remember that room 2 is taken"]
        house.clock.advance(3 * DAY_US)
        await house.sweeper.run_once()
        assert events_kept(house) == 3, "the sweep goes on, and spares what waits"


class TestForget:
    async def test_takes_digests_and_promoted_memories_and_they_are_not_made_again(self, house: House) -> None:
        await say(house, "remember that my sister lives in Lyon", decision("We meet in Lyon"))
        await house.consolidator.promote_once()
        await house.sessions.end(SCOPE)
        await house.consolidator.digest_once()
        assert len(await stored(house)) == 3
        await house.forget.forget(Scope("ns", "ada"), everything=True, writer="ada")
        assert await house.consolidator.promote_once() + await house.consolidator.digest_once() == 0
        assert await stored(house, invalid=True) == []
        assert "Lyon" not in (await house.ask("Lyon", OTHER)).context

    async def test_nothing_comes_back_of_a_session_whose_forget_is_half_done(self, house: House) -> None:
        await say(house, "remember that my sister lives in Lyon")
        stop = house.stores.sessions.forget

        async def crash(*args: object, **more: object) -> dict[str, int]:
            raise asyncio.CancelledError

        house.stores.sessions.forget = crash  # type: ignore[method-assign]
        try:
            await house.forget.forget(Scope("ns", "ada"), everything=True, writer="ada")
        except asyncio.CancelledError:
            house.stores.sessions.forget = stop  # type: ignore[method-assign]
        assert await house.consolidator.promote_once() == 0
        assert await stored(house) == []
        assert await house.forget.resume() == 1
        assert await house.consolidator.promote_once() == 0

    async def test_races_with_consolidation_and_wins(self, house: House) -> None:
        for n in range(20):
            scope = Scope("ns", f"user{n}", "", "s")
            await say(house, "remember that my sister lives in Lyon", scope=scope)
            work = asyncio.ensure_future(house.consolidator.promote_once())
            for _ in range(n):
                await asyncio.sleep(0)
            await house.forget.forget(Scope("ns", f"user{n}"), everything=True, writer="x")
            await work
            await house.consolidator.promote_once()
            assert await stored(house, Scope("ns", f"user{n}"), invalid=True) == []


async def test_the_filter_can_still_list_digests(house: House) -> None:
    await say(house, "a word about Lyon")
    await house.sessions.end(SCOPE)
    await house.consolidator.digest_once()
    page = await house.remember.list(OTHER, Compare("eq", "source", "digest"), size=9)
    assert len(page.items) == 1


async def test_a_clock_that_goes_back_an_hour_breaks_nothing(house: House) -> None:
    await say(house, "remember that I prefer tea")
    house.clock.advance(-3_600_000_000)
    await house.consolidator.promote_once()
    await say(house, "remember that I prefer trains")
    await house.consolidator.promote_once()
    assert len(await promoted(house)) == 2
