"""MemoryStore without Forget: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from memd.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    RequestIdReused,
    VersionConflict,
)
from memd.domain.filters import And, Compare, Filter, In
from memd.domain.model import Memory, NewMemory, Page, RememberedMemory, Scope, SourceKind, Written
from memd.domain.visibility import EVERYTHING, fields_of, owned
from memd.limits import MAX_REVISIONS
from memd.ports import IndexChange, MemoryChange
from tests.contract.builders import USER, draft, request, vector
from tests.contract.conftest import IndexedStores, Stores

pytestmark = pytest.mark.ports("memories")

Remembered = Written[tuple[RememberedMemory, ...]]


async def remember(stores: Stores, *drafts: NewMemory, request_id: str = "", body: str = "body") -> Remembered:
    key = request(request_id, body) if request_id else None
    fence = await stores.memories.fence("n")
    return await stores.memories.remember("n", drafts, fence=fence, writer="w", request=key)


async def listed(stores: Stores, size: int) -> list[str]:
    """The ids of all pages."""
    got = await page(stores, size=size)
    seen = [memory.memory_id for memory in got.items]
    while got.next_cursor:
        got = await page(stores, size=size, cursor=got.next_cursor)
        seen += [memory.memory_id for memory in got.items]
    return seen


async def update(stores: Stores, memory_id: str, change: MemoryChange, **options: object) -> Written[Memory]:
    given: dict[str, object] = {"visible": EVERYTHING, "expected_version": 0, "request": None, **options}
    visible = given.pop("visible")
    return await stores.memories.update(
        "n",
        memory_id,
        visible,  # type: ignore[arg-type]
        change,
        fence=await stores.memories.fence("n"),
        writer="w2",
        **given,  # type: ignore[arg-type]
    )


async def page(stores: Stores, where: Filter = EVERYTHING, size: int = 100, cursor: str = "") -> Page[Memory]:
    return await stores.memories.page("n", where, size=size, cursor=cursor)


async def one(stores: Stores, memory_id: str) -> Memory:
    (found,) = await stores.fetch("n", [memory_id])
    return found


def told(stores: Stores) -> list[tuple[str, str, tuple[tuple[str, int], ...], tuple[str, ...]]]:
    """Changes the index was told, without the empty ones that only move its watermark."""
    return [
        (c.namespace, c.kind, tuple((row.entry_id, row.version) for row in c.put), c.delete)
        for c in stores.changes
        if c.put or c.delete
    ]


class TestRemember:
    async def test_what_was_remembered_comes_back_whole(self, stores: Stores) -> None:
        memory = Memory(
            memory_id="m1",
            scope=Scope("n", "u", "a", "s"),
            content='nul \0 quote " é 漢 \U0001f600',
            metadata={"k": "v", "n": 1, "f": 0.1 + 0.2, "b": True, "l": ["x", 2, False]},
            tags=("t1", "t2"),
            source=SourceKind.TOOL,
            speaker="Ann",
            event_time=5,
            position=7,
            importance=0.1 + 0.2,
            pinned=True,
            valid_from=1,
            valid_to=1 << 60,
            expire_time=stores.clock.wall_us + 10_000_000,
            event_ids=("e1", "e2"),
        )
        written = await remember(stores, NewMemory(memory, (vector(1), vector(2))))
        assert written.value == (RememberedMemory("m1", 1, True, 2),)
        assert (written.seq, written.durability, written.replayed) == (1, stores.durability, False)
        stored = await one(stores, "m1")
        created = stored.create_time
        assert stored == replace(memory, version=1, writer="w", create_time=created, update_time=created)
        await stores.reopen()
        assert await one(stores, "m1") == stored

    async def test_all_or_none(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await remember(stores, draft("m1"), draft("m2", supersedes="nobody"))
        assert (await page(stores)).items == ()
        assert told(stores) == []
        assert (await remember(stores, draft("m1"))).seq == 1, "a write that raised must not use a change number"

    async def test_one_that_fails_does_not_take_its_neighbours_along(self, stores: Stores) -> None:
        calls = [
            remember(stores, draft(f"m{i}", supersedes="nobody") if i % 3 == 0 else draft(f"m{i}")) for i in range(12)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, NotFound) for result in results] == [i % 3 == 0 for i in range(12)]
        assert {memory.memory_id for memory in (await page(stores)).items} == {f"m{i}" for i in range(12) if i % 3}
        seqs = sorted(result.seq for result in results if not isinstance(result, BaseException))
        assert seqs == list(range(1, 9)), "change numbers are gap-free"

    async def test_equal_to_what_is_stored_changes_nothing(self, stores: Stores) -> None:
        first = await remember(stores, draft("m1", metadata={"k": [1]}, tags=("t",)))
        stores.changes.clear()
        again = await remember(stores, draft("m1", metadata={"k": [1]}, tags=("t",)))
        assert again.value == (RememberedMemory("m1", 1, False, 1),)
        assert again.seq == first.seq
        assert stores.changes == []
        assert len((await stores.memories.revisions("n", "m1", size=9, cursor="")).items) == 1

    async def test_replacing_keeps_create_time_and_grows_the_version(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "old"))
        before = await one(stores, "m1")
        second = await remember(stores, draft("m1", "new", windows=3))
        assert second.value == (RememberedMemory("m1", 2, False, 3),)
        after = await one(stores, "m1")
        assert (after.content, after.version, after.create_time) == ("new", 2, before.create_time)
        assert after.update_time > before.update_time
        revisions = (await stores.memories.revisions("n", "m1", size=9, cursor="")).items
        assert [(r.version, r.content) for r in revisions] == [(2, "new"), (1, "old")]
        assert revisions[1] == before

    @pytest.mark.parametrize("other", [Scope("n", "v"), Scope("n", "u", "a"), Scope("n", "")])
    async def test_an_id_of_another_scope_is_refused(self, stores: Stores, other: Scope) -> None:
        await remember(stores, draft("m1", "mine"))
        with pytest.raises(AlreadyExists):
            await remember(stores, draft("m1", "theirs", scope=other))
        assert (await one(stores, "m1")).content == "mine"

    async def test_ids_of_namespaces_are_apart(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "in n"))
        fence = await stores.memories.fence("m")
        there = draft("m1", "in m", scope=Scope("m", "v"))
        written = await stores.memories.remember("m", [there], fence=fence, writer="w", request=None)
        assert written.seq == 1
        assert [memory.content for memory in await stores.fetch("m", ["m1"])] == ["in m"]
        assert (await one(stores, "m1")).content == "in n"

    async def test_the_session_is_provenance_not_scope(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "x", scope=Scope("n", "u", "", "s1")))
        again = await remember(stores, draft("m1", "x", scope=Scope("n", "u", "", "s2")))
        assert again.value[0].version == 2
        assert (await one(stores, "m1")).scope.session_id == "s2"

    async def test_an_embedding_of_another_size_is_refused(self, stores: Stores) -> None:
        with pytest.raises(InvalidArgument):
            await remember(stores, replace(draft("m1"), embeddings=(b"\0" * 8,)))
        assert (await page(stores)).items == ()

    async def test_without_embeddings_it_is_found_by_words(self, stores: Stores) -> None:
        await remember(stores, replace(draft("m1"), embeddings=()))
        (row,) = await stores.entries("n", "memory")
        assert row.embeddings == b""


class TestSupersede:
    async def test_it_closes_the_old_one(self, stores: Stores) -> None:
        await remember(stores, draft("old"))
        written = await remember(stores, draft("new", supersedes="old", valid_from=500))
        old = await one(stores, "old")
        assert (old.superseded_by, old.valid_to, old.version) == ("new", 500, 2)
        assert (await one(stores, "new")).supersedes == "old"
        assert written.seq == 2, "both have the change number of the one request"

    async def test_without_valid_from_the_old_one_ends_now(self, stores: Stores) -> None:
        await remember(stores, draft("old"))
        await remember(stores, draft("new", supersedes="old"))
        assert (await one(stores, "old")).valid_to == (await one(stores, "new")).create_time

    async def test_it_never_prolongs(self, stores: Stores) -> None:
        await remember(stores, draft("old", valid_to=100))
        await remember(stores, draft("new", supersedes="old", valid_from=500))
        assert (await one(stores, "old")).valid_to == 100

    async def test_again_changes_nothing(self, stores: Stores) -> None:
        await remember(stores, draft("old"))
        await remember(stores, draft("new", supersedes="old"))
        before = await one(stores, "old")
        await remember(stores, draft("new", supersedes="old"))
        await remember(stores, draft("new", "another text", supersedes="old"))
        assert await one(stores, "old") == before

    @pytest.mark.parametrize(
        ("old", "new"),
        [(Scope("n", "v"), USER), (Scope("n", "u", "a"), USER), (Scope("n", "u", "a"), Scope("n", "u", "b"))],
    )
    async def test_what_the_scope_does_not_see_is_not_found(self, stores: Stores, old: Scope, new: Scope) -> None:
        await remember(stores, draft("old", scope=old))
        with pytest.raises(NotFound):
            await remember(stores, draft("new", scope=new, supersedes="old"))
        assert (await one(stores, "old")).valid_to is None

    async def test_a_shared_memory_is_superseded_by_an_agents_own(self, stores: Stores) -> None:
        await remember(stores, draft("old"))
        await remember(stores, draft("new", scope=Scope("n", "u", "a"), supersedes="old"))
        assert (await one(stores, "old")).superseded_by == "new"

    async def test_not_itself(self, stores: Stores) -> None:
        await remember(stores, draft("m1"))
        with pytest.raises(InvalidArgument):
            await remember(stores, draft("m1", "x", supersedes="m1"))

    async def test_within_one_call(self, stores: Stores) -> None:
        await remember(stores, draft("old"), draft("new", supersedes="old"))
        assert (await one(stores, "old")).superseded_by == "new"

    async def test_remembered_anew_it_is_valid_again(self, stores: Stores) -> None:
        await remember(stores, draft("old"))
        await remember(stores, draft("new", supersedes="old"))
        await remember(stores, draft("old"))
        old = await one(stores, "old")
        assert (old.valid_to, old.superseded_by) == (None, "")


class TestUpdate:
    async def test_named_fields_change_and_the_others_stay(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "old", tags=("t",)))
        before = await one(stores, "m1")
        written = await update(stores, "m1", MemoryChange({"content": "new", "pinned": True}, (vector(9),)))
        assert written.value == replace(
            before, content="new", pinned=True, version=2, writer="w2", update_time=written.value.update_time
        )
        assert await one(stores, "m1") == written.value
        (row,) = await stores.entries("n", "memory")
        assert (row.text, row.embeddings) == ("new", vector(9))

    async def test_without_new_content_embeddings_stay(self, stores: Stores) -> None:
        await remember(stores, draft("m1", windows=2))
        await update(stores, "m1", MemoryChange({"importance": 0.9}))
        (row,) = await stores.entries("n", "memory")
        assert (row.version, row.embeddings) == (2, vector(1) + vector(2))

    async def test_without_a_difference_nothing_changes(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "x"))
        written = await update(stores, "m1", MemoryChange({"content": "x"}, (vector(1),)))
        assert (written.value.version, written.seq) == (1, 1)

    async def test_compare_and_set(self, stores: Stores) -> None:
        await remember(stores, draft("m1"))
        await update(stores, "m1", MemoryChange({"pinned": True}), expected_version=1)
        with pytest.raises(VersionConflict) as conflict:
            await update(stores, "m1", MemoryChange({"pinned": False}), expected_version=1)
        assert conflict.value.current_version == 2
        await update(stores, "m1", MemoryChange({"pinned": False}), expected_version=2)

    async def test_exactly_one_of_many_wins(self, stores: Stores) -> None:
        await remember(stores, draft("m1"))
        calls = [update(stores, "m1", MemoryChange({"speaker": f"s{i}"}), expected_version=1) for i in range(16)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, Written) for result in results) == 1
        assert sum(isinstance(result, VersionConflict) for result in results) == 15

    async def test_what_is_not_visible_is_not_found(self, stores: Stores) -> None:
        await remember(stores, draft("m1"))
        with pytest.raises(NotFound):
            await update(stores, "m1", MemoryChange({"pinned": True}), visible=owned(Scope("n", "v")))
        with pytest.raises(NotFound):
            await update(stores, "m2", MemoryChange({"pinned": True}))
        assert (await one(stores, "m1")).version == 1

    async def test_replay_gives_the_first_reply_after_later_changes(self, stores: Stores) -> None:
        await remember(stores, draft("m1"))
        first = await update(stores, "m1", MemoryChange({"speaker": "a"}), request=request("r"))
        await update(stores, "m1", MemoryChange({"speaker": "b"}))
        again = await update(stores, "m1", MemoryChange({"speaker": "a"}), request=request("r"))
        assert again == replace(first, replayed=True)
        assert (await one(stores, "m1")).speaker == "b"


class TestRevisions:
    async def test_only_the_newest_are_kept(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "text 1"))
        for i in range(2, MAX_REVISIONS + 6):
            await update(stores, "m1", MemoryChange({"content": f"text {i}"}, (vector(i),)))
        first = await stores.memories.revisions("n", "m1", size=8, cursor="")
        versions, cursor = [r.version for r in first.items], first.next_cursor
        while cursor:
            more = await stores.memories.revisions("n", "m1", size=8, cursor=cursor)
            versions += [r.version for r in more.items]
            cursor = more.next_cursor
        assert versions == list(range(MAX_REVISIONS + 5, 4, -1)), "the current state and MAX_REVISIONS earlier ones"

    async def test_unknown_memory(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await stores.memories.revisions("n", "m1", size=8, cursor="")


class TestRequests:
    async def test_a_repeat_has_one_effect(self, stores: Stores) -> None:
        first = await remember(stores, draft("m1"), draft("m2"), request_id="r")
        await remember(stores, draft("m1", "later"))
        assert await remember(stores, draft("m1"), draft("m2"), request_id="r") == replace(first, replayed=True)
        await stores.reopen()
        assert await remember(stores, draft("m1"), draft("m2"), request_id="r") == replace(first, replayed=True)
        assert (await one(stores, "m1")).content == "later"

    async def test_another_body_is_refused(self, stores: Stores) -> None:
        await remember(stores, draft("m1"), request_id="r")
        with pytest.raises(RequestIdReused):
            await remember(stores, draft("m2"), request_id="r", body="other")
        assert await stores.fetch("n", ["m2"]) == []

    async def test_a_failed_one_may_be_repeated_with_its_id(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await remember(stores, draft("m1", supersedes="old"), request_id="r")
        await remember(stores, draft("old"))
        assert not (await remember(stores, draft("m1", supersedes="old"), request_id="r")).replayed


class TestReads:
    async def test_fetch_in_the_order_asked(self, stores: Stores) -> None:
        await remember(stores, *(draft(f"m{i}") for i in range(4)))
        found = await stores.fetch("n", ["m2", "nobody", "m0", "m3"])
        assert [memory.memory_id for memory in found] == ["m2", "m0", "m3"]
        assert await stores.fetch("n", []) == []
        assert await stores.fetch("m", ["m2"]) == []

    async def test_pages_newest_first(self, stores: Stores) -> None:
        for i in range(5):
            await remember(stores, draft(f"m{i}"))
        seen, cursor = [], ""
        while True:
            got = await page(stores, owned(USER), size=2, cursor=cursor)
            seen += [memory.memory_id for memory in got.items]
            cursor = got.next_cursor
            if not cursor:
                break
        assert seen == ["m4", "m3", "m2", "m1", "m0"]

    async def test_memories_of_one_call_page_without_loss(self, stores: Stores) -> None:
        await remember(stores, *(draft(f"m{i}") for i in range(7)))
        assert sorted(await listed(stores, 3)) == [f"m{i}" for i in range(7)]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (Compare("eq", "user_id", "v"), {"m2"}),
            (In("memory_id", ("m1", "m3", 5)), {"m1", "m3"}),
            (And((owned(USER), Compare("eq", "metadata.k", 1))), {"m1"}),
            (owned(Scope("n", "u", "a")), {"m1", "m3", "m4"}),
            (owned(Scope("n")), {"m5"}),
            (Compare("eq", "tags", "t"), {"m4"}),
            (Compare("ne", "user_id", "u"), {"m2", "m5"}),
        ],
    )
    async def test_filters(self, stores: Stores, where: Filter, expected: set[str]) -> None:
        await remember(
            stores,
            draft("m1", metadata={"k": 1}),
            draft("m2", scope=Scope("n", "v"), metadata={"k": 1}),
            draft("m3", scope=Scope("n", "u", "a"), metadata={"k": True}),
            draft("m4", tags=("t",)),
            draft("m5", scope=Scope("n")),
        )
        assert {memory.memory_id for memory in (await page(stores, where)).items} == expected

    async def test_pages_are_in_an_order_that_every_copy_of_the_rows_has(self, stores: Stores) -> None:
        """Not in that of row numbers, which are each copy's own."""
        given = ["b", "\U0001f600", "a", "\uffff", "B"]
        await remember(stores, *map(draft, given))
        await remember(stores, draft("0"))
        for size in (1, 2, 9):
            assert await listed(stores, size) == ["0", *sorted(given, key=str.encode, reverse=True)]

    @pytest.mark.parametrize("cursor", ["x", '["a","b"]', "[1]", "[1,2]"])
    async def test_a_foreign_page_token_is_refused(self, stores: Stores, cursor: str) -> None:
        """[1,2] is one of a memd that went by row numbers."""
        with pytest.raises(InvalidArgument, match="first page"):
            await page(stores, cursor=cursor)


