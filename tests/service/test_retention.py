"""Retention through the use cases: what may be set, what goes, and in which turn."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import pytest

from memd.domain.errors import ConfirmationNeeded, InvalidArgument, NotFound
from memd.domain.model import Memory, NamespaceSettings, NewMemory, Scope
from memd.limits import DAY_US, HOUR_US, RETENTION_ROUNDS, RETENTION_ROWS, SECOND_US
from memd.ports import Retention
from memd.service.jobs import Ran, WhatIf
from memd.service.remember import Draft
from memd.service.retention import RetentionService
from tests.service.conftest import SCOPE, House
from tests.service.writing import draft, learn

VECTOR = struct.pack("<384f", 1.0, *[0.0] * 383)


async def remember(house: House, *contents: str, scope: Scope = SCOPE, pinned: bool = False, step_us: int = 1) -> None:
    for content in contents:
        house.clock.advance(step_us)
        memory = Memory(memory_id=content, scope=scope, content=content, pinned=pinned)
        await house.remember.remember(scope, [Draft(memory)], writer="w")


async def plant(house: House, namespace: str, count: int) -> None:
    """Memories with an embedding of no meaning: many of them are quick to store."""
    for start in range(0, count, 256):
        names = [f"{namespace}-{n}" for n in range(start, min(start + 256, count))]
        scope = Scope(namespace, "ada")
        drafts = [NewMemory(Memory(memory_id=name, scope=scope, content=name), (VECTOR,)) for name in names]
        fence = await house.stores.memories.fence(namespace)
        await house.stores.memories.remember(namespace, drafts, fence=fence, writer="w", request=None)


async def keep(house: House, settings: NamespaceSettings, namespace: str = "ns", *, confirmed: bool = False) -> None:
    await house.admin.update_settings(namespace, settings, writer="w", confirmed=confirmed)


async def left(house: House, namespace: str = "ns") -> int:
    return (await house.admin.stats(namespace)).memories


async def test_what_goes_is_recalled_no_more(house: House) -> None:
    await remember(house, "the oak is old", "the elm is tall", "the ash is thin")
    await keep(house, NamespaceSettings(retention_max_count=2))
    assert await house.lifecycle.run("retention", dry_run=False) == Ran(1, 1)
    for name, there in (("the oak is old", False), ("the elm is tall", True), ("the ash is thin", True)):
        found = {memory.memory_id for memory, _ in (await house.ask(name)).memories}
        assert (name in found) == there
    with pytest.raises(NotFound):
        await house.remember.update(SCOPE, "the oak is old", {"importance": 1.0}, writer="w")
    assert (await house.admin.verify("ns")).ok
    assert await house.lifecycle.run("retention", dry_run=False) == Ran(0, 0)


async def test_a_dry_run_tells_how_many_and_which(house: House) -> None:
    await remember(house, "one", "two", "three")
    await remember(house, "four", pinned=True)
    await keep(house, NamespaceSettings(retention_max_count=3))
    what_if = WhatIf(NamespaceSettings(retention_max_count=1))
    for _ in range(2):
        assert await house.lifecycle.run("retention", dry_run=True, namespace="ns") == Ran(0, 0)
        found = await house.lifecycle.run("retention", dry_run=True, namespace="ns", what_if=what_if)
        assert found == Ran(2, 0, ("one", "two"))
    everything = WhatIf(NamespaceSettings(retention_max_age_us=1, retention_keep_if_pinned=False))
    found = await house.lifecycle.run("retention", dry_run=True, namespace="ns", what_if=everything)
    assert found == Ran(4, 0, ("one", "two", "three", "four"))
    assert await house.lifecycle.run("retention", dry_run=True, namespace="other", what_if=everything) == Ran(0, 0)
    assert await left(house) == 4
    with pytest.raises(InvalidArgument, match="dry run of retention"):
        await house.lifecycle.run("retention", dry_run=False, what_if=what_if)


async def test_a_policy_that_takes_too_much_has_to_be_confirmed(house: House) -> None:
    await remember(house, *(f"fact {n}" for n in range(10)))
    await keep(house, NamespaceSettings(retention_max_count=5))
    for policy, going in (
        (NamespaceSettings(retention_max_count=4), "6 of 10"),
        (NamespaceSettings(retention_max_age_us=SECOND_US), "10 of 10"),
    ):
        house.clock.advance(DAY_US)
        with pytest.raises(ConfirmationNeeded, match=f"would delete {going} memories"):
            await keep(house, policy)
    assert (await house.admin.settings("ns")).retention_max_count == 5
    await keep(house, NamespaceSettings(checkpoint_history=3))  # a policy that is there is not asked for again
    await keep(house, NamespaceSettings(retention_max_age_us=SECOND_US), confirmed=True)
    assert await house.lifecycle.run("retention", dry_run=False) == Ran(10, 10)
    assert await left(house) == 0


async def test_a_namespace_without_memories_takes_any_policy(house: House) -> None:
    await keep(house, NamespaceSettings(retention_max_age_us=SECOND_US, retention_max_count=1))
    with pytest.raises(InvalidArgument, match="retention_max_count"):
        await keep(house, NamespaceSettings(retention_max_count=0))


async def test_a_large_namespace_leaves_small_ones_their_turn(house: House) -> None:
    """Every round goes once through all of them: the small ones are done after the first."""
    rounds = RETENTION_ROUNDS + 4
    small = [f"small-{n}" for n in range(20)]
    await plant(house, "huge", rounds * RETENTION_ROWS)
    for namespace in small:
        await plant(house, namespace, 3)
    for namespace in ("huge", *small):
        await keep(house, NamespaceSettings(retention_max_count=1), namespace, confirmed=True)
    taken = RETENTION_ROUNDS * RETENTION_ROWS
    assert await house.retention.run_once() == Ran(rounds * RETENTION_ROWS - 1 + 40, taken + 40)
    assert [await left(house, namespace) for namespace in small] == [1] * 20
    assert await left(house, "huge") == rounds * RETENTION_ROWS - taken
    while (await house.retention.run_once()).changed:
        pass
    assert await left(house, "huge") == 1


async def test_each_page_of_namespaces_has_its_turn(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memd.service.retention.RETENTION_NAMESPACES", 3)
    monkeypatch.setattr("memd.service.retention.RETENTION_ROUNDS", 1)
    names = [f"n{n}" for n in range(8)]
    for name in names:
        await plant(house, name, 3)
        await keep(house, NamespaceSettings(retention_max_count=1), name, confirmed=True)
    for done in (3, 6, 8):
        await house.retention.run_once()
        assert [await left(house, name) for name in names] == [1] * done + [3] * (8 - done)


class Failing:
    """Retention that cannot delete in one namespace."""

    def __init__(self, inner: Retention, namespace: str) -> None:
        self.policies, self.surplus = inner.policies, inner.surplus
        self._inner, self._namespace = inner, namespace

    async def retire(self, namespace, outdated, *, writer):  # type: ignore[no-untyped-def]
        if namespace == self._namespace:
            raise NotFound("the test says so")
        return await self._inner.retire(namespace, outdated, writer=writer)


async def test_one_that_fails_does_not_keep_those_behind_it_from_theirs(house: House) -> None:
    for name in ("a", "b", "c"):
        await plant(house, name, 3)
        await keep(house, NamespaceSettings(retention_max_count=1), name, confirmed=True)
    job = RetentionService(Failing(house.stores.retention, "b"), house.stores.leases, "test")
    with pytest.raises(NotFound):
        await job.run_once()
    assert (await job.run_once()).changed == 2, "it begins behind the one that failed"
    with pytest.raises(NotFound):
        await job.run_once()
    assert [await left(house, name) for name in ("a", "b", "c")] == [1, 3, 1]


async def test_one_daemon_at_a_time(house: House) -> None:
    await plant(house, "a", 3)
    await keep(house, NamespaceSettings(retention_max_count=1), "a", confirmed=True)
    other = RetentionService(house.stores.retention, house.stores.leases, "other")
    assert await house.retention.run_once() == Ran(2, 2)
    await plant(house, "a", 5)
    assert await other.run_once() == Ran(0, 0), "the first one's lease lives"
    house.clock.advance(HOUR_US)
    assert (await other.run_once()).changed == 4


async def test_two_at_once_take_no_more_than_one(house: House) -> None:
    await plant(house, "a", 300)
    await keep(house, NamespaceSettings(retention_max_count=100), "a", confirmed=True)
    same = [RetentionService(house.stores.retention, house.stores.leases, "test") for _ in range(4)]
    await asyncio.gather(*(one.run_once() for one in same))
    assert await left(house, "a") == 100


async def test_a_policy_that_changes_while_it_works_is_followed(house: House) -> None:
    await plant(house, "a", 10)
    await keep(house, NamespaceSettings(retention_max_count=20), "a")
    assert await house.retention.run_once() == Ran(0, 0)
    await keep(house, NamespaceSettings(retention_max_count=8), "a")
    assert await house.retention.run_once() == Ran(2, 2)
    await plant(house, "a", 11)
    assert await house.retention.run_once() == Ran(3, 3), "new memories are counted"
    house.clock.advance(DAY_US)
    await keep(house, NamespaceSettings(retention_max_age_us=HOUR_US), "a", confirmed=True)
    assert await house.retention.run_once() == Ran(8, 8)


async def test_a_clock_that_goes_back_deletes_nothing_early(house: House) -> None:
    await remember(house, "one", "two", step_us=HOUR_US)
    await keep(house, NamespaceSettings(retention_max_age_us=2 * HOUR_US))
    house.clock.advance(-HOUR_US)
    await remember(house, "three")
    for _ in range(3):
        assert await house.lifecycle.run("", dry_run=False) == Ran(0, 0)
        house.clock.advance(HOUR_US // 2)
    house.clock.advance(HOUR_US)
    assert await house.retention.run_once() == Ran(2, 2), "those are too old by now"
    assert await left(house) == 1


async def test_a_ttl_shorter_than_the_period_of_the_sweep(house: House) -> None:
    """Out of sight at once, deleted when the sweep comes."""
    scope = replace(SCOPE, session_id="")
    await learn(house, draft("the kettle is on", ttl_us=SECOND_US), scope=scope)
    house.clock.advance(SECOND_US)
    assert (await house.ask("kettle", scope)).memories == ()
    assert await left(house) == 0
    assert (await house.admin.verify("ns")).rows == 1, "the row is still there"
    assert (await house.lifecycle.run("sweep", dry_run=False)).changed == 1
    assert (await house.admin.verify("ns")).rows == 0
