"""Retention: what the port promises, on every adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memd.domain.model import NamespaceSettings, Scope
from memd.domain.retention import Outdated, RetentionPolicy, Surplus
from memd.domain.visibility import EVERYTHING, owned
from memd.limits import SECOND_US
from memd.ports import Head, MemoryChange, Retained
from tests.contract.builders import USER, draft
from tests.contract.conftest import IndexedStores, Stores

pytestmark = pytest.mark.ports("memories", "settings")

ALL = 100


async def remember(stores: Stores, *memory_ids: str, namespace: str = "n", scope: Scope = USER, **fields: Any) -> None:
    """A second later each."""
    for memory_id in memory_ids:
        stores.clock.advance(SECOND_US)
        drafts = [draft(memory_id, scope=replace(scope, namespace=namespace), **fields)]
        fence = await stores.memories.fence(namespace)
        await stores.memories.remember(namespace, drafts, fence=fence, writer="w", request=None)


async def change(stores: Stores, memory_id: str, **values: Any) -> None:
    await stores.memories.update(
        "n",
        memory_id,
        owned(USER),
        MemoryChange(values),
        expected_version=0,
        fence=await stores.memories.fence("n"),
        writer="w",
        request=None,
    )


async def found(stores: Stores, policy: RetentionPolicy, limit: int = ALL) -> tuple[int, list[str]]:
    surplus = await stores.retention.surplus("n", policy, limit)
    return surplus.count, [one.memory_id for one in surplus.oldest]


async def left(stores: Stores) -> list[str]:
    return sorted(row.entry_id for row in await stores.entries("n", "memory"))


class TestSurplus:
    async def test_the_oldest_are_too_many(self, stores: Stores) -> None:
        await remember(stores, "c", "a", "d", "b")
        assert await found(stores, RetentionPolicy(max_count=4)) == (0, [])
        assert await found(stores, RetentionPolicy(max_count=1)) == (3, ["c", "a", "d"])
        assert await found(stores, RetentionPolicy(max_count=1), limit=2) == (3, ["c", "a"])

    async def test_what_was_not_written_for_long_is_too_old(self, stores: Stores) -> None:
        await remember(stores, "a", "b", "c")
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US)) == (2, ["a", "b"])
        await change(stores, "a", importance=0.9)
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US)) == (1, ["b"]), "a change makes it young"

    async def test_both_bounds_overlap(self, stores: Stores) -> None:
        await remember(stores, "a", "b", "c")
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US, max_count=1)) == (2, ["a", "b"])
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US, max_count=0)) == (3, ["a", "b", "c"])

    async def test_pinned_ones_are_outside_of_a_policy_that_keeps_them(self, stores: Stores) -> None:
        await remember(stores, "a", "b", metadata={"pinned": True}, speaker='"pinned":true')
        await remember(stores, "p", "q", pinned=True, metadata={"pinned": False, "nul": "\0"})
        await remember(stores, "c")
        assert await found(stores, RetentionPolicy(max_count=2)) == (1, ["a"])
        await change(stores, "a", pinned=True)
        assert await found(stores, RetentionPolicy(max_count=2)) == (0, [])
        thorough = RetentionPolicy(max_count=2, keep_if_pinned=False)
        assert await found(stores, thorough) == (3, ["b", "p", "q"]), "a was written last"

    async def test_what_has_expired_counts_no_more(self, stores: Stores) -> None:
        await remember(stores, "gone", expire_time=stores.clock.wall_us + 2 * SECOND_US)
        await remember(stores, "a", "b", "c")
        assert await found(stores, RetentionPolicy(max_count=2)) == (1, ["a"])
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US)) == (2, ["a", "b"])

    async def test_other_namespaces_are_not_looked_at(self, stores: Stores) -> None:
        await remember(stores, "a", "b", namespace="m")
        await remember(stores, "a")
        assert await found(stores, RetentionPolicy(max_count=1)) == (0, [])

    async def test_a_clock_that_goes_back_makes_nothing_old(self, stores: Stores) -> None:
        await remember(stores, "a", "b")
        stores.clock.advance(-3_600 * SECOND_US)
        assert await found(stores, RetentionPolicy(max_age_us=SECOND_US)) == (0, [])


class TestRetire:
    async def oldest(self, stores: Stores, keep: int) -> Surplus:
        return await stores.retention.surplus("n", RetentionPolicy(max_count=keep), ALL)

    async def test_they_go_with_their_revisions_and_once(self, stores: Stores) -> None:
        await remember(stores, "a", "b")
        await change(stores, "a", content="newer")
        await remember(stores, "c")
        surplus = await self.oldest(stores, 1)
        assert await stores.retention.retire("n", surplus.oldest, writer="w") == 2
        assert await left(stores) == ["c"]
        assert await stores.fetch("n", ["a", "b", "c"]) == await stores.fetch("n", ["c"])
        assert await stores.retention.retire("n", surplus.oldest, writer="w") == 0
        assert await stores.retention.retire("n", (), writer="w") == 0
        await stores.reopen()
        assert await left(stores) == ["c"]
        seq, rows, problems = await stores.memories.verify("n")
        assert (rows, list(problems)) == ({"c": 1}, [])
        assert seq == 5, "four writes and one retirement"

    async def test_what_was_written_since_stays(self, stores: Stores) -> None:
        await remember(stores, "a", "b", "c", "d")
        surplus = await self.oldest(stores, 1)
        await change(stores, "b", pinned=True)
        assert await stores.retention.retire("n", surplus.oldest, writer="w") == 2
        assert await left(stores) == ["b", "d"]

    async def test_what_was_stored_anew_stays(self, stores: Stores) -> None:
        await remember(stores, "a", "b")
        (outdated,) = (await self.oldest(stores, 1)).oldest
        await stores.retention.retire("n", [outdated], writer="w")
        await remember(stores, "a")
        assert outdated.version == 1
        assert await stores.retention.retire("n", [outdated], writer="w") == 0
        assert await left(stores) == ["a", "b"]

    async def test_other_namespaces_keep_theirs(self, stores: Stores) -> None:
        await remember(stores, "a")
        (outdated,) = (await self.oldest(stores, 0)).oldest
        assert isinstance(outdated, Outdated)
        assert await stores.retention.retire("m", [outdated], writer="w") == 0
        assert await left(stores) == ["a"]

    async def test_a_late_write_is_not_refused(self, stores: Stores) -> None:
        fence = await stores.memories.fence("n")
        await remember(stores, "a")
        await stores.retention.retire("n", (await self.oldest(stores, 0)).oldest, writer="w")
        written = await stores.memories.remember("n", [draft("a")], fence=fence, writer="w", request=None)
        assert written.value[0].created

    async def test_watchers_are_told_whose_it_was(self, stores: Stores) -> None:
        await remember(stores, "a", scope=Scope("n", "u", "x"))
        await remember(stores, "b", scope=Scope("n", "v"))
        at = await stores.change_log.head("n")
        await stores.retention.retire("n", (await self.oldest(stores, 0)).oldest, writer="w")
        told = await stores.change_log.memory_lines("n", Head(at.seq, 0))
        assert told is not None
        assert {line.memory_id for line in told.lines} == {"a", "b"}
        assert {line.memory for line in told.lines} == {None}
        owners = {scope for line in told.lines for scope in line.forgotten_for}
        assert owners == {Scope("n", "u", "x"), Scope("n", "v")}

    @pytest.mark.ports("memories", "settings", "feed")
    async def test_the_index_is_told(self, indexed: IndexedStores) -> None:
        await remember(indexed, "a", "b")
        indexed.changes.clear()
        await indexed.retention.retire("n", (await self.oldest(indexed, 1)).oldest, writer="w")
        assert [(one.kind, one.delete) for one in indexed.changes if one.delete] == [("memory", ("a",))]


async def test_namespaces_with_a_policy_by_name(stores: Stores) -> None:
    policies = {
        "b": NamespaceSettings(retention_max_age_us=SECOND_US),
        "a": NamespaceSettings(retention_max_count=7, retention_keep_if_pinned=False),
        "c": NamespaceSettings(retention_keep_if_pinned=True),
        "d": NamespaceSettings(checkpoint_history=2),
    }
    for namespace, settings in policies.items():
        await stores.settings.put_settings(namespace, settings, expected_version=0, writer="w", request=None)
    expected = (
        Retained("a", RetentionPolicy(None, 7, False), 1),
        Retained("b", RetentionPolicy(SECOND_US, None, True), 1),
    )
    assert await stores.retention.policies("", ALL) == expected
    assert await stores.retention.policies("", 1) == expected[:1]
    assert await stores.retention.policies("a", ALL) == expected[1:]
    await stores.settings.put_settings("b", NamespaceSettings(), expected_version=0, writer="w", request=None)
    assert await stores.retention.policies("a", ALL) == ()
    await remember(stores, "m", namespace="a")
    assert (await stores.retention.policies("", ALL))[0].seq == 2
    assert (await stores.memories.page("a", EVERYTHING, size=1, cursor="")).items