class TestIndexFeed:
    @pytest.mark.ports("memories", "feed")
    async def test_what_is_superseded_is_told_first(self, indexed: IndexedStores) -> None:
        await remember(indexed, draft("old"))
        written = await remember(indexed, draft("new", supersedes="old"))
        assert told(indexed)[-2:] == [("n", "memory", (("old", 2),), ()), ("n", "memory", (("new", 1),), ())]
        assert {change.seq for change in indexed.changes if change.seq > 1} == {written.seq}

    async def test_every_change_is_told_in_order_with_everything_the_index_needs(self, indexed: IndexedStores) -> None:
        await remember(indexed, draft("m1", "text", windows=2, tags=("t",), metadata={"k": 1}))
        change = indexed.changes[0]
        (row,) = change.put
        assert (change.namespace, change.kind, change.seq) == ("n", "memory", 1)
        assert (row.entry_id, row.version, row.text, row.embeddings) == ("m1", 1, "text", vector(1) + vector(2))
        fields = {**json.loads(row.fields), "memory_id": "m1"}
        assert fields == fields_of(await one(indexed, "m1"))

    async def test_what_is_told_adds_up_to_what_is_loaded(self, indexed: IndexedStores) -> None:
        await remember(indexed, *(draft(f"m{i}") for i in range(6)))
        await remember(indexed, draft("m1", "other"), draft("m7", supersedes="m2"))
        await update(indexed, "m3", MemoryChange({"speaker": "s"}))
        told_rows = {row.entry_id: row for change in indexed.changes if change.kind == "memory" for row in change.put}
        seq, batches = indexed.index.load("n", "memory")
        loaded = {row.entry_id: row for batch in batches for row in batch}
        assert loaded == told_rows
        assert seq == max(change.seq for change in indexed.changes)

    @pytest.mark.ports("memories", "feed")
    async def test_the_index_is_told_before_the_reply(self, indexed: IndexedStores) -> None:
        async def write(i: int) -> None:
            written = await remember(indexed, draft(f"m{i}"))
            assert any(f"m{i}" in dict(puts) for _, _, puts, _ in told(indexed))
            assert max(change.seq for change in indexed.changes) >= written.seq

        await asyncio.gather(*(write(i) for i in range(30)))
        seqs = [change.seq for change in indexed.changes if change.kind == "memory"]
        assert seqs == sorted(seqs) == list(range(1, 31))

    async def test_indexes_of_both_kinds_reach_every_change_number(self, indexed: IndexedStores) -> None:
        await remember(indexed, draft("m1"))
        newest: dict[str, IndexChange] = {change.kind: change for change in indexed.changes}
        assert {kind: change.seq for kind, change in newest.items()} == {"memory": 1, "procedure": 1}

    async def test_a_snapshot_is_of_one_moment(self, indexed: IndexedStores) -> None:
        await remember(indexed, *(draft(f"m{i}") for i in range(3)))
        seq, batches = indexed.index.load("n", "memory")
        await remember(indexed, draft("late"))
        loaded = [row.entry_id for batch in batches for row in batch]
        assert (seq, sorted(loaded)) == (1, ["m0", "m1", "m2"])

    @pytest.mark.ports("memories", "feed")
    async def test_what_is_swept_is_told(self, indexed: IndexedStores) -> None:
        soon = indexed.clock.wall_us + 1_000
        await remember(indexed, *(draft(f"m{i}", expire_time=soon) for i in range(5)), draft("stays"))
        indexed.clock.advance(1_000)
        indexed.changes.clear()
        await indexed.memories.sweep(10)
        assert sorted(name for _, _, _, deleted in told(indexed) for name in deleted) == [f"m{i}" for i in range(5)]


