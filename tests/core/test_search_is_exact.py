"""Searches give what a plain float scan in numpy and a plain BM25 give."""

from __future__ import annotations

import itertools
import json
import struct
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from memd._core import IndexEntry, NamespaceIndex, RankingOptions, SearchResult

DIMENSIONS = 384
SEED = 20_240_601


def _everything(limit: int = 50) -> RankingOptions:
    return RankingOptions(limit=limit, candidates=limit, trim_ratio=0.0, noise_cosine=-1.0)


def _blob(*components: float) -> bytes:
    return struct.pack(f"<{len(components)}f", *components)


def _clustered(count: int) -> NDArray[np.float32]:
    """Vectors with near neighbours, the hard case for the first pass: unit length, 40 clusters."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(40, DIMENSIONS))
    vectors = centres[rng.integers(0, 40, count)] + rng.normal(scale=0.4, size=(count, DIMENSIONS))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _index(vectors: NDArray[np.float32]) -> NamespaceIndex:
    index = NamespaceIndex(DIMENSIONS)
    entries = [
        IndexEntry(f"m{at:05}", 1, "", vector.tobytes(), json.dumps({"position": at}).encode())
        for at, vector in enumerate(vectors)
    ]
    index.upsert(entries, len(entries))
    return index


def _check(found: SearchResult, cosines: NDArray[np.float64], shown: NDArray[np.int64], limit: int) -> None:
    best = np.sort(cosines[shown])[::-1][:limit]
    np.testing.assert_allclose([hit.relevance for hit in found.hits], best, atol=1e-6)
    places = [int(hit.memory_id[1:]) for hit in found.hits]
    assert len(set(places)) == len(places)
    np.testing.assert_allclose(cosines[places], best, atol=1e-6)
    assert found.visible == len(shown)


def test_the_best_vectors_are_those_of_a_full_scan() -> None:
    vectors = _clustered(6000)
    index = _index(vectors)
    rng = np.random.default_rng(SEED + 1)
    for query in vectors[rng.integers(0, 6000, 40)] + rng.normal(scale=0.02, size=(40, DIMENSIONS)).astype(np.float32):
        cosines = vectors.astype(np.float64) @ query / np.linalg.norm(query)
        blob = query.astype(np.float32).tobytes()
        _check(index.search("", blob, None, _everything()), cosines, np.arange(6000), 50)
        _check(index.search("", blob, b'{"lt":["position",700]}', _everything()), cosines, np.arange(700), 50)
        _check(index.search("", blob, b'{"ge":["position",5990]}', _everything()), cosines, np.arange(5990, 6000), 50)


def test_the_best_window_counts_and_length_does_not() -> None:
    index = NamespaceIndex(2)
    far, near = _blob(0, 3), _blob(500, 1)
    index.upsert(
        [
            IndexEntry("two", 1, "", far + near, b"{}"),
            IndexEntry("far", 1, "", far, b"{}"),
        ],
        1,
    )
    found = index.search("", _blob(2, 0), None, _everything())
    assert [hit.memory_id for hit in found.hits] == ["two", "far"]
    assert found.hits[0].relevance == pytest.approx(1, abs=1e-5)


def test_words_alone_find_and_get_their_true_cosine() -> None:
    index = NamespaceIndex(2)
    near, far = _blob(1, 0), _blob(0.6, 0.8)
    index.upsert(
        [IndexEntry(f"n{at}", 1, "filler", near, b"{}") for at in range(60)]
        + [IndexEntry("w", 3, "Zebras!", far, b"{}")],
        1,
    )
    found = index.search("zebra", near, None, RankingOptions(limit=100, trim_ratio=0.0))
    by_id = {hit.memory_id: hit for hit in found.hits}
    assert by_id["w"].relevance == pytest.approx(0.6, abs=1e-6)
    assert (by_id["w"].matched_terms, by_id["w"].version, by_id["w"].word_part) == (1, 3, 1.0)
    assert [hit.memory_id for hit in index.search("zebra", None, None, _everything()).hits] == ["w"]


def test_nothing_relevant_is_said_and_the_list_stays() -> None:
    index = NamespaceIndex(2)
    assert index.search("x", None, None, _everything()).nothing_relevant
    index.upsert([IndexEntry("a", 1, "tea", _blob(0.25, 1), b"{}")], 1)
    found = index.search("coffee", _blob(1, 0), None, RankingOptions())
    assert found.nothing_relevant
    assert [hit.memory_id for hit in found.hits] == ["a"]
    assert not index.search("coffee", _blob(1, 1), None, RankingOptions()).nothing_relevant


def test_searches_run_beside_changes_and_see_whole_batches() -> None:
    """Every batch replaces all memories with one version: a search that sees two versions saw half a batch."""
    index = NamespaceIndex(2)
    blob = _blob(1, 0)
    enough = threading.Event()

    def write() -> None:
        for version in itertools.count(1):
            index.upsert([IndexEntry(f"m{at}", version, "tea", blob, b"{}") for at in range(40)], version)
            if enough.is_set():
                return

    index.upsert([IndexEntry(f"m{at}", 0, "tea", blob, b"{}") for at in range(40)], 0)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set[int]()
    try:
        while len(seen) < 20:
            versions = {hit.version for hit in index.search("tea", blob, None, _everything()).hits}
            assert len(versions) == 1
            seen |= versions
    finally:
        enough.set()
        writer.join()
    assert index.applied_seq >= 19
