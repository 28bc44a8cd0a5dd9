"""MemoryStore's Forget and the fence: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from memd.domain.errors import Forgotten, NotFound, VersionConflict
from memd.domain.filters import Compare, Filter
from memd.domain.model import ForgetReceipt, RequestKey, Scope, SessionEvents, SourceKind, Written
from memd.domain.visibility import EVERYTHING, forgettable, owned
from memd.limits import MAX_LINKS
from memd.ports import ForgetPlan, MemoryChange
from tests.contract.builders import USER, draft, procedure, request, vector
from tests.contract.conftest import IndexedStores, Stores

pytestmark = pytest.mark.ports("memories", "procedures")

AGENT = Scope("n", "u", "a")


def everything(scope: Scope, **options: object) -> ForgetPlan:
    visible = EVERYTHING if options.get("all_users") else forgettable(scope)
    return ForgetPlan(scope, visible, everything=True, **options)  # type: ignore[arg-type]


async def forget(stores: Stores, plan: ForgetPlan, key: RequestKey | None = None) -> Written[ForgetReceipt]:
    return await stores.memories.forget(plan, writer="w", request=key)


async def fill(stores: Stores) -> None:
    """One memory for each of several scopes, named after it; a procedure for each user and agent."""
    scopes = {
        "shared": USER,
        "agent": AGENT,
        "session": Scope("n", "u", "a", "s"),
        "other-agent": Scope("n", "u", "b"),
        "other-user": Scope("n", "v"),
        "nobody": Scope("n"),
    }
    drafts = [draft(name, scope=scope, windows=2) for name, scope in scopes.items()]
    await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)
    far = draft("far", scope=Scope("m", "u"))
    await stores.memories.remember("m", [far], fence=await stores.memories.fence("m"), writer="w", request=None)
    for scope in (USER, AGENT, Scope("n", "v")):
        await put(stores, scope)
    stores.changes.clear()


async def put(stores: Stores, scope: Scope, *, fence: int = -1) -> None:
    await stores.procedures.put(
        procedure("key", scope=scope),
        (vector(),),
        expected_version=None,
        fence=await stores.memories.fence("n") if fence < 0 else fence,
        writer="w",
        request=None,
    )


async def left(stores: Stores) -> set[str]:
    found = {row.entry_id for row in await stores.entries("n", "memory")}
    assert [memory.memory_id for memory in await stores.fetch("m", ["far"])] == ["far"]
    return found


async def procedures_left(stores: Stores) -> set[str]:
    return {row.entry_id for row in await stores.entries("n", "procedure")}


ALL = {"shared", "agent", "session", "other-agent", "other-user", "nobody"}
PROCEDURES = {"p-u--key", "p-u-a-key", "p-v--key"}


class TestWhatGoes:
    async def test_by_id_only_what_is_visible(self, stores: Stores) -> None:
        await fill(stores)
        plan = ForgetPlan(USER, owned(USER), memory_ids=("shared", "agent", "other-user", "unknown"))
        receipt = (await forget(stores, plan)).value
        assert await left(stores) == ALL - {"shared"}
        assert receipt.counts == {"memories": 1, "revisions": 0, "embeddings": 2, "procedures": 0}
        assert await procedures_left(stores) == PROCEDURES

    async def test_by_filter_only_what_is_visible(self, stores: Stores) -> None:
        await fill(stores)
        where: Filter = Compare("ne", "memory_id", "agent")
        await forget(stores, ForgetPlan(AGENT, owned(AGENT), filter=where))
        assert await left(stores) == ALL - {"shared", "session"}

    @pytest.mark.parametrize(
        ("plan", "memories", "procedures"),
        [
            (everything(USER), {"shared", "agent", "session", "other-agent"}, {"p-u--key", "p-u-a-key"}),
            (everything(AGENT), {"agent", "session"}, {"p-u-a-key"}),
            (everything(Scope("n", "u", "a", "s")), {"session"}, set()),
            (everything(Scope("n")), {"nobody"}, set()),
            (everything(Scope("n"), all_users=True), ALL, PROCEDURES),
        ],
        ids=["user", "agent", "session", "without user", "namespace"],
    )
    async def test_everything_of_a_scope(
        self, stores: Stores, plan: ForgetPlan, memories: set[str], procedures: set[str]
    ) -> None:
        await fill(stores)
        expected = await forget(stores, replace(plan, dry_run=True))
        assert await left(stores) == ALL, "a dry run deletes nothing"
        assert stores.changes == []
        written = await forget(stores, plan)
        assert await left(stores) == ALL - memories
        assert await procedures_left(stores) == PROCEDURES - procedures
        assert written.value.counts == expected.value.counts
        assert written.value.counts["memories"] == len(memories)
        assert written.value.counts["procedures"] == len(procedures)
        assert (expected.value.dry_run, written.value.dry_run) == (True, False)
        assert written.seq == expected.seq + 1

    async def test_the_index_is_told(self, indexed: IndexedStores) -> None:
        await fill(indexed)
        owned_ids = ForgetPlan(USER, owned(USER), memory_ids=("shared", "agent", "other-user", "unknown"))
        await forget(indexed, owned_ids)
        assert [change.delete for change in indexed.changes if change.delete] == [("shared",)]
        indexed.changes.clear()
        written = await forget(indexed, everything(AGENT))
        told = {change.kind: change for change in indexed.changes}
        assert set(told["memory"].delete) == {"agent", "session"}
        assert told["procedure"].delete == ("p-u-a-key",)
        assert {change.seq for change in indexed.changes} == {written.seq}
        indexed.changes.clear()
        await forget(indexed, everything(Scope("n"), all_users=True))
        assert [(change.kind, change.delete_all) for change in indexed.changes] == [
            ("memory", True),
            ("procedure", True),
        ]

    async def test_revisions_go_and_are_counted(self, stores: Stores) -> None:
        await fill(stores)
        for i in range(3):
            change = MemoryChange({"speaker": f"s{i}"})
            fence = await stores.memories.fence("n")
            await stores.memories.update(
                "n", "shared", EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
            )
        receipt = (await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("shared",)))).value
        assert receipt.counts["revisions"] == 3
        with pytest.raises(NotFound):
            await stores.memories.revisions("n", "shared", size=9, cursor="")

    async def test_it_can_be_remembered_again_from_version_one(self, stores: Stores) -> None:
        await fill(stores)
        await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("shared",)))
        fence = await stores.memories.fence("n")
        again = await stores.memories.remember("n", [draft("shared")], fence=fence, writer="w", request=None)
        assert (again.value[0].created, again.value[0].version) == (True, 1)


SAID = Scope("n", "u", "", "s1")


async def consolidated(stores: Stores) -> None:
    """Two memories made of events of one session, its digest, and that of another session."""
    drafts = [
        draft("promoted", scope=SAID, event_ids=("e1",)),
        draft("both", scope=SAID, event_ids=("e2", "e3")),
        draft("digest", scope=SAID, source=SourceKind.DIGEST, event_ids=("e1", "e2", "e3", "e4")),
        draft("far", scope=replace(SAID, session_id="s2"), source=SourceKind.DIGEST, event_ids=("e1",)),
        draft("plain", scope=SAID),
    ]
    await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)


async def ids_left(stores: Stores) -> set[str]:
    page = await stores.memories.page("n", EVERYTHING, size=99, cursor="")
    return {one.memory_id for one in page.items}


class TestWhatAMemoryWasMadeOf:
    async def test_goes_with_it_and_so_does_the_digest(self, stores: Stores) -> None:
        await consolidated(stores)
        plan = ForgetPlan(USER, owned(USER), memory_ids=("promoted",))
        events = (SessionEvents(SAID, ("e1",)),)
        dry = (await forget(stores, replace(plan, dry_run=True))).value
        assert (dry.counts["memories"], dry.counts["digests"], dry.events) == (1, 1, events)
        receipt = (await forget(stores, plan)).value
        assert (receipt.counts, receipt.events) == (dry.counts, events)
        assert await ids_left(stores) == {"both", "far", "plain"}
        await stores.reopen()
        (pending,) = await stores.memories.pending_forgets()
        assert (pending.receipt_id, pending.events) == (receipt.receipt_id, events)
        assert not pending.plan.everything
        done = await stores.memories.finish_forget(receipt.receipt_id, {"events": 1, "summaries": 0})
        assert done.counts == {**receipt.counts, "events": 1, "summaries": 0}
        assert await stores.memories.pending_forgets() == ()

    async def test_by_filter_as_well(self, stores: Stores) -> None:
        await consolidated(stores)
        plan = ForgetPlan(USER, owned(USER), filter=Compare("eq", "memory_id", "both"))
        receipt = (await forget(stores, plan)).value
        assert receipt.events == (SessionEvents(SAID, ("e2", "e3")),)
        assert await ids_left(stores) == {"promoted", "far", "plain"}

    async def test_named_by_its_events(self, stores: Stores) -> None:
        await consolidated(stores)
        receipt = (await forget(stores, ForgetPlan(SAID, owned(SAID), event_ids=("e3", "e4")))).value
        assert set(receipt.events[0].event_ids) == {"e2", "e3", "e4"}, "and what else the memory was made of"
        assert await ids_left(stores) == {"promoted", "far", "plain"}

    async def test_a_digest_that_is_named_goes_alone(self, stores: Stores) -> None:
        await consolidated(stores)
        receipt = (await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("digest",)))).value
        assert (receipt.counts["memories"], receipt.events) == (1, ())
        assert await ids_left(stores) == {"promoted", "both", "far", "plain"}

    async def test_a_digest_with_more_events_than_links_goes_too(self, stores: Stores) -> None:
        many = tuple(f"x{n}" for n in range(MAX_LINKS))
        drafts = [
            draft("promoted", scope=SAID, event_ids=("e1",)),
            draft("digest", scope=SAID, source=SourceKind.DIGEST, event_ids=many),
        ]
        await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)
        await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("promoted",)))
        assert await ids_left(stores) == set()

    async def test_nothing_more_is_made_of_those_events_by_who_began_before(self, stores: Stores) -> None:
        await consolidated(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("promoted",)))
        late = draft("late", scope=SAID, source=SourceKind.DIGEST, event_ids=("e1", "e9"))
        with pytest.raises(Forgotten):
            await stores.memories.remember("n", [late], fence=fence, writer="w", request=None)
        elsewhere = draft("elsewhere", scope=replace(SAID, session_id="s2"), event_ids=("e1",))
        unmade = draft("unmade", scope=SAID)
        await stores.memories.remember("n", [elsewhere, unmade], fence=fence, writer="w", request=None)
        fence = await stores.memories.fence("n")
        await stores.memories.remember("n", [late], fence=fence, writer="w", request=None)

    async def test_a_draft_that_expected_another_version_is_refused(self, stores: Stores) -> None:
        await consolidated(stores)
        fence = await stores.memories.fence("n")
        for memory_id, expected in (("digest", 0), ("digest", 2), ("new", 1)):
            late = replace(draft(memory_id, "changed", scope=SAID), expected_version=expected)
            with pytest.raises(VersionConflict):
                await stores.memories.remember("n", [late], fence=fence, writer="w", request=None)
        right = replace(draft("digest", "changed", scope=SAID), expected_version=1)
        written = await stores.memories.remember("n", [right], fence=fence, writer="w", request=None)
        assert written.value[0].version == 2


class TestReceipts:
    async def test_everything_is_pending_until_finished(self, stores: Stores) -> None:
        await fill(stores)
        plan = everything(AGENT, task_ids=("t1", "t2"))
        receipt = (await forget(stores, plan)).value
        await stores.reopen()
        (pending,) = await stores.memories.pending_forgets()
        assert (pending.receipt_id, pending.plan) == (receipt.receipt_id, plan)
        done = await stores.memories.finish_forget(receipt.receipt_id, {"events": 5, "sessions": 1})
        assert done.counts == {**receipt.counts, "events": 5, "sessions": 1}
        assert await stores.memories.finish_forget(receipt.receipt_id, {"events": 99}) == done
        assert await stores.memories.pending_forgets() == ()

    async def test_ids_and_filters_are_done_at_once(self, stores: Stores) -> None:
        await fill(stores)
        await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("shared",)))
        await forget(stores, ForgetPlan(USER, owned(USER), filter=EVERYTHING))
        assert await stores.memories.pending_forgets() == ()

    async def test_an_unknown_receipt(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await stores.memories.finish_forget("nobody", {})

    async def test_a_repeat_forgets_nothing_new(self, stores: Stores) -> None:
        await fill(stores)
        first = await forget(stores, everything(USER), request("r"))
        fence = await stores.memories.fence("n")
        await stores.memories.remember("n", [draft("later")], fence=fence, writer="w", request=None)
        assert await forget(stores, everything(USER), request("r")) == replace(first, replayed=True)
        assert "later" in await left(stores)

    async def test_receipts_differ(self, stores: Stores) -> None:
        receipts = [(await forget(stores, everything(USER))).value.receipt_id for _ in range(3)]
        assert len(set(receipts)) == 3
        assert all(receipts)


class TestFence:
    """Deleted stays deleted: a write that began before the Forget must not bring back what it took."""

    async def late_remember(self, stores: Stores, fence: int, memory_id: str, scope: Scope, **fields: Any) -> None:
        late = [draft(memory_id, scope=scope, **fields)]
        await stores.memories.remember("n", late, fence=fence, writer="w", request=None)

    @pytest.mark.parametrize(
        ("plan", "memory_id", "scope"),
        [
            (ForgetPlan(USER, owned(USER), memory_ids=("shared",)), "shared", USER),
            (ForgetPlan(USER, owned(USER), memory_ids=("on its way",)), "on its way", USER),
            (ForgetPlan(USER, owned(USER), filter=EVERYTHING), "shared", USER),
            (everything(USER), "new", USER),
            (everything(USER), "new", AGENT),
            (everything(AGENT), "new", AGENT),
            (everything(Scope("n", "u", "a", "s")), "new", Scope("n", "u", "a", "s")),
            (everything(Scope("n"), all_users=True), "new", Scope("n", "v", "b")),
        ],
    )
    async def test_a_late_write_is_refused(
        self, stores: Stores, plan: ForgetPlan, memory_id: str, scope: Scope
    ) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, plan)
        before = await left(stores)
        with pytest.raises(Forgotten):
            await self.late_remember(stores, fence, memory_id, scope)
        assert await left(stores) == before
        await self.late_remember(stores, await stores.memories.fence("n"), memory_id, scope)

    @pytest.mark.parametrize(
        ("plan", "scope"),
        [
            (ForgetPlan(USER, owned(USER), memory_ids=("shared",)), USER),
            (everything(Scope("n", "v")), USER),
            (everything(AGENT), USER),
            (everything(Scope("n", "u", "a", "s")), AGENT),
        ],
    )
    async def test_a_late_write_to_something_else_goes_through(
        self, stores: Stores, plan: ForgetPlan, scope: Scope
    ) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, plan)
        await self.late_remember(stores, fence, "new", scope)
        assert "new" in await left(stores)

    async def test_nobody_can_block_the_id_of_somebody_else(self, stores: Stores) -> None:
        fence = await stores.memories.fence("n")
        other = Scope("n", "v")
        await forget(stores, ForgetPlan(other, owned(other), memory_ids=("mine",)))
        await self.late_remember(stores, fence, "mine", USER)

    async def test_another_namespace_is_not_touched(self, stores: Stores) -> None:
        fence = await stores.memories.fence("n")
        await forget(stores, everything(Scope("m"), all_users=True))
        await self.late_remember(stores, fence, "new", USER)

    async def test_superseding_what_was_forgotten_meanwhile(self, stores: Stores) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, ForgetPlan(USER, owned(USER), memory_ids=("shared",)))
        with pytest.raises(Forgotten):
            await self.late_remember(stores, fence, "new", USER, supersedes="shared")

    @pytest.mark.parametrize(
        "plan", [ForgetPlan(USER, owned(USER), memory_ids=("shared",)), everything(USER)], ids=["id", "everything"]
    )
    async def test_a_late_update_is_refused(self, stores: Stores, plan: ForgetPlan) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, plan)
        change = MemoryChange({"pinned": True})
        with pytest.raises(Forgotten):
            await stores.memories.update(
                "n", "shared", EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
            )

    async def test_a_late_procedure_is_refused(self, stores: Stores) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, everything(USER))
        with pytest.raises(Forgotten):
            await put(stores, USER, fence=fence)
        await put(stores, USER)

    async def test_a_late_procedure_after_its_deletion_is_refused(self, stores: Stores) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await stores.procedures.delete("n", "p-u--key", writer="w", request=None)
        with pytest.raises(Forgotten):
            await put(stores, USER, fence=fence)

    async def test_a_session_forget_keeps_procedures_and_their_writers(self, stores: Stores) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        await forget(stores, everything(Scope("n", "u", "a", "s")))
        await put(stores, AGENT, fence=fence)

    async def test_racing_writers_never_bring_it_back(self, stores: Stores) -> None:
        await fill(stores)
        kept = (await left(stores)) - {"shared", "agent", "session", "other-agent"}

        async def write(i: int, fence: int) -> None:
            await asyncio.sleep(0)  # where the embedding happens
            await self.late_remember(stores, fence, f"m{i % 7}", USER)

        for _ in range(5):
            fences = [await stores.memories.fence("n") for _ in range(20)]
            writes = [asyncio.create_task(write(i, fence)) for i, fence in enumerate(fences)]
            await asyncio.sleep(0)  # every writer is on its way, none has arrived
            await forget(stores, everything(USER))
            results = await asyncio.gather(*writes, return_exceptions=True)
            assert all(result is None or isinstance(result, Forgotten) for result in results)
            assert await left(stores) == kept

    async def test_a_fence_outlives_a_failed_forget(self, stores: Stores) -> None:
        await fill(stores)
        fence = await stores.memories.fence("n")
        with pytest.raises(NotFound):
            await stores.procedures.delete("n", "unknown", writer="w", request=None)
        assert await stores.memories.fence("n") == fence
