"""The merge job over real parts: what says the same becomes one valid memory, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from memd.adapters.embed_onnx import AbsentEmbedder
from memd.domain.errors import ModelUnavailable
from memd.domain.model import Memory, Scope
from memd.limits import MERGE_AFTER_US, MERGE_ROWS
from memd.service.jobs import Ran
from tests.domain.test_restatement import DIFFERENT, SAME
from tests.service.conftest import Build, House
from tests.service.writing import draft, learn

ADA = Scope("ns", "ada")


async def memories(house: House, *, invalid: bool = False, scope: Scope = ADA) -> dict[str, Memory]:
    page = await house.remember.list(scope, None, include_invalid=invalid, size=999)
    return {memory.memory_id: memory for memory in page.items}


async def told(house: House, *said: tuple[str, str], scope: Scope = ADA) -> None:
    """One after the other, long ago enough."""
    for memory_id, content in said:
        await learn(house, draft(content, memory_id=memory_id), scope=scope)
    house.clock.advance(MERGE_AFTER_US + 1)


@pytest.mark.parametrize("pair", SAME, ids=lambda pair: pair[0])
async def test_what_says_the_same_is_superseded_by_the_newer(house: House, pair: tuple[str, str]) -> None:
    await told(house, ("old", pair[0]), ("new", pair[1]))
    assert await house.duplicates.run_once() == Ran(1, 1)
    (valid,) = (await memories(house)).values()
    assert (valid.memory_id, valid.supersedes) == ("new", "old")
    older = (await memories(house, invalid=True))["old"]
    assert (older.superseded_by, older.content, older.version) == ("new", pair[0], 2)


async def test_what_says_something_else_stays(house: House) -> None:
    for n, (one, other) in enumerate(DIFFERENT):
        await told(house, (f"a{n}", one), (f"b{n}", other), scope=Scope("ns", f"user {n}"))
    assert await house.duplicates.run_once() == Ran(0, 0)


async def test_it_is_reversible_and_what_was_valid_then_still_was(house: House) -> None:
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"))
    before_us = house.clock.now_us()
    await house.duplicates.run_once()
    then = await house.remember.list(ADA, None, as_of_us=before_us, size=9)
    assert {memory.memory_id for memory in then.items} == {"old", "new"}
    reply = await house.ask("what does Ada drink?", ADA)
    assert [memory.memory_id for memory, _ in reply.memories] == ["new"]
    await house.remember.restore(ADA, "old", 1, writer="ada")
    assert set(await memories(house)) == {"old", "new"}
    older = (await memories(house))["old"]
    assert (older.valid_to, older.superseded_by) == (None, "")


async def test_of_many_the_newest_stays_and_nothing_is_done_twice(house: House) -> None:
    await told(house, *[(f"m{n}", f"Ada prefers tea{'!' * n}") for n in range(5)])
    duplicates = house.duplicates
    assert await duplicates.run_once() == Ran(4, 4)
    after = await memories(house, invalid=True)
    assert [after[f"m{n}"].superseded_by for n in range(5)] == ["m4"] * 4 + [""]
    assert await duplicates.run_once() == Ran(0, 0)
    assert await house.duplicates.run_once() == Ran(0, 0), "nor after a restart"
    assert await memories(house, invalid=True) == after


async def test_a_dry_run_names_the_pairs_and_changes_nothing(house: House) -> None:
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"), ("x", "Ada prefers coffee"))
    before = await memories(house)
    assert await house.lifecycle.run("merge", dry_run=True, namespace="ns") == Ran(1, 0, ("old new",))
    assert await memories(house) == before


async def test_users_agents_and_namespaces_are_never_mixed(house: House) -> None:
    for scope in (ADA, Scope("ns", "eve"), Scope("other", "ada"), Scope("ns")):
        await learn(house, draft("Ada prefers tea", memory_id=f"{scope.namespace}{scope.user_id}"), scope=scope)
    agents = Scope("ns", "ada", "helper")
    await learn(house, draft("Ada prefers tea", memory_id="private"), scope=agents, agent_private=True)
    house.clock.advance(MERGE_AFTER_US + 1)
    assert await house.duplicates.run_once() == Ran(0, 0)


async def test_what_was_stored_just_now_has_its_turn_later(house: House) -> None:
    await learn(house, draft("Ada prefers tea", memory_id="old"))
    await learn(house, draft("ada prefers tea", memory_id="new"))
    duplicates = house.duplicates
    assert await duplicates.run_once() == Ran(0, 0)
    house.clock.advance(MERGE_AFTER_US + 1)
    assert (await duplicates.run_once()).changed == 1


async def test_a_walk_goes_on_page_by_page_and_ends(house: House) -> None:
    many = [draft(f"thing number {n} is on shelf {n * 7}", memory_id=f"t{n}") for n in range(MERGE_ROWS // 2)]
    await told(house, ("old", "Ada prefers tea"))
    for part in range(3):
        await learn(house, *[draft(f"{one.memory.content}, row {part}") for one in many])
    await told(house, ("new", "Ada prefers tea."))
    duplicates = house.duplicates
    assert [(await duplicates.run_once()).changed for _ in range(3)] == [1, 0, 0]


async def test_a_memory_changed_meanwhile_is_left_alone(house: House) -> None:
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"))
    duplicates = house.duplicates
    page = list((await memories(house)).values())
    pairs = await duplicates._pairs("ns", page)
    await house.remember.update(ADA, "old", {"content": "Ada prefers gin"}, writer="ada")
    fence = await house.stores.memories.fence("ns")
    assert await duplicates._merge_all("ns", pairs, fence) == 0
    assert set(await memories(house)) == {"old", "new"}


async def test_forgotten_meanwhile_it_does_not_come_back(house: House) -> None:
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"))
    duplicates = house.duplicates
    fence = await house.stores.memories.fence("ns")
    pairs = await duplicates._pairs("ns", list((await memories(house)).values()))
    await house.forget.forget(ADA, everything=True, writer="ada")
    assert await duplicates._merge_all("ns", pairs, fence) == 0
    assert await memories(house, invalid=True) == {}


async def test_two_daemons_at_once_come_to_the_same(house: House) -> None:
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"))
    ran = await asyncio.gather(house.duplicates.run_once(), house.duplicates.run_once())
    assert sum(one.changed for one in ran) == 1
    assert set(await memories(house)) == {"new"}


async def test_without_a_model_it_waits(build: Build) -> None:
    house = build()
    await told(house, ("old", "Ada prefers tea"), ("new", "ada prefers tea!"))
    house = build(instead=AbsentEmbedder(ModelUnavailable("none")))
    assert await house.duplicates.run_once() == Ran(0, 0)
    assert set(await memories(house)) == {"old", "new"}
