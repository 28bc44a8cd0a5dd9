"""Batches are all or nothing, bad input is a ValueError, nothing panics."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest

from memd._core import IndexEntry, NamespaceIndex, RankingOptions, simd_level


def _entry(memory_id: str, *vector: float, text: str = "tea", fields: bytes = b"{}") -> IndexEntry:
    return IndexEntry(memory_id, 1, text, struct.pack(f"<{len(vector)}f", *vector), fields)


@pytest.mark.parametrize(
    "bad",
    [_entry("b", 1.0), _entry("b", 1.0, 0.0, 1.0), _entry("b", math.nan, 0.0), _entry("b", 0.0, math.inf),
     IndexEntry("b", 1, "", b"\0" * 7, b"{}"), _entry("b", 1.0, 0.0, fields=b'{"pinned":1}')],
)  # fmt: skip
def test_nothing_is_applied_when_one_entry_is_bad(bad: IndexEntry) -> None:
    index = NamespaceIndex(2)
    index.upsert([_entry("kept", 1.0, 0.0)], 4)
    with pytest.raises(ValueError):  # noqa: PT011 - the message is tested beside each cause
        index.upsert([*(_entry(f"m{at}", 1.0, 0.0) for at in range(200)), bad], 9)
    assert index.versions() == {"kept": 1}
    assert index.applied_seq == 4


def test_an_upsert_replaces_and_a_remove_counts() -> None:
    index = NamespaceIndex(2)
    index.upsert([_entry("a", 1.0, 0.0), _entry("b", 0.0, 1.0, text="coffee")], 2)
    index.upsert([IndexEntry("a", 2, "water", b"", b"{}")], 1)
    assert (index.applied_seq, index.versions(), len(index), "a" in index, "c" in index) == (
        2,
        {"a": 2, "b": 1},
        2,
        True,
        False,
    )
    assert index.search("tea", None, None, RankingOptions()).hits == []
    assert index.remove(["b", "nobody", "b"], 7) == 1
    assert (index.matching(None), index.applied_seq) == (["a"], 7)


def test_churn_does_not_grow_the_index() -> None:
    index = NamespaceIndex(8)
    sizes = []
    for turn in range(300):
        ids = [f"m{turn}-{at}" for at in range(20)]
        fields = b'{"session_id":"s%d","tags":["t%d"],"metadata":{"k%d":"v%d"}}' % (turn, turn, turn, turn)
        index.upsert([_entry(id, *([1.0] * 8), text=f"word{turn} {id}", fields=fields) for id in ids], turn)
        assert index.remove(ids, turn) == 20
        sizes.append(index.memory_bytes)
    assert sizes[-1] <= sizes[10] * 1.2 + 4096


@pytest.mark.parametrize(
    "make",
    [
        lambda: NamespaceIndex(0),
        lambda: NamespaceIndex(-1),
        lambda: NamespaceIndex(10**6),
        lambda: RankingOptions(limit=-1),
        lambda: RankingOptions(candidates=-1),
        lambda: RankingOptions(vector_weight=math.nan),
        lambda: RankingOptions(vector_weight=1.1),
        lambda: RankingOptions(trim_ratio=-0.1),
        lambda: RankingOptions(min_relevance=2.0),
        lambda: RankingOptions(noise_cosine=math.inf),
    ],
)
def test_options_out_of_bounds_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()


def test_odd_sizes_are_answered() -> None:
    index = NamespaceIndex(2)
    query = struct.pack("<2f", 1.0, 0.0)
    assert index.search("x", query, None, RankingOptions()).hits == []
    index.upsert([_entry(f"m{at:03}", 0.0, 0.0) for at in range(100)], 1)
    assert index.search("", query, None, RankingOptions(limit=0)).hits == []
    assert index.search("tea", query, None, RankingOptions(candidates=0)).hits == []
    found = index.search("tea", query, None, RankingOptions(limit=2**62, candidates=2**62))
    assert [hit.memory_id for hit in found.hits] == [f"m{at:03}" for at in range(100)]
    for bad in (b"", query + query, b"\0" * 5, struct.pack("<2f", math.nan, 0.0)):
        with pytest.raises(ValueError, match="vector"):
            index.search("tea", bad, None, RankingOptions())


def test_the_instruction_set_is_named() -> None:
    assert simd_level() in {"avx512", "avx2", "portable"}


def _found(index: NamespaceIndex, *vector: float) -> tuple[list[str], list[str]]:
    """The answers of a search in one go and in two halves."""
    embedding = struct.pack(f"<{len(vector)}f", *vector)
    options = RankingOptions(trim_ratio=0.0)
    halves = index.finish(index.prepare("tea", None, options), embedding)
    whole = index.search("tea", embedding, None, options)
    return [hit.memory_id for hit in whole.hits], [hit.memory_id for hit in halves.hits]


def test_two_halves_find_what_a_search_finds() -> None:
    index = NamespaceIndex(2)
    index.upsert([_entry(f"m{at}", math.cos(at), math.sin(at), text="tea " * (at % 3)) for at in range(9)], 1)
    whole, halves = _found(index, 1.0, 0.0)
    assert whole == halves
    assert len(whole) == 5


def test_what_changes_between_the_halves_is_seen() -> None:
    index = NamespaceIndex(2)
    index.upsert([_entry("a", 1.0, 0.0), _entry("b", 1.0, 0.1)], 1)
    options, embedding = RankingOptions(trim_ratio=0.0), struct.pack("<2f", 1.0, 0.0)
    prepared = index.prepare("tea", None, options)
    index.remove(["a"], 2)
    index.upsert([_entry("c", 1.0, 0.0)], 3)  # it gets the slot of the one that went
    found = [index.finish(prepared, embedding) for _ in range(2)]
    assert [[hit.memory_id for hit in one.hits] for one in found] == [["c", "b"]] * 2
