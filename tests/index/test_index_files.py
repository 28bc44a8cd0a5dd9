"""Saved indexes: they spare the rows, they never decide what is found, and nothing that was deleted stays in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memd._core import NamespaceIndex
from memd.adapters import index_upkeep
from memd.adapters.index import RustNamespaceIndex
from memd.adapters.index_files import DIRECTORY, IndexFiles
from memd.ports import SearchOptions
from tests.index.rows import ALL, DIMENSIONS, Rows, row, vector

Open = Callable[[], RustNamespaceIndex]
MODEL = "model/digest"
NAMES = [f"m{number}" for number in range(40)]


@pytest.fixture
def rows() -> Rows:
    made = Rows()
    made.put(*[row(name, seed, f"words of {name}", windows=1 + seed % 3) for seed, name in enumerate(NAMES)])
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / DIRECTORY


@pytest.fixture
def start(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A start of the daemon's index; the one before is closed in peace. Everything is worth a file."""
    monkeypatch.setattr(index_upkeep, "INDEX_SAVE_MIN_ROWS", 1)
    running: list[RustNamespaceIndex] = []

    def begin(model: str = MODEL) -> RustNamespaceIndex:
        stop(running)
        index = RustNamespaceIndex(rows, DIMENSIONS, files=IndexFiles(tmp_path, model, DIMENSIONS))
        running.append(index)
        index.reconcile(["ns"])
        return index

    yield begin
    stop(running)


def stop(running: list[RustNamespaceIndex]) -> None:
    while running:
        running.pop().close()


def found(index: RustNamespaceIndex, namespace: str = "ns") -> list[tuple[str, int, float]]:
    """The answers to some queries, in full."""
    options = SearchOptions(limit=10, trim_ratio=0.0)
    answers = [index.search(namespace, "memory", f"words of m{n}", vector(n), ALL, options) for n in range(5)]
    assert all(answer.degraded == "" for answer in answers)
    return [(hit.entry_id, hit.version, hit.score) for answer in answers for hit in answer.hits]


def files(directory: Path) -> list[str]:
    return sorted(path.name.rpartition(".")[2] for path in directory.iterdir())


def saved(start: Open, directory: Path) -> tuple[Path, list[tuple[str, int, float]]]:
    """The file a stop in peace left, and what the index answered before."""
    before = found(start())
    start()
    (path,) = directory.glob("*.index")
    return path, before


def test_a_start_after_a_stop_reads_the_file_and_not_the_rows(rows: Rows, start: Open, directory: Path) -> None:
    _, before = saved(start, directory)
    loads = rows.loads
    index = start()
    assert found(index) == before
    assert rows.loads == loads
    assert index.state("ns", "memory").entries == dict.fromkeys(NAMES, 1)


def test_what_changed_since_is_taken_from_the_rows(rows: Rows, start: Open, directory: Path) -> None:
    saved(start, directory)
    rows.put(row("m3", 900, "words of m3, said anew", version=2), row("later", 901, "words of a later one"))
    loads = rows.loads
    index = start()
    state = index.state("ns", "memory")
    assert state.entries == {**dict.fromkeys(NAMES, 1), "m3": 2, "later": 1}
    assert (state.seq, rows.loads) == (rows.seq, loads)
    assert found(index) == found(RustNamespaceIndex(rows, DIMENSIONS))


def test_what_was_deleted_while_it_was_unused_takes_the_file_along(rows: Rows, start: Open, directory: Path) -> None:
    saved(start, directory)
    rows.delete("m7")
    index = start()  # as a daemon that was killed before it could delete the file
    assert files(directory) == []
    assert "m7" not in index.state("ns", "memory").entries


def test_a_delete_takes_the_file_along_at_once(rows: Rows, start: Open, directory: Path) -> None:
    saved(start, directory)
    index = start()
    found(index)
    assert files(directory) == ["index"]
    index.apply([rows.put(row("other", 1))])
    assert files(directory) == ["index"]
    index.apply([rows.delete("m7")])
    assert files(directory) == []


