"""IndexSource: what a saved index lacks is told exactly, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from memd.adapters.sqlite import loading
from memd.domain.model import Scope
from memd.domain.visibility import EVERYTHING, forgettable
from memd.ports import ForgetPlan, IndexChanges, IndexRow, MemoryChange
from tests.contract.builders import USER, draft, procedure, vector
from tests.contract.conftest import Stores


@dataclass
class Copy:
    """An index as a saved one would be: entries by id, and where it stands."""

    entries: dict[str, IndexRow] = field(default_factory=dict)
    seq: int = 0
    mark: str = ""

    @classmethod
    def of(cls, stores: Stores, kind: str = "memory") -> Copy:
        seq, batches = stores.memories.load("n", kind)
        entries = {row.entry_id: row for rows in batches for row in rows}
        return cls(entries, seq, stores.memories.mark("n", seq))

    def changes(self, stores: Stores, kind: str = "memory") -> IndexChanges | None:
        return stores.memories.changed("n", kind, self.seq, self.mark)

    def follow(self, stores: Stores, kind: str = "memory") -> None:
        changes = self.changes(stores, kind)
        assert changes is not None
        for entry_id in changes.removed:
            self.entries.pop(entry_id, None)
        self.entries.update({row.entry_id: row for rows in changes.rows for row in rows})
        self.seq = changes.seq


async def remember(stores: Stores, *ids: str, content: str = "", namespace: str = "n") -> None:
    drafts = [draft(one, content, scope=Scope(namespace, "u")) for one in ids]
    await stores.memories.remember(namespace, drafts, fence=stores.memories.fence(), writer="w", request=None)


async def update(stores: Stores, memory_id: str, content: str) -> None:
    change = MemoryChange({"content": content}, (vector(9),))
    fence = stores.memories.fence()
    await stores.memories.update(
        "n", memory_id, EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
    )


async def put_procedure(stores: Stores, key: str) -> None:
    fence = stores.memories.fence()
    one = procedure(key)
    await stores.procedures.put(one, (vector(),), expected_version=None, fence=fence, writer="w", request=None)


async def forget(stores: Stores, *ids: str) -> None:
    plan = ForgetPlan(USER, forgettable(USER), memory_ids=ids)
    await stores.memories.forget(plan, writer="w", request=None)


async def test_a_copy_that_follows_the_changes_equals_the_rows(stores: Stores) -> None:
    await remember(stores, "kept", "updated", "forgotten", "made again")
    copy = Copy.of(stores)
    await update(stores, "updated", "something else")
    await forget(stores, "forgotten", "made again")
    await remember(stores, "new")
    await remember(stores, "made again", content="by somebody else")
    await remember(stores, "elsewhere", namespace="m")
    copy.follow(stores)
    now = Copy.of(stores)
    assert (copy.entries, copy.seq) == (now.entries, now.seq)
    assert set(copy.entries) == {"kept", "updated", "new", "made again"}


async def test_procedures_are_followed_as_well(stores: Stores) -> None:
    await put_procedure(stores, "first")
    copy = Copy.of(stores, "procedure")
    await remember(stores, "of the other kind")
    await put_procedure(stores, "second")
    copy.follow(stores, "procedure")
    now = Copy.of(stores, "procedure")
    assert (copy.entries, copy.seq) == (now.entries, now.seq)
    assert len(copy.entries) == 2


async def test_nothing_changed_is_told_as_nothing(stores: Stores) -> None:
    await remember(stores, "a")
    copy = Copy.of(stores)
    changes = copy.changes(stores)
    assert changes is not None
    assert (changes.seq, changes.removed, list(changes.rows)) == (copy.seq, (), [])


async def test_an_empty_namespace_can_be_followed_from_its_beginning(stores: Stores) -> None:
    copy = Copy.of(stores)
    assert (copy.seq, copy.mark) == (0, "")
    await remember(stores, "a")
    copy.follow(stores)
    assert set(copy.entries) == {"a"}


async def test_a_copy_of_another_history_is_refused(stores: Stores) -> None:
    """A database that was put back from an older copy gives its numbers out again, for other changes."""
    await remember(stores, "a")
    copy = Copy.of(stores)
    copy.mark = "0" * len(copy.mark)
    assert copy.changes(stores) is None
    ahead = Copy(seq=copy.seq + 1, mark=stores.memories.mark("n", copy.seq))
    assert ahead.changes(stores) is None


async def test_a_copy_that_the_log_does_not_reach_back_to_is_refused(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_CHANGE_LOG", 3)
    await remember(stores, "a")
    copy = Copy.of(stores)
    for number in range(3):
        await remember(stores, f"m{number}")
    assert copy.changes(stores) is not None
    await remember(stores, "one more")
    assert copy.changes(stores) is None
    assert stores.memories.erased_since("n", "memory", copy.seq), "it may hold what nobody can tell any more"


async def test_what_held_everything_that_was_forgotten_at_once_is_refused(stores: Stores) -> None:
    await remember(stores, "a")
    copy = Copy.of(stores)
    plan = ForgetPlan(USER, EVERYTHING, everything=True, all_users=True)
    await stores.memories.forget(plan, writer="w", request=None)
    assert copy.changes(stores) is None


async def test_a_delete_makes_what_was_saved_before_it_a_copy_of_erased_words(stores: Stores) -> None:
    await remember(stores, "a", "b")
    before = Copy.of(stores)
    await update(stores, "b", "something else")
    assert not stores.memories.erased_since("n", "memory", before.seq)
    await forget(stores, "a")
    after = Copy.of(stores)
    assert stores.memories.erased_since("n", "memory", before.seq)
    assert not stores.memories.erased_since("n", "procedure", before.seq)
    assert not stores.memories.erased_since("n", "memory", after.seq)
