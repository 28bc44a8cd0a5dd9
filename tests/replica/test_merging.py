"""With the truth on Postgres: what says the same becomes one valid memory for every sidecar, whichever of them merges; and
events are told whether they were new, in Redis as on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from memd.domain.model import Memory, Scope
from memd.domain.visibility import EVERYTHING
from memd.limits import CONSOLIDATE_LEASE_US, MERGE_AFTER_US
from memd.service.jobs import Ran
from memd.service.remember import Draft
from tests.contract.conftest import ManualClock
from tests.replica.conftest import OpenPod
from tests.replica.pod import ADA, Pod

OLD, NEW = "Ada prefers tea", "ada prefers tea!"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def pods(open_pod: OpenPod, clock: ManualClock) -> Sequence[Pod]:
    return [await open_pod("one", clock), await open_pod("other", clock)]


async def told(pod: Pod, memory_id: str, content: str, user_id: str = "ada") -> None:
    memory = Memory(memory_id, Scope("ns"), content)
    await pod.remember.remember(Scope("ns", user_id), [Draft(memory)], writer="test")


async def rows(pod: Pod) -> dict[str, Memory]:
    """Every memory there is by id, also what was superseded."""
    return {one.memory_id: one for one in await pod.stored()}


def valid(found: dict[str, Memory]) -> set[str]:
    return {one.memory_id for one in found.values() if not one.superseded_by}


async def learned(pods: Sequence[Pod], clock: ManualClock) -> None:
    """The older on one, the newer on the other; long enough ago, and known to both."""
    await told(pods[0], "old", OLD)
    await told(pods[1], "new", NEW)
    await told(pods[1], "else", "Ada prefers coffee")
    await told(pods[1], "eve's", OLD, user_id="eve")
    clock.advance(MERGE_AFTER_US + 1)
    for pod in pods:
        await pod.sidecar.poll()  # what it knows is older than it may be
        assert len(await rows(pod)) == 4


async def test_what_says_the_same_is_one_memory_on_both(pods: Sequence[Pod], clock: ManualClock) -> None:
    await learned(pods, clock)
    one, other = pods
    assert await other.duplicates.run_once() == Ran(1, 1)
    for pod in pods:
        found = await rows(pod)
        assert valid(found) == {"new", "else", "eve's"}
        assert (found["new"].supersedes, found["old"].superseded_by) == ("old", "new")
        assert (await pod.sidecar.verified("ns")).ok
    assert await one.duplicates.run_once() == Ran(0, 0), "the other one has the lease"
    clock.advance(CONSOLIDATE_LEASE_US)
    assert await one.duplicates.run_once() == Ran(0, 0), "nothing is left to be done"


async def test_both_at_once_come_to_the_same(pods: Sequence[Pod], clock: ManualClock) -> None:
    await learned(pods, clock)
    ran = await asyncio.gather(*(pod.duplicates.run_once() for pod in pods))
    assert sum(one.changed for one in ran) == 1
    for pod in pods:
        found = await rows(pod)
        assert valid(found) == {"new", "else", "eve's"}
        assert found["old"].version == 2


async def test_one_that_was_paused_past_its_lease_does_no_harm(pods: Sequence[Pod], clock: ManualClock) -> None:
    """It has compared the rows; then the other one has the job, and has done it."""
    await learned(pods, clock)
    paused, other = pods
    fence = await paused.sidecar.memories.fence("ns")
    pairs = await paused.duplicates._pairs("ns", list((await rows(paused)).values()))
    assert [(older.memory_id, newer.memory_id) for older, newer in pairs] == [("old", "new")]
    assert (await other.duplicates.run_once()).changed == 1
    after = await rows(other)
    assert await paused.duplicates._merge_all("ns", pairs, fence) == 0
    assert await rows(other) == after


async def test_what_the_other_one_changed_meanwhile_is_left_alone(pods: Sequence[Pod], clock: ManualClock) -> None:
    await learned(pods, clock)
    one, other = pods
    fence = await one.sidecar.memories.fence("ns")
    pairs = await one.duplicates._pairs("ns", list((await rows(one)).values()))
    await other.remember.update(Scope("ns", "ada"), "old", {"content": "Ada prefers gin"}, writer="ada")
    assert await one.duplicates._merge_all("ns", pairs, fence) == 0
    assert valid(await rows(one)) == {"old", "new", "else", "eve's"}


async def test_what_the_other_one_forgot_meanwhile_does_not_come_back(pods: Sequence[Pod], clock: ManualClock) -> None:
    await learned(pods, clock)
    one, other = pods
    fence = await one.sidecar.memories.fence("ns")
    pairs = await one.duplicates._pairs("ns", list((await rows(one)).values()))
    await other.forget.forget(Scope("ns", "ada"), everything=True, writer="ada")
    assert await one.duplicates._merge_all("ns", pairs, fence) == 0
    for pod in pods:
        assert set(await rows(pod)) == {"eve's"}


async def test_it_is_taken_back_on_the_other_one(pods: Sequence[Pod], clock: ManualClock) -> None:
    await learned(pods, clock)
    one, other = pods
    await one.duplicates.run_once()
    await rows(other)
    await other.remember.restore(Scope("ns", "ada"), "old", 1, writer="ada")
    found = await rows(one)
    assert valid(found) == {"old", "new", "else", "eve's"}
    assert found["old"].valid_to is None


@pytest.mark.parametrize("all_on_postgres", [False, True], ids=["redis and postgres", "postgres"])
async def test_events_are_told_whether_they_were_new(
    open_pod: OpenPod, clock: ManualClock, all_on_postgres: bool
) -> None:
    """Said on one sidecar, said again in another session on the other."""
    one = await open_pod("one", clock, all_on_postgres=all_on_postgres)
    other = await open_pod("other", clock, all_on_postgres=all_on_postgres)
    said, later = "Remember that I prefer tea over coffee", replace(ADA, session_id="later")
    await one.say(said, "good morning")
    assert await one.consolidator.promote_once() == 1
    await other.stored()
    await other.say(f"{said}!", scope=later)
    clock.advance(CONSOLIDATE_LEASE_US)
    assert await other.consolidator.promote_once() == 1
    policy = await one.sidecar.policy.policy("ns")
    greeting, first = (await other.sessions.episodes(ADA, policy, kinds=frozenset(), size=9, cursor="")).items
    (again,) = (await one.sessions.episodes(later, policy, kinds=frozenset(), size=9, cursor="")).items
    assert (first.importance_reasons[-1], again.importance_reasons[-1]) == ("novel", "known")
    assert "novel" not in greeting.importance_reasons, "what becomes no memory is not compared"
    assert again.importance < first.importance
    page = await other.sidecar.memories.page("ns", EVERYTHING, size=9, cursor="")
    assert {memory.content: memory.importance for memory in page.items}[f"{said}!"] == again.importance