def test_a_delete_in_a_namespace_that_is_not_loaded_takes_its_file_along(
    rows: Rows, start: Open, directory: Path
) -> None:
    saved(start, directory)
    start().apply([rows.delete("m7")])
    assert files(directory) == []


def test_what_is_deleted_while_the_file_is_written_is_not_in_a_file(
    rows: Rows, start: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = start()
    before = found(index)
    real = IndexFiles.write

    def write(self: IndexFiles, *args: object) -> Path:
        path = real(self, *args)  # type: ignore[arg-type]
        index.apply([rows.delete("m7")])
        return path

    monkeypatch.setattr(IndexFiles, "write", write)
    start()
    assert files(directory) == []
    monkeypatch.undo()
    assert [hit for hit in found(start()) if hit[0] == "m7"] == []
    assert [hit for hit in before if hit[0] == "m7"]


def test_a_damaged_file_is_put_aside_and_the_rows_are_read(
    rows: Rows, start: Open, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, before = saved(start, directory)
    whole = path.read_bytes()
    for damage in (b"", whole[:100], whole[:-1], whole[:200] + b"\xff" * 8 + whole[208:], b"x" * len(whole)):
        path.write_bytes(damage)
        index = start()
        loads = rows.loads
        with caplog.at_level(logging.WARNING):
            assert found(index) == before
        assert rows.loads == loads + 1
        assert "damaged" in caplog.text
        assert files(directory) == ["damaged"]
        start()
        (path,) = directory.glob("*.index")


def test_a_damaged_file_goes_with_what_is_deleted(rows: Rows, start: Open, directory: Path) -> None:
    path, _ = saved(start, directory)
    path.write_bytes(path.read_bytes()[:-1])
    index = start()
    found(index)
    assert files(directory) == ["damaged"]
    index.apply([rows.delete("m7")])
    assert files(directory) == []


def test_a_file_of_another_model_or_history_or_name_is_not_used(
    rows: Rows, start: Open, directory: Path, tmp_path: Path
) -> None:
    path, before = saved(start, directory)
    other = IndexFiles(tmp_path, "another/model", DIMENSIONS)
    assert other.load("ns", "memory") is None
    assert files(directory) == []

    path, before = saved(start, directory)
    key, seq, mark, suffix = path.name.split(".")
    path.rename(directory / f"{key}.{seq}.{'0' * len(mark)}.{suffix}")
    loads = rows.loads
    assert found(start()) == before
    assert rows.loads == loads + 1

    path, _ = saved(start, directory)
    rows.put(row("stranger", 5), namespace="elsewhere")
    files_of = IndexFiles(tmp_path, MODEL, DIMENSIONS)
    named = files_of.write("elsewhere", "memory", NamespaceIndex(DIMENSIONS), int(path.name.split(".")[1]), "")
    path.replace(named)
    assert IndexFiles(tmp_path, MODEL, DIMENSIONS).load("elsewhere", "memory") is None


def test_files_of_no_namespace_and_unfinished_ones_go_at_start(start: Open, directory: Path) -> None:
    path, _ = saved(start, directory)
    path.rename(directory / ("0" * 32 + path.name[32:]))
    (directory / "something.saving").write_bytes(b"half")
    (directory / "foreign").write_bytes(b"?")
    start()
    assert files(directory) == []


def test_a_full_disk_costs_the_file_and_nothing_else(
    rows: Rows, start: Open, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    before = found(start())
    monkeypatch.setattr(IndexFiles, "write", full)
    index = start()
    assert "No space left" in caplog.text
    assert files(directory) == []
    assert found(index) == before


def test_an_index_that_is_out_of_use_is_not_saved_any_more(rows: Rows, start: Open, directory: Path) -> None:
    index = start()
    found(index)
    slot = index._slot("ns", "memory")
    index._upkeep.dropped(slot)
    slot.save(rows)
    assert list(directory.glob("*.index")) == []
