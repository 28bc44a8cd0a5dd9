"""Remember, and what follows for single memories."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.domain.errors import (
    AlreadyExists,
    Forgotten,
    InvalidArgument,
    NotFound,
    RequestIdReused,
    VersionConflict,
)
from memd.domain.filters import Compare
from memd.domain.model import Memory, Scope
from memd.limits import HOUR_US, MAX_REVISIONS, MAX_WINDOWS
from memd.ports import SearchOptions
from tests.service.conftest import SCOPE, House
from tests.service.writing import draft, learn, request

AGENT = Scope("ns", "ada", "agent-1", "s1")
KEEP_ALL = SearchOptions(100, trim_ratio=0.0)


async def one(house: House, content: str = "Ada prefers tea", scope: Scope = SCOPE) -> Memory:
    written = await learn(house, content, scope=scope)
    return await house.remember.get(scope, written.value[0].memory_id)


async def contents(house: House, scope: Scope = SCOPE, query: str = "") -> set[str]:
    """What the scope sees: by listing, and where a query is given by recalling."""
    if not query:
        return {memory.content for memory in (await house.remember.list(scope, None, size=100)).items}
    return {memory.content for memory, _ in (await house.ask(query, scope, limit=100, options=KEEP_ALL)).memories}


async def test_the_same_content_is_the_same_memory(house: House) -> None:
    first = await learn(house, "Ada prefers tea")
    again = await learn(house, "Ada prefers tea")
    other_session = await learn(house, "Ada prefers tea", scope=replace(SCOPE, session_id="s2"))
    assert first.value[0].memory_id == again.value[0].memory_id == other_session.value[0].memory_id
    assert (first.value[0].created, again.value[0].created) == (True, False)
    assert again.seq == first.seq, "nothing changed"
    bob = await learn(house, "Ada prefers tea", scope=Scope("ns", "bob"))
    assert bob.value[0].memory_id != first.value[0].memory_id


async def test_an_upsert_replaces_and_grows_the_version(house: House) -> None:
    await learn(house, draft("Ada prefers tea", memory_id="drink"))
    written = await learn(house, draft("Ada prefers coffee", memory_id="drink"))
    assert (written.value[0].version, written.value[0].created) == (2, False)
    assert await contents(house, query="what does Ada drink") == {"Ada prefers coffee"}
    with pytest.raises(AlreadyExists):
        await learn(house, draft("mine now", memory_id="drink"), scope=Scope("ns", "bob"))


async def test_origin_is_the_scope_and_the_agent_only_where_private(house: House) -> None:
    shared, private = (
        await learn(house, "shared tea", scope=AGENT),
        await learn(house, "private tea", scope=AGENT, agent_private=True),
    )
    assert (await house.remember.get(AGENT, shared.value[0].memory_id)).scope == Scope("ns", "ada", "", "s1")
    assert (await house.remember.get(AGENT, private.value[0].memory_id)).scope == AGENT
    for query in ("", "tea"):
        assert await contents(house, AGENT, query) == {"shared tea", "private tea"}
        assert await contents(house, SCOPE, query) == {"shared tea"}
        assert await contents(house, replace(AGENT, agent_id="agent-2"), query) == {"shared tea"}
    with pytest.raises(NotFound):
        await house.remember.get(SCOPE, private.value[0].memory_id)


async def test_a_draft_may_name_another_session_of_origin(house: House) -> None:
    written = await learn(house, draft("from before", scope=Scope("elsewhere", "eve", "x", "s0")))
    assert (await house.remember.get(SCOPE, written.value[0].memory_id)).scope == Scope("ns", "ada", "", "s0")


@pytest.mark.parametrize("repeat", ["same content", "same id"])
async def test_one_memory_twice_in_a_batch_is_refused(house: House, repeat: str) -> None:
    pair = (
        [draft("a"), draft("a")] if repeat == "same content" else [draft("a", memory_id="x"), draft("b", memory_id="x")]
    )
    with pytest.raises(InvalidArgument) as refused:
        await learn(house, draft("fine"), *pair)
    assert refused.value.field == "memories[2]"
    assert await contents(house) == set()


async def test_a_refused_draft_stores_nothing_of_its_batch(house: House) -> None:
    for bad, field in (
        (draft("x", valid_from=10, valid_to=10), "memories[1].valid_to"),
        (draft("x", valid_from=11, valid_to=10), "memories[1].valid_to"),
        (draft("x", memory_id="m", supersedes="m"), "memories[1].supersedes"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await learn(house, draft("fine"), bad)
        assert refused.value.field == field
    with pytest.raises(NotFound):
        await learn(house, draft("fine"), draft("x", supersedes="nothing"))
    with pytest.raises(InvalidArgument):
        await learn(house, draft("fine"), draft("word " * 256 * MAX_WINDOWS))
    assert await contents(house) == set()


async def test_a_long_text_has_windows_and_any_of_them_is_found(house: House) -> None:
    filler = "The meeting covered budgets, hiring and the new office layout. " * 60
    written = await learn(
        house, filler + "The wifi password is on the fridge. " + filler, "Wine is stored in the cellar"
    )
    assert written.value[0].windows > 3
    reply = await house.ask("Where do I find the wifi password?")
    assert reply.memories[0][1].relevance > 0.3
    assert reply.memories[0][0].memory_id == written.value[0].memory_id


async def test_ttl_ends_a_memory_everywhere(house: House) -> None:
    written = await learn(house, draft("for an hour", ttl_us=HOUR_US))
    house.clock.advance(HOUR_US)
    assert await contents(house) == set()
    with pytest.raises(NotFound):
        await house.remember.get(SCOPE, written.value[0].memory_id)
    assert (await house.remember.list(SCOPE, None, size=10)).items == ()


async def test_what_supersedes_takes_over_without_gap_or_overlap(house: House) -> None:
    old = await one(house, "Ada lives in Graz")
    successor = draft("Ada lives in Linz", supersedes=old.memory_id)
    written = await learn(house, successor)
    new = await house.remember.get(SCOPE, written.value[0].memory_id)
    closed = await house.remember.get(SCOPE, old.memory_id)
    assert (closed.valid_to, closed.superseded_by) == (new.valid_from, new.memory_id)
    assert (await learn(house, successor)).seq == written.seq, "saying it again changes nothing"
    assert [m.content for m in (await house.remember.list(SCOPE, None, size=10)).items] == ["Ada lives in Linz"]
    both = await house.remember.list(SCOPE, None, include_invalid=True, size=10)
    assert len(both.items) == 2
    assert new.valid_from is not None
    for at_us, lives in ((new.valid_from - 1, "Graz"), (new.valid_from, "Linz")):
        (valid,) = (await house.remember.list(SCOPE, None, as_of_us=at_us, size=10)).items
        assert valid.content.endswith(lives)


async def test_what_supersedes_begins_when_it_happened(house: House) -> None:
    """History that is brought in later answers as of then, each value in its time."""
    old = await one(house, "Ada lives in Graz")
    moved_us = house.clock.now_us() - 9 * HOUR_US
    written = await learn(house, draft("Ada lives in Linz", supersedes=old.memory_id, event_time=moved_us))
    again_us = moved_us + HOUR_US
    await learn(house, draft("Ada lives in Wels", supersedes=written.value[0].memory_id, event_time=again_us))
    for at_us, lives in ((moved_us - 1, "Graz"), (moved_us, "Linz"), (again_us - 1, "Linz"), (again_us, "Wels")):
        reply = await house.ask("where does Ada live", as_of_us=at_us)
        assert [memory.content for memory, _ in reply.memories] == [f"Ada lives in {lives}"]


async def test_what_supersedes_is_valid_now_when_it_tells_of_a_time_to_come(house: House) -> None:
    old = await one(house, "The deadline is in May")
    later_us = house.clock.now_us() + 9 * HOUR_US
    await learn(house, draft("The deadline is tonight", supersedes=old.memory_id, event_time=later_us))
    assert await contents(house) == {"The deadline is tonight"}


async def test_what_supersedes_and_is_over_already_says_since_when(house: House) -> None:
    """Without a beginning it would never have been valid, and the old memory would end for nothing."""
    old = await one(house, "Ada lives in Graz")
    ended_us = house.clock.now_us() - HOUR_US
    with pytest.raises(InvalidArgument) as refused:
        await learn(house, draft("Ada lives in Linz", supersedes=old.memory_id, valid_to=ended_us))
    assert refused.value.field == "memories[0].valid_to"
    assert await contents(house) == {"Ada lives in Graz"}


async def test_a_retry_has_one_effect(house: House) -> None:
    first = await learn(house, "Ada prefers tea", request=request("r1"))
    assert (again := await learn(house, "Ada prefers tea", request=request("r1"))).replayed
    assert again.value == first.value
    with pytest.raises(RequestIdReused):
        await learn(house, "Ada prefers tea", request=request("r1", "another body"))


async def test_a_write_in_flight_does_not_bring_back_what_was_forgotten(house: House) -> None:
    """The memory is forgotten while the model works on a new version of it."""
    memory = await one(house)
    writing = asyncio.ensure_future(learn(house, draft("word " * 3_000, memory_id=memory.memory_id)))
    await asyncio.sleep(0.01)
    await house.forget.forget(SCOPE, everything=True, writer="test")
    with pytest.raises(Forgotten):
        await writing
    assert await contents(house) == set()


async def test_update_changes_the_named_fields_alone(house: House) -> None:
    memory = await one(house)
    changed = (
        await house.remember.update(SCOPE, memory.memory_id, {"tags": ("drink",), "pinned": True}, writer="w2")
    ).value
    assert changed == replace(
        memory, tags=("drink",), pinned=True, version=2, update_time=changed.update_time, writer="w2"
    )
    assert (await house.ask("tea", filter=Compare("eq", "tags", "drink"))).memories[0][0] == changed


async def test_new_content_is_embedded_anew(house: House) -> None:
    memory = await one(house, "The car is parked on level two")
    await house.remember.update(SCOPE, memory.memory_id, {"content": "Penguins live in Antarctica"}, writer="test")
    reply = await house.ask("Which birds live at the south pole?")
    assert reply.memories[0][1].relevance > 0.3
    assert reply.memories[0][0].content == "Penguins live in Antarctica"


async def test_an_update_is_compared_and_set(house: House) -> None:
    memory = await one(house)
    await house.remember.update(SCOPE, memory.memory_id, {"pinned": True}, expected_version=1, writer="test")
    with pytest.raises(VersionConflict) as lost:
        await house.remember.update(SCOPE, memory.memory_id, {"pinned": False}, expected_version=1, writer="test")
    assert lost.value.current_version == 2


async def test_validity_is_checked_against_what_is_stored(house: House) -> None:
    written = await learn(house, draft("x", valid_from=100))
    with pytest.raises(InvalidArgument):
        await house.remember.update(SCOPE, written.value[0].memory_id, {"valid_to": 100}, writer="test")
    await house.remember.update(SCOPE, written.value[0].memory_id, {"valid_to": 101}, writer="test")


async def test_nobody_else_touches_a_memory(house: House) -> None:
    memory = await one(house)
    for scope in (Scope("ns", "bob"), Scope("ns"), Scope("other", "ada")):
        for call in (
            house.remember.get(scope, memory.memory_id),
            house.remember.update(scope, memory.memory_id, {"pinned": True}, writer="test"),
            house.remember.revisions(scope, memory.memory_id, size=5),
            house.remember.restore(scope, memory.memory_id, 1, writer="test"),
        ):
            with pytest.raises(NotFound):
                await call
        assert (await house.remember.list(scope, None, size=10)).items == ()
    assert await one(house) == memory


async def test_an_earlier_state_comes_back_as_a_new_version(house: House) -> None:
    memory = await one(house, "Ada prefers tea")
    for content in ("Ada prefers coffee", "Ada prefers water"):
        await house.remember.update(SCOPE, memory.memory_id, {"content": content}, writer="test")
    restored = (await house.remember.restore(SCOPE, memory.memory_id, 1, writer="test")).value
    assert (restored.content, restored.version) == ("Ada prefers tea", 4)
    assert await contents(house, query="tea") == {"Ada prefers tea"}
    history = await house.remember.revisions(SCOPE, memory.memory_id, size=10)
    assert [state.content.split()[-1] for state in history.items] == ["tea", "water", "coffee", "tea"]
    with pytest.raises(NotFound):
        await house.remember.restore(SCOPE, memory.memory_id, 9, writer="test")


async def test_revisions_are_bounded_and_the_oldest_can_be_restored(house: House) -> None:
    memory = await one(house)
    for n in range(MAX_REVISIONS + 5):
        await house.remember.update(SCOPE, memory.memory_id, {"position": n}, writer="test")
    history = await house.remember.revisions(SCOPE, memory.memory_id, size=100)
    assert len(history.items) == MAX_REVISIONS + 1
    oldest = history.items[-1]
    await house.remember.restore(SCOPE, memory.memory_id, oldest.version, writer="test")


async def test_lists_are_paged_newest_first(house: House) -> None:
    for n in range(7):
        await learn(house, f"memory {n}")
    seen: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = await house.remember.list(SCOPE, None, size=3, cursor=cursor)
        seen += [memory.content for memory in page.items]
        cursor, pages = page.next_cursor, pages + 1
    assert seen == [f"memory {n}" for n in reversed(range(7))]
    assert pages == 3
