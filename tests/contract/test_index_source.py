"""IndexSource: what a saved index lacks is told exactly, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from memd.adapters.sqlite import loading
from memd.domain.model import Scope
from memd.domain.visibility import EVERYTHING, forgettable
from memd.ports import ForgetPlan, IndexChanges, IndexRow, MemoryChange
from tests.contract.builders import USER, draft, procedure, vector
from tests.contract.conftest import IndexedStores


@dataclass
class Copy:
    """An index as a saved one would be: entries by id, and where it stands."""

    entries: dict[str, IndexRow] = field(default_factory=dict)
    seq: int = 0
    mark: str = ""

    @classmethod
    def of(cls, stores: IndexedStores, kind: str = "memory") -> Copy:
        seq, batches = stores.index.load("n", kind)
        entries = {row.entry_id: row for rows in batches for row in rows}
        return cls(entries, seq, stores.index.mark("n", seq))

    def changes(self, stores: IndexedStores, kind: str = "memory") -> IndexChanges | None:
        return stores.index.changed("n", kind, self.seq, self.mark)

    def follow(self, stores: IndexedStores, kind: str = "memory") -> None:
        changes = self.changes(stores, kind)
        assert changes is not None
        for entry_id in changes.removed:
            self.entries.pop(entry_id, None)
        self.entries.update({row.entry_id: row for rows in changes.rows for row in rows})
        self.seq = changes.seq


async def remember(stores: IndexedStores, *ids: str, content: str = "", namespace: str = "n") -> None:
    drafts = [draft(one, content, scope=Scope(namespace, "u")) for one in ids]
    fence = await stores.memories.fence(namespace)
    await stores.memories.remember(namespace, drafts, fence=fence, writer="w", request=None)


async def update(stores: IndexedStores, memory_id: str, content: str) -> None:
    change = MemoryChange({"content": content}, (vector(9),))
    fence = await stores.memories.fence("n")
    await stores.memories.update(
        "n", memory_id, EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
    )


async def put_procedure(stores: IndexedStores, key: str) -> None:
    fence = await stores.memories.fence("n")
    one = procedure(key)
    await stores.procedures.put(one, (vector(),), expected_version=None, fence=fence, writer="w", request=None)


async def forget(stores: IndexedStores, *ids: str) -> None:
    plan = ForgetPlan(USER, forgettable(USER), memory_ids=ids)
    await stores.memories.forget(plan, writer="w", request=None)


async def test_a_copy_that_follows_the_changes_equals_the_rows(indexed: IndexedStores) -> None:
    await remember(indexed, "kept", "updated", "forgotten", "made again")
    copy = Copy.of(indexed)
    await update(indexed, "updated", "something else")
    await forget(indexed, "forgotten", "made again")
    await remember(indexed, "new")
    await remember(indexed, "made again", content="by somebody else")
    await remember(indexed, "elsewhere", namespace="m")
    copy.follow(indexed)
    now = Copy.of(indexed)
    assert (copy.entries, copy.seq) == (now.entries, now.seq)
    assert set(copy.entries) == {"kept", "updated", "new", "made again"}


async def test_procedures_are_followed_as_well(indexed: IndexedStores) -> None:
    await put_procedure(indexed, "first")
    copy = Copy.of(indexed, "procedure")
    await remember(indexed, "of the other kind")
    await put_procedure(indexed, "second")
    copy.follow(indexed, "procedure")
    now = Copy.of(indexed, "procedure")
    assert (copy.entries, copy.seq) == (now.entries, now.seq)
    assert len(copy.entries) == 2


async def test_nothing_changed_is_told_as_nothing(indexed: IndexedStores) -> None:
    await remember(indexed, "a")
    copy = Copy.of(indexed)
    changes = copy.changes(indexed)
    assert changes is not None
    assert (changes.seq, changes.removed, list(changes.rows)) == (copy.seq, (), [])


async def test_an_empty_namespace_can_be_followed_from_its_beginning(indexed: IndexedStores) -> None:
    copy = Copy.of(indexed)
    assert (copy.seq, copy.mark) == (0, "")
    await remember(indexed, "a")
    copy.follow(indexed)
    assert set(copy.entries) == {"a"}


async def test_a_copy_of_another_history_is_refused(indexed: IndexedStores) -> None:
    """A database that was put back from an older copy gives its numbers out again, for other changes."""
    await remember(indexed, "a")
    copy = Copy.of(indexed)
    copy.mark = "0" * len(copy.mark)
    assert copy.changes(indexed) is None
    ahead = Copy(seq=copy.seq + 1, mark=indexed.index.mark("n", copy.seq))
    assert ahead.changes(indexed) is None


async def test_a_copy_that_the_log_does_not_reach_back_to_is_refused(
    indexed: IndexedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_CHANGE_LOG", 3)
    await remember(indexed, "a")
    copy = Copy.of(indexed)
    for number in range(3):
        await remember(indexed, f"m{number}")
    assert copy.changes(indexed) is not None
    await remember(indexed, "one more")
    assert copy.changes(indexed) is None
    assert indexed.index.erased_since("n", "memory", copy.seq), "it may hold what nobody can tell any more"


async def test_what_held_everything_that_was_forgotten_at_once_is_refused(indexed: IndexedStores) -> None:
    await remember(indexed, "a")
    copy = Copy.of(indexed)
    plan = ForgetPlan(USER, EVERYTHING, everything=True, all_users=True)
    await indexed.memories.forget(plan, writer="w", request=None)
    assert copy.changes(indexed) is None


async def test_a_delete_makes_what_was_saved_before_it_a_copy_of_erased_words(indexed: IndexedStores) -> None:
    await remember(indexed, "a", "b")
    before = Copy.of(indexed)
    await update(indexed, "b", "something else")
    assert not indexed.index.erased_since("n", "memory", before.seq)
    await forget(indexed, "a")
    after = Copy.of(indexed)
    assert indexed.index.erased_since("n", "memory", before.seq)
    assert not indexed.index.erased_since("n", "procedure", before.seq)
    assert not indexed.index.erased_since("n", "memory", after.seq)
