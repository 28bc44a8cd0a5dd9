"""Forget: gone from every tier, nothing of anybody else's, with an honest receipt, also across a crash."""

from __future__ import annotations

import pytest

from memd.domain.errors import InvalidArgument, NotFound, PermissionDenied
from memd.domain.filters import Compare
from memd.domain.model import Scope
from memd.domain.visibility import forgettable
from memd.limits import HOUR_US
from memd.ports import ForgetPlan, SearchOptions
from tests.service.conftest import SCOPE, Build, House
from tests.service.writing import draft, learn, request, say

ADA, BOB = Scope("ns", "ada"), Scope("ns", "bob")
KEEP_ALL = SearchOptions(100, trim_ratio=0.0)


async def furnish(house: House, user: str) -> None:
    """Two agents, two sessions, memories, a procedure each and a shared one."""
    for agent in ("a1", "a2"):
        scope = Scope("ns", user, agent, f"s-{agent}")
        await learn(house, f"tea fact of {user} by {agent}", scope=scope, agent_private=True)
        await say(house, "turn one", "turn two", scope=scope)
        await house.procedures.put(scope, f"key-{agent}", "make tea", "steps", {}, agent_private=True, writer="t")
    await learn(house, f"tea fact of {user}", scope=Scope("ns", user, "", "s0"))
    await house.procedures.put(Scope("ns", user), "shared", "make tea", "steps", {}, writer="t")
    await house.checkpoints.save("ns", f"task-{user}", b"state")


async def left(house: House, user: str, agent: str) -> tuple[set[str], int, set[str]]:
    scope = Scope("ns", user, agent, f"s-{agent}")
    reply = await house.ask("make tea", scope, limit=100, options=KEEP_ALL)
    memories = {memory.content for memory, _ in reply.memories}
    return memories, len(reply.working), {procedure.key for procedure, _ in reply.procedures}


async def everything_of(house: House, user: str) -> bool:
    for agent in ("a1", "a2"):
        memories = {f"tea fact of {user}", f"tea fact of {user} by {agent}"}
        if await left(house, user, agent) != (memories, 2, {f"key-{agent}", "shared"}):
            return False
    return True


async def test_by_ids(house: House) -> None:
    await furnish(house, "ada")
    await furnish(house, "bob")
    mine = [memory.memory_id for memory in (await house.remember.list(ADA, None, size=10)).items]
    theirs = [memory.memory_id for memory in (await house.remember.list(BOB, None, size=10)).items]
    assert len(mine) == len(theirs) == 1
    written = await house.forget.forget(ADA, memory_ids=[*mine, *theirs, "unknown"], writer="test")
    assert written.value.counts["memories"] == 1
    with pytest.raises(NotFound):
        await house.remember.get(ADA, mine[0])
    assert await everything_of(house, "bob")


async def test_by_filter_also_what_is_superseded_or_expired(house: House) -> None:
    old = await learn(house, draft("tea, old", tags=("drink",)))
    await learn(house, draft("tea, new", tags=("drink",), supersedes=old.value[0].memory_id))
    await learn(house, draft("tea, for an hour", tags=("drink",), ttl_us=HOUR_US), draft("tea, other", tags=("food",)))
    await learn(house, draft("tea of bob", tags=("drink",)), scope=BOB)
    house.clock.advance(HOUR_US)
    written = await house.forget.forget(SCOPE, filter=Compare("eq", "tags", "drink"), writer="test")
    assert written.value.counts["memories"] == 3
    assert {m.content for m in (await house.remember.list(ADA, None, include_invalid=True, size=10)).items} == {
        "tea, other"
    }
    assert len((await house.remember.list(BOB, None, size=10)).items) == 1


async def test_everything_of_a_user(house: House) -> None:
    await furnish(house, "ada")
    await furnish(house, "bob")
    written = await house.forget.forget(ADA, everything=True, task_ids=["task-ada"], writer="test")
    counts = written.value.counts
    assert {name: counts[name] for name in ("memories", "procedures", "sessions", "events", "checkpoints")} == {
        "memories": 3,
        "procedures": 3,
        "sessions": 2,
        "events": 4,
        "checkpoints": 1,
    }
    for agent in ("a1", "a2"):
        assert await left(house, "ada", agent) == (set(), 0, set())
    with pytest.raises(NotFound):
        await house.checkpoints.load("ns", "task-ada")
    assert await everything_of(house, "bob")
    assert (await house.checkpoints.load("ns", "task-bob")).state == b"state"
    assert (await house.admin.verify("ns")).ok


