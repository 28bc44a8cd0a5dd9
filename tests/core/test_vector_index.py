"""The vector index by itself, in both forms: what it finds, and what it says of what it cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memd._core import IndexEntry, NamespaceIndex, RankingOptions, SnapshotCorrupt, VectorIndex

Array = NDArray[Any]
DIMENSIONS = 16
FEW, MANY = 2_000, 18_000  # a scan of float vectors, and a graph


def _rows(count: int) -> Array:
    rows = np.random.default_rng(5).standard_normal((count, DIMENSIONS)).astype("<f4")
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), "<f4")


def _slots(numbers: Array) -> bytes:
    return numbers.astype("<u4").tobytes()


def _built(rows: Array) -> VectorIndex:
    index = VectorIndex(DIMENSIONS)
    index.add(_slots(np.arange(len(rows))), rows.tobytes())
    index.build(2)
    return index


@pytest.mark.parametrize("count", [FEW, MANY])
def test_it_finds_what_numpy_finds_before_and_after_a_load(count: int, tmp_path: Path) -> None:
    rows = _rows(count)
    index = _built(rows)
    gone = np.arange(0, count, 10)
    assert index.remove(_slots(gone)) == len(gone)
    assert index.remove(_slots(gone)) == 0
    index.maintain()
    index.save(tmp_path / "vectors")
    loaded = VectorIndex(DIMENSIONS)
    loaded.load(str(tmp_path / "vectors"))
    found = wanted = 0
    for query in _rows(50) + np.float32(0.1):
        cosines = rows @ (query / np.linalg.norm(query))
        cosines[gone] = -1
        best = set(np.argsort(-cosines)[:10].tolist())
        for one in (index, loaded):
            exact = one.search(query.tobytes(), 10, 0, None, True)
            assert [cosine for _, cosine in exact] == pytest.approx(sorted(cosines, reverse=True)[:10], abs=5e-3)
            found += len(best & {slot for slot, _ in one.search(query.tobytes(), 10, 128, None, False)})
            wanted += len(best)
    assert found >= 0.97 * wanted
    assert loaded.memory_bytes > count * DIMENSIONS


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [FEW, MANY])
def test_only_what_is_visible_is_answered(count: int, exact: bool) -> None:
    rows = _rows(count)
    index = _built(rows)
    visible = np.zeros(count, np.bool_)
    visible[[3, 8, 77, count - 1]] = True
    mask = np.packbits(visible, bitorder="little").tobytes()
    slots = [slot for slot, _ in index.search(rows[77].tobytes(), 10, 64, mask, exact)]
    assert slots[0] == 77
    assert sorted(slots) == [3, 8, 77, count - 1]


def test_each_search_is_timed() -> None:
    rows = _rows(FEW)
    times = _built(rows).search_times_ns(rows[:7].tobytes(), 5, 32)
    assert len(times) == 7
    assert all(taken > 0 for taken in times)


def test_what_it_cannot_take_is_a_value_error(tmp_path: Path) -> None:
    index = VectorIndex(DIMENSIONS)
    row = _rows(1).tobytes()
    for slots, vectors in [(b"\0\0\0\0", row[:-1]), (b"\0" * 8, row), (b"\0\0\0", row), (b"\xff" * 4, row)]:
        with pytest.raises(ValueError, match=r"slot|vector"):
            index.add(slots, vectors)
    for k, ef in [(-1, 10), (10, -1), (10, 1 << 40)]:
        with pytest.raises(ValueError, match=r"k|ef"):
            index.search(row, k, ef, None, False)
    for threads in (0, -1, 1 << 40):
        with pytest.raises(ValueError, match="threads"):
            index.build(threads)
    with pytest.raises(FileNotFoundError):
        index.load(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"something else")
    with pytest.raises(SnapshotCorrupt):
        index.load(tmp_path / "broken")


def test_a_namespace_is_maintained_and_searched_as_thoroughly_as_asked() -> None:
    rows = _rows(MANY)
    index = NamespaceIndex(DIMENSIONS)
    index.upsert([IndexEntry(f"m{n}", 1, "", row.tobytes(), b"{}") for n, row in enumerate(rows)], 1)
    assert index.maintain(1_000, 2) == MANY - 1_000
    while index.maintain(MANY, 2) > 0:
        pass
    for options in (RankingOptions(), RankingOptions(ef=256), RankingOptions(exact=True)):
        found = index.search("", rows[4_321].tobytes(), None, options)
        assert found.hits[0].memory_id == "m4321"
    for ef in (0, -1, 1 << 40):
        with pytest.raises(ValueError, match="ef"):
            RankingOptions(ef=ef)
    for max_rows, threads in [(-1, 1), (1, 0), (1, 65)]:
        with pytest.raises(ValueError, match=r"max_rows|threads"):
            index.maintain(max_rows, threads)
