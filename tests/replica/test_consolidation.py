"""Two sidecars that consolidate the same sessions, and three days in which nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from memd.adapters.redis import keys
from memd.domain.errors import StoreBusy
from memd.domain.model import Event, EventKind, Memory, Scope
from memd.limits import CONSOLIDATE_LEASE_US, DAY_US, DIGEST_EVENTS, HOUR_US, REDIS_GRACE_US, REDIS_WAITING_US
from memd.ports import Mark, Summarizer, Summary, SummaryRequest
from memd.service.observe import UNSCORED
from tests.contract.conftest import ManualClock
from tests.replica.conftest import OpenPod
from tests.replica.pod import ADA, Pod
from tests.servers.redis import RedisServer

OTHER = replace(ADA, session_id="s47")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def decision(content: str) -> Event:
    return Event("", EventKind.DECISION, content, role="assistant", importance=UNSCORED)


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"we moved service number {n} to the new cluster" for n in range(start, start + count)]


class Held:
    """A summarizer that waits before it answers: as a process that is stopped there."""

    def __init__(self, summarizer: Summarizer) -> None:
        self._summarizer = summarizer
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def summarize(self, request: SummaryRequest) -> Summary:
        self.reached.set()
        await self.go_on.wait()
        return await self._summarizer.summarize(request)

    async def close(self) -> None:
        await self._summarizer.close()


async def told(pod: Pod) -> tuple[Memory, int]:
    """The digest, and how many events it links to."""
    (digest,) = await pod.digests()
    return digest, len(digest.event_ids)


class TestOneAtATime:
    async def test_by_a_lease_that_is_given_back_at_the_end(self, open_pod: OpenPod, clock: ManualClock) -> None:
        one, other = await open_pod("one", clock), await open_pod("other", clock)
        await one.say("remember that room 1 is taken")
        assert await one.consolidator.promote_once() == 1
        await other.say("remember that room 2 is taken")
        assert await other.consolidator.promote_once() == 0, "the other one is at it"
        assert await one.consolidator.promote_once() == 1
        await other.say("remember that room 3 is taken")
        await one.consolidator.close()
        assert await other.consolidator.promote_once() == 1
        assert len(await other.stored()) == 3

    async def test_and_after_a_fall_the_next_one_goes_on(self, open_pod: OpenPod, clock: ManualClock) -> None:
        one, other = await open_pod("one", clock), await open_pod("other", clock)
        await one.say("remember that room 1 is taken")
        assert await one.consolidator.promote_once() == 1
        await other.say("remember that room 2 is taken")
        clock.advance(CONSOLIDATE_LEASE_US)
        assert await other.consolidator.promote_once() == 1
        await one.say("remember that room 3 is taken")
        assert await one.consolidator.promote_once() == 0, "it asks anew, and is not the holder any more"

    async def test_namespaces_are_shared_out(self, open_pod: OpenPod, clock: ManualClock) -> None:
        one, other = await open_pod("one", clock), await open_pod("other", clock)
        await one.say("remember that room 1 is taken")
        assert await one.consolidator.promote_once() == 1
        await one.say("remember that room 2 is taken")
        await one.say("remember that room 2 is taken", scope=Scope("elsewhere", "ada", "", "s"))
        await one.marks.unpromoted(9)  # tells
        assert await other.consolidator.promote_once() == 1
        assert await one.consolidator.promote_once() == 1


class TestOneThatOutsleptItsLease:
    async def test_does_not_put_an_older_digest_in_the_place_of_a_newer_one(
        self, open_pod: OpenPod, clock: ManualClock
    ) -> None:
        one, other = await open_pod("one", clock), await open_pod("other", clock)
        held = Held(one.consolidator.digests._summarizer)
        one.consolidator.digests._summarizer = held
        await one.say(*numbered(DIGEST_EVENTS))
        asleep = asyncio.ensure_future(one.consolidator.digest_once())
        await held.reached.wait()
        clock.advance(CONSOLIDATE_LEASE_US)
        await one.say(*numbered(DIGEST_EVENTS, DIGEST_EVENTS))
        assert await other.consolidator.digest_once() == 1
        before = await told(other)
        assert before[1] == 2 * DIGEST_EVENTS
        held.go_on.set()
        assert await asleep == 0
        assert await told(other) == before
        assert (await one.marks.undigested(9, events=1, idle_us=0, expires_us=0)).sessions == ()

    async def test_does_not_store_an_event_twice(self, open_pod: OpenPod, clock: ManualClock) -> None:
        one, other = await open_pod("one", clock), await open_pod("other", clock)
        await one.say("remember that room 1 is taken")
        page = await one.consolidator.due("promote")
        clock.advance(CONSOLIDATE_LEASE_US)
        assert await other.consolidator.promote_once() == 1
        (before,) = await other.stored()
        clock.advance(CONSOLIDATE_LEASE_US)
        await one.consolidator._turn("promote", page.sessions)
        assert await other.stored() == [before]


async def test_a_fall_between_a_digest_and_its_mark_tells_nothing_twice(open_pod: OpenPod, clock: ManualClock) -> None:
    pod = await open_pod("one", clock)
    await pod.say(*numbered(DIGEST_EVENTS))
    mark = pod.marks.mark

    async def fall(promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        raise StoreBusy("killed")

    pod.marks.mark = fall  # type: ignore[method-assign]
    with pytest.raises(StoreBusy):
        await pod.consolidator.digest_once()
    pod.marks.mark = mark  # type: ignore[method-assign]
    before = await told(pod)
    assert [await pod.consolidator.digest_once() for _ in range(2)] == [1, 0], (
        "nobody is behind the one that failed: it is marked"
    )
    assert await told(pod) == before
    await pod.say("and the last one")
    await pod.ends.end(ADA)
    assert await pod.consolidator.digest_once() == 1
    assert (await told(pod))[1] == DIGEST_EVENTS + 1


class TestThreeDaysInWhichNothingRan:
    async def test_the_digest_and_the_decisions_are_there(self, open_pod: OpenPod, clock: ManualClock) -> None:
        pod = await open_pod("day 0", clock)
        for text in numbered(60):
            await pod.say(text)
        await pod.say(decision("We keep Postgres 16 until the audit is over"), "remember that I want short answers")
        clock.advance(3 * DAY_US)  # it was killed before anything was consolidated, or told
        pod = await open_pod("day 3", clock)
        assert (await pod.ends.list(replace(ADA, session_id=""), size=9)).items == (), "the session has expired"
        await pod.sweeper.run_once()
        while await pod.sweeper.run_once():
            clock.advance(HOUR_US)
        reply = await pod.ask("which Postgres do we keep?", OTHER)
        recent = reply.context.split("## Recent context")[1]
        assert "We keep Postgres 16 until the audit is over" in recent
        contents = [one.content for one in await pod.stored()]
        assert sorted(contents)[:1] == ["We keep Postgres 16 until the audit is over"]
        assert "remember that I want short answers" in contents
        assert len(contents) == 3

    async def test_keys_wait_a_week_for_it_and_then_as_long_as_others(
        self, open_pod: OpenPod, clock: ManualClock, redis_server: RedisServer
    ) -> None:
        pod = await open_pod("one", clock)
        await pod.say("remember that I want short answers")
        meta, events, _ = keys.session_keys(ADA)
        longest_ms = (DAY_US + REDIS_WAITING_US) // 1_000
        for key in (meta, events):
            assert longest_ms - HOUR_US // 1_000 < redis_server.send("PTTL", key) <= longest_ms
        await pod.ends.end(ADA)
        assert await pod.consolidate() == 2
        longest_ms = (DAY_US + REDIS_GRACE_US) // 1_000
        for key in (meta, events):
            assert 0 < redis_server.send("PTTL", key) <= longest_ms
        await pod.say("and good night")
        assert redis_server.send("PTTL", events) > longest_ms