async def test_everything_of_one_agent_leaves_what_is_shared(house: House) -> None:
    await furnish(house, "ada")
    await house.forget.forget(Scope("ns", "ada", "a1"), everything=True, writer="test")
    assert await left(house, "ada", "a1") == ({"tea fact of ada"}, 0, {"shared"})
    assert (await left(house, "ada", "a2"))[1] == 2


async def test_everything_of_one_session_leaves_procedures_and_other_sessions(house: House) -> None:
    await furnish(house, "ada")
    written = await house.forget.forget(Scope("ns", "ada", "a1", "s-a1"), everything=True, writer="test")
    assert (written.value.counts["memories"], written.value.counts["sessions"]) == (1, 1)
    assert await left(house, "ada", "a1") == ({"tea fact of ada"}, 0, {"key-a1", "shared"})


async def test_everything_of_everybody(house: House) -> None:
    await furnish(house, "ada")
    await furnish(house, "bob")
    await learn(house, "elsewhere", scope=Scope("other", "ada"))
    await house.forget.forget(Scope("ns"), everything=True, all_users=True, writer="test")
    stats = await house.admin.stats("ns")
    assert (stats.memories, stats.procedures, stats.sessions, stats.events, stats.checkpoints) == (0, 0, 0, 0, 0)
    assert stats.index_entries == 0
    assert (await house.admin.stats("other")).memories == 1


async def test_a_dry_run_counts_the_same_and_deletes_nothing(house: House) -> None:
    await furnish(house, "ada")
    for scope, all_users in ((ADA, False), (Scope("ns"), True)):
        what = {"everything": True, "all_users": all_users, "task_ids": ["task-ada"], "writer": "test"}
        dry = await house.forget.forget(scope, dry_run=True, **what)  # type: ignore[arg-type]
        assert dry.value.dry_run
        assert await everything_of(house, "ada")
        real = await house.forget.forget(scope, **what)  # type: ignore[arg-type]
        assert dict(real.value.counts) == dict(dry.value.counts)
        assert real.value.counts["checkpoints"] == 1
        await furnish(house, "ada")


async def test_the_receipt_says_what_is_out_of_reach(house: House) -> None:
    await learn(house, "x")
    receipt = (await house.forget.forget(SCOPE, everything=True, writer="test")).value
    assert any("backups" in text for text in receipt.out_of_reach)
    assert receipt.receipt_id
    assert not receipt.dry_run


async def test_a_retry_returns_the_same_receipt(house: House) -> None:
    await furnish(house, "ada")
    first = await house.forget.forget(ADA, everything=True, writer="test", request=request("r1"))
    await furnish(house, "ada")
    again = await house.forget.forget(ADA, everything=True, writer="test", request=request("r1"))
    assert again.replayed
    assert again.value == first.value
    assert await everything_of(house, "ada"), "what was said after the first Forget stays"


async def test_a_crash_between_the_stores_is_finished_at_the_next_start(build: Build) -> None:
    house = build()
    await furnish(house, "ada")
    await furnish(house, "bob")
    plan = ForgetPlan(ADA, forgettable(ADA), everything=True, task_ids=("task-ada",))
    await house.stores.memories.forget(plan, writer="test", request=None)
    house = build()
    assert (await left(house, "ada", "a1"))[1] == 2, "the sessions are not yet gone"
    assert await house.forget.resume() == 1
    assert await left(house, "ada", "a1") == (set(), 0, set())
    with pytest.raises(NotFound):
        await house.checkpoints.load("ns", "task-ada")
    assert await everything_of(house, "bob")
    assert await house.forget.resume() == 0


async def test_what_to_forget_is_said_in_exactly_one_way(house: House) -> None:
    where = Compare("eq", "tags", "x")
    for bad in ({}, {"memory_ids": ["m"], "everything": True}, {"filter": where, "everything": True}):
        with pytest.raises(InvalidArgument):
            await house.forget.forget(SCOPE, writer="test", **bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        await house.forget.forget(Scope("ns"), filter=where, all_users=True, writer="test")
    with pytest.raises(PermissionDenied):
        await house.forget.forget(ADA, everything=True, all_users=True, writer="test")
