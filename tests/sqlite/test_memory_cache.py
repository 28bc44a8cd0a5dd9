"""The cache of memories never says what the rows no longer say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memd.adapters.sqlite import memory_cache
from memd.adapters.sqlite.memory_cache import MemoryCache
from memd.domain.model import Memory, Scope
from memd.ports import IndexChange, IndexRow


class Table:
    """Rows, how often they were read, and a cache that is fed with their changes."""

    def __init__(self) -> None:
        self.rows: dict[str, Memory] = {}
        self.read_ids: list[str] = []
        self.told: list[IndexChange] = []
        self.cache = MemoryCache()
        self.tell = self.cache.feeding(self.told.extend)

    def put(self, memory_id: str, content: str) -> None:
        self.rows[memory_id] = Memory(memory_id=memory_id, scope=Scope("n", "u"), content=content)
        self.tell([IndexChange("n", "memory", 1, put=(IndexRow(memory_id, 1, content, b"", b"{}"),))])

    def read(self, missing: Sequence[str]) -> list[Memory]:
        self.read_ids += missing
        return [self.rows[memory_id] for memory_id in missing if memory_id in self.rows]

    def fetch(self, *memory_ids: str) -> list[str]:
        return [memory.content for memory in self.cache.fetch("n", memory_ids, self.read)]


@pytest.fixture
def table() -> Table:
    made = Table()
    for name in ("a", "b", "c"):
        made.put(name, f"content of {name}")
    return made


def test_what_was_read_is_not_read_again_and_order_is_as_asked(table: Table) -> None:
    assert table.fetch("b", "gone", "a") == ["content of b", "content of a"]
    assert table.fetch("a", "c", "b") == ["content of a", "content of c", "content of b"]
    assert table.read_ids == ["b", "gone", "a", "c"]
    assert table.cache.fetch("other", ["a"], lambda _: []) == []


def test_a_change_and_a_deletion_are_seen_at_once(table: Table) -> None:
    table.fetch("a", "b", "c")
    table.put("a", "new")
    del table.rows["b"]
    table.tell([IndexChange("n", "memory", 2, delete=("b",)), IndexChange("n", "procedure", 2, delete=("c",))])
    table.read_ids.clear()
    assert table.fetch("a", "b", "c") == ["new", "content of c"]
    assert table.read_ids == ["a", "b"]
    table.rows.clear()
    table.tell([IndexChange("n", "memory", 3, delete_all=True)])
    assert table.fetch("a", "b", "c") == []
    assert len(table.told) == 7, "whoever is fed behind the cache hears everything"


def test_what_was_read_before_a_commit_is_not_kept_after_it(table: Table) -> None:
    def slowly(missing: Sequence[str]) -> list[Memory]:
        found = table.read(missing)
        table.put("a", "new")
        return found

    assert table.cache.fetch("n", ["a"], slowly)[0].content == "content of a"
    assert table.fetch("a") == ["new"]


@pytest.mark.parametrize(("entries", "size"), [(2, 10_000), (100, 2 * len("content of a"))])
def test_it_is_bounded_and_the_least_used_goes_first(
    table: Table, monkeypatch: pytest.MonkeyPatch, entries: int, size: int
) -> None:
    monkeypatch.setattr(memory_cache, "MEMORY_CACHE_ENTRIES", entries)
    monkeypatch.setattr(memory_cache, "MEMORY_CACHE_BYTES", size)
    table.fetch("a", "b")
    table.fetch("a")
    table.fetch("c")
    table.read_ids.clear()
    table.fetch("a", "c")
    assert table.read_ids == []
    table.fetch("b")
    assert table.read_ids == ["b"]
