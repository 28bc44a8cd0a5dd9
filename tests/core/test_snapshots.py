"""A snapshot is loaded as it was saved, and each way it can be of no use is its own exception."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from memd._core import IndexEntry, NamespaceIndex, RankingOptions, SnapshotCorrupt, SnapshotStale

MODEL, KIND = "sha256:00", "semantic"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    index = NamespaceIndex(2)
    vector = struct.pack("<2f", 1.0, 0.5)
    index.upsert([IndexEntry("a", 3, "green tea", vector, b'{"user_id":"ada"}'), IndexEntry("b", 1, "", b"", b"{}")], 9)
    path = tmp_path / "semantic.snapshot"
    index.save(path, MODEL, KIND, 8)
    return path


def test_what_is_loaded_answers_as_what_was_saved(saved: Path) -> None:
    index, watermark = NamespaceIndex.load(str(saved), MODEL, 2, KIND)
    assert (watermark, index.applied_seq, len(index), index.versions()) == (8, 8, 2, {"a": 3, "b": 1})
    found = index.search("teas", struct.pack("<2f", 2.0, 1.0), b'{"eq":["user_id","ada"]}', RankingOptions())
    assert [(hit.memory_id, hit.version, round(hit.relevance, 6)) for hit in found.hits] == [("a", 3, 1.0)]
    assert index.remove(["a"], 9) == 1
    assert index.matching(None) == ["b"]


def test_each_way_to_be_of_no_use_has_its_exception(saved: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        NamespaceIndex.load(saved.with_name("none"), MODEL, 2, KIND)
    assert missing.value.filename == saved.with_name("none")
    for model, dimensions, kind in [("sha256:01", 2, KIND), (MODEL, 3, KIND), (MODEL, 2, "episodes")]:
        with pytest.raises(SnapshotStale):
            NamespaceIndex.load(saved, model, dimensions, kind)
    for dimensions in (-1, 0, 1 << 40):
        with pytest.raises(ValueError, match="dimensions"):
            NamespaceIndex.load(saved, MODEL, dimensions, KIND)
    with pytest.raises(NotADirectoryError):
        NamespaceIndex.load(saved / "below a file", MODEL, 2, KIND)
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(SnapshotCorrupt):
        NamespaceIndex.load(saved, MODEL, 2, KIND)


def test_a_save_that_is_refused_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="1024"):
        NamespaceIndex(2).save(saved, "m" * 1025, KIND, 1)
    with pytest.raises(IsADirectoryError):
        NamespaceIndex(2).save(saved.parent, MODEL, KIND, 1)
    assert (saved.read_bytes(), list(saved.parent.iterdir())) == (before, [saved])
