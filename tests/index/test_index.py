"""The index follows the rows: snapshot and commits meet without a gap, whatever arrives while it loads."""

from __future__ import annotations

import inspect
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from memd import _core
from memd.adapters import index as index_module
from memd.adapters.index import RustNamespaceIndex
from memd.domain.errors import Corruption, InvalidArgument
from memd.domain.filters import Compare, Filter
from memd.ports import IndexChange, IndexRow, SearchOptions
from tests.index.rows import ALL, DIMENSIONS, MANY, Rows, row, vector

TIMEOUT_S = 30.0


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def index(rows: Rows) -> Iterator[RustNamespaceIndex]:
    made = RustNamespaceIndex(rows, DIMENSIONS, inline_rows=50)
    yield made
    rows.gate.release(MANY)
    made.close()


def options(limit: int = 100) -> SearchOptions:
    return SearchOptions(limit=limit, trim_ratio=0.0, candidates=1_000)


def ids(
    index: RustNamespaceIndex, where: Filter = ALL, seed: int = 0, kind: str = "memory", limit: int = 100
) -> list[str]:
    answer = index.search("ns", kind, "words", vector(seed), where, options(limit))
    assert answer.degraded == ""
    return [hit.entry_id for hit in answer.hits]


def test_a_namespace_is_loaded_by_its_first_search(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(*[row(f"m{n}", n) for n in range(30)])
    assert index.loaded() == 0
    answer = index.search("ns", "memory", "", vector(7), ALL, options(limit=1))
    assert (answer.hits[0].entry_id, answer.seq, answer.degraded) == ("m7", 1, "")
    assert answer.hits[0].relevance == pytest.approx(1.0, abs=1e-3)
    assert index.loaded() == 1
    assert index.search("ns", "memory", "", vector(8), ALL, options(limit=1)).hits[0].entry_id == "m8"
    assert rows.loads == 1


def test_commits_are_seen_by_the_next_search(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("a", 1))
    assert ids(index) == ["a"]
    index.apply([rows.put(row("b", 2)), rows.delete("a")])
    assert ids(index) == ["b"]
    assert index.state("ns", "memory").seq == 3
    index.apply([rows.put(row("b", 2, version=2))])
    assert index.state("ns", "memory").entries == {"b": 2}


def test_changes_of_a_namespace_that_is_not_loaded_are_ignored(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("a", 1))
    index.apply([rows.put(row("b", 2))])
    assert index.loaded() == 0
    assert set(ids(index)) == {"a", "b"}


def test_a_new_namespace_is_in_memory_from_its_first_commit_on(rows: Rows, index: RustNamespaceIndex) -> None:
    index.apply([rows.put(row("a", 1))])
    assert index.loaded() == 1
    index.apply([rows.put(row("b", 2))])
    assert set(ids(index)) == {"a", "b"}
    index.state("ns", "procedure")
    assert rows.loads == 2, "of each kind one"
    index.close()
    index.apply([IndexChange("another", "memory", 1, put=(row("c", 3),))])  # a last write of a daemon that stops


def test_one_commit_may_change_both_kinds(rows: Rows, index: RustNamespaceIndex) -> None:
    memory, procedure = rows.put(row("m", 1)), rows.put(row("p", 2), kind="procedure")
    assert ids(index) == ["m"]
    assert ids(index, kind="procedure") == ["p"]
    seq = procedure.seq + 1
    index.apply([IndexChange("ns", kind, seq, delete_all=True) for kind in ("memory", "procedure")])
    assert ids(index) == ids(index, kind="procedure") == []
    assert index.state("ns", "memory").seq == index.state("ns", "procedure").seq == seq
    index.apply([IndexChange("ns", "memory", seq + 1, put=(row("n", 3),))])
    assert index.state("ns", "procedure").seq == seq + 1, "the change number is the namespace's"
    assert memory.kind == "memory"


def test_commits_during_a_load_are_applied_after_the_snapshot_and_never_twice(
    rows: Rows, index: RustNamespaceIndex
) -> None:
    rows.put(*[row(f"m{n}", n) for n in range(20)])
    rows.gate = threading.Semaphore(0)
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(ids, index)
        assert rows.loading.wait(10)
        stale = IndexChange("ns", "memory", 1, put=(row("m0", 0, version=9),), delete=("m1",))
        index.apply([stale, rows.delete("m2"), rows.put(row("late", 77))])
        rows.gate.release(MANY)
        found = search.result(10)
    assert set(found) == {f"m{n}" for n in range(20) if n != 2} | {"late"}
    assert index.state("ns", "memory").entries["m0"] == 1
    assert index.state("ns", "memory").seq == rows.seq


def test_a_large_namespace_answers_by_exact_scan_while_it_loads(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(*[row(f"m{n}", n, user="u" if n % 2 else "v", windows=1 + n % 3) for n in range(200)])
    rows.gate = threading.Semaphore(6)  # batches of ten: more than may be waited for, less than all
    where = Compare("eq", "user_id", "u")
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(index.state, "ns", "memory")
        scanned = index.search("ns", "memory", "", vector(7), where, options(limit=10))
        words_only = index.search("ns", "memory", "words", None, where, options(limit=10))
        assert not loaded.done()
        rows.gate.release(MANY)
    loaded.result(10)
    exact = index.search("ns", "memory", "", vector(7), where, options(limit=10))
    assert scanned.degraded == words_only.degraded == "INDEX_LOADING"
    assert words_only.hits == ()
    assert exact.degraded == ""
    assert [hit.entry_id for hit in scanned.hits] == [hit.entry_id for hit in exact.hits]
    for scan, hit in zip(scanned.hits, exact.hits, strict=True):
        assert scan.relevance == pytest.approx(hit.relevance, abs=5e-3)


def test_a_failed_load_is_an_error_and_the_next_search_tries_again(rows: Rows, index: RustNamespaceIndex) -> None:
    bad = IndexRow("bad", 1, "x", b"1234", b"{}")
    rows.put(bad)
    with pytest.raises(Corruption):
        ids(index)
    rows.delete("bad")
    rows.put(row("good", 1))
    assert ids(index) == ["good"]


def test_a_change_the_index_cannot_take_makes_it_load_again(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("a", 1))
    assert ids(index) == ["a"]
    index.apply([IndexChange("ns", "memory", rows.seq + 1, put=(IndexRow("a", 2, "x", b"123", b"{}"),))])
    rows.put(row("b", 2))
    assert set(ids(index)) == {"a", "b"}
    assert rows.loads == 2


def test_a_malformed_search_is_the_callers_error(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("a", 1))
    for embedding in (b"", b"123", vector(1) * 2):
        with pytest.raises(InvalidArgument):
            index.search("ns", "memory", "x", embedding, ALL, options())


def test_the_namespace_unused_for_longest_leaves_memory(
    rows: Rows, index: RustNamespaceIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MAX_NAMESPACES_LOADED", 2)
    for namespace in ("a", "b", "a", "c"):
        for kind in ("memory", "procedure"):
            index.state(namespace, kind)
    assert index.loaded() == 2
    loads = rows.loads
    index.state("a", "memory")
    assert rows.loads == loads, "a was used more recently than b"
    index.state("b", "memory")
    assert rows.loads == loads + 1


def test_over_the_memory_limit_the_one_in_use_stays_and_the_others_come_back(rows: Rows) -> None:
    names = ("a", "b", "c")
    for name in names:
        rows.put(row(f"of {name}", 1), namespace=name)
    index = RustNamespaceIndex(rows, DIMENSIONS, memory_bytes=1)
    try:
        for name in names:
            index.state(name, "memory")
        until(lambda: index.loaded() == 1)
        loads = rows.loads
        assert index.state("c", "memory").entries == {"of c": 1}
        assert rows.loads == loads, "the one in use stays, however large"
        assert index.state("a", "memory").entries == {"of a": 1}
        assert rows.loads == loads + 1
        index.apply([rows.put(row("later", 2), namespace="b"), rows.put(row("later", 2), namespace="a")])
        assert all(index.state(name, "memory").entries == {f"of {name}": 1, "later": 1} for name in ("a", "b"))
    finally:
        index.close()


def until(done: Callable[[], bool]) -> None:
    """Wait for a background thread."""
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_empty_namespace_answers_that_nothing_is_relevant(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("p", 1), kind="procedure")
    answer = index.search("ns", "memory", "words", vector(1), ALL, options())
    assert (answer.hits, answer.nothing_relevant, answer.seq) == ((), True, 1)
    index.apply([rows.put(row("a", 1))])
    assert not index.search("ns", "memory", "words", vector(1), ALL, options()).nothing_relevant


def test_preload_loads_both_kinds(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(row("a", 1))
    assert index.preload(["ns", "other"]) == 2
    assert (index.loaded(), rows.loads) == (2, 4)
    assert ids(index) == ["a"]
    assert rows.loads == 4


def test_the_index_equals_the_rows_after_any_interleaving(rows: Rows) -> None:
    """Writers commit while searches load, evict by failure and load again; in the end ids and versions agree."""
    rng = random.Random(7)
    for _ in range(20):
        index = RustNamespaceIndex(rows, DIMENSIONS, inline_rows=50)
        started = threading.Barrier(3)

        def write(
            steps: list[tuple[str, int]], index: RustNamespaceIndex = index, gate: threading.Barrier = started
        ) -> None:
            gate.wait()
            for name, version in steps:
                index.apply([rows.put(row(name, version, version=version)) if version else rows.delete(name)])

        def search(index: RustNamespaceIndex = index, gate: threading.Barrier = started) -> None:
            gate.wait()
            for seed in range(20):
                index.search("ns", "memory", "words", vector(seed), ALL, options(5))

        steps = [(f"m{rng.randrange(40)}", rng.randrange(4)) for _ in range(100)]
        with ThreadPoolExecutor(3) as pool:
            for job in [pool.submit(write, steps), pool.submit(search), pool.submit(search)]:
                job.result(30)
        state = index.state("ns", "memory")
        assert state.entries == {one.entry_id: one.version for one in rows.rows["ns", "memory"].values()}
        assert state.seq == rows.seq
        index.close()


def test_the_defaults_of_the_ranking_are_those_of_the_core() -> None:
    signature = inspect.signature(_core.RankingOptions)
    assert signature.parameters["nothing_cosine"].default is None
    assert _core.default_nothing() == pytest.approx((0.42, 0.3))  # what the wire contract and docs/retrieval.md say
    core = {name: signature.parameters[name].default for name in ("candidates", "vector_weight", "trim_ratio")}
    assert core == {name: getattr(SearchOptions(limit=5), name) for name in core}


def test_a_search_in_two_halves_sees_what_was_changed_in_between(rows: Rows, index: RustNamespaceIndex) -> None:
    rows.put(*[row(f"m{n}", n) for n in range(3)])
    finish = index.prepare("ns", "memory", "words", ALL, options())
    assert [hit.entry_id for hit in finish(vector(1)).hits] == ids(index, seed=1)
    index.apply([rows.put(row("new", 1))])
    assert "new" in [hit.entry_id for hit in finish(vector(1)).hits]
    index.apply([IndexChange("ns", "memory", rows.seq + 1, delete_all=True)])
    emptied = finish(vector(1))
    assert (emptied.hits, emptied.nothing_relevant, emptied.seq) == ((), True, rows.seq + 1)