class TestExpiry:
    @pytest.mark.ports("memories", "settings")
    async def test_expired_memories_are_invisible_before_any_sweep(self, stores: Stores) -> None:
        await remember(stores, draft("m1", expire_time=stores.clock.wall_us + 1_000), draft("m2"))
        stores.clock.advance(1_000)
        assert [memory.memory_id for memory in await stores.fetch("n", ["m1", "m2"])] == ["m2"]
        assert [memory.memory_id for memory in (await page(stores)).items] == ["m2"]
        assert (await stores.settings.counts("n"))["memories"] == 1
        with pytest.raises(NotFound):
            await update(stores, "m1", MemoryChange({"pinned": True}))
        with pytest.raises(NotFound):
            await stores.memories.revisions("n", "m1", size=1, cursor="")
        with pytest.raises(NotFound):
            await remember(stores, draft("m3", supersedes="m1"))

    async def test_an_expired_one_is_created_anew(self, stores: Stores) -> None:
        await remember(stores, draft("m1", "old", expire_time=stores.clock.wall_us + 1_000))
        stores.clock.advance(1_000)
        assert (await remember(stores, draft("m1", "new", scope=Scope("n", "v")))).value[0].created
        assert (await one(stores, "m1")).content == "new"

    async def test_sweep_deletes_up_to_as_many_as_asked(self, stores: Stores) -> None:
        soon = stores.clock.wall_us + 1_000
        await remember(stores, *(draft(f"m{i}", expire_time=soon) for i in range(5)), draft("stays"))
        stores.clock.advance(1_000)
        assert await stores.memories.sweep(3) == 3
        assert await stores.memories.sweep(3) == 2
        assert await stores.memories.sweep(3) == 0
        seq, rows, problems = await stores.memories.verify("n")
        assert (seq, dict(rows), list(problems)) == (3, {"stays": 1}, [])


class TestVerify:
    async def test_a_sound_store_has_no_problems(self, stores: Stores) -> None:
        await remember(stores, draft("m1"), draft("m2"))
        await update(stores, "m1", MemoryChange({"pinned": True}))
        seq, rows, problems = await stores.memories.verify("n")
        assert (seq, dict(rows), list(problems)) == (2, {"m1": 2, "m2": 1}, [])

    async def test_an_unknown_namespace_is_empty(self, stores: Stores) -> None:
        seq, rows, problems = await stores.memories.verify("nobody")
        assert (seq, dict(rows), list(problems)) == (0, {}, [])
