"""The answer of last resort: an exact scan over rows as they stream from the store, while their index is loading."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memd import _core
from memd.domain.filters import Filter, matches
from memd.ports import IndexAnswer, IndexHit, IndexRow, SearchOptions

INDEX_LOADING = "INDEX_LOADING"
_USUAL_COVERAGE = 0.4
"""Words are not looked at here: the best memory is taken to have this part of the query's."""


def scan(
    snapshot: tuple[int, Iterator[Sequence[IndexRow]]], embedding: bytes | None, where: Filter, options: SearchOptions
) -> IndexAnswer:
    """Blocking. The rows that match ``where``, best cosine first, words ignored; always DEGRADED.

    ``score`` is the cosine, raised to 0. Without an embedding nothing can be found this way.
    """
    seq, batches = snapshot
    best: list[tuple[float, str, int]] = []
    if embedding is not None:
        query = np.frombuffer(embedding, dtype="<f4")
        for rows in batches:
            best = heapq.nlargest(options.limit, [*best, *_cosines(rows, query, where)])
    hits = [_hit(entry_id, version, cosine) for cosine, entry_id, version in best if _near_enough(cosine, options)]
    return IndexAnswer(tuple(hits), not best or best[0][0] < _nothing_below(options), seq, INDEX_LOADING)


def _nothing_below(options: SearchOptions) -> float:
    cosine, coverage = _core.default_nothing()
    asked = cosine if options.nothing_below is None else options.nothing_below
    return asked - coverage * _USUAL_COVERAGE


def _cosines(rows: Sequence[IndexRow], query: NDArray[np.float32], where: Filter) -> list[tuple[float, str, int]]:
    """Cosine of the best window of each matching row that has one, with its id and version."""
    seen = [row for row in rows if row.embeddings and matches(where, {"memory_id": row.entry_id, **_fields(row)})]
    if not seen:
        return []
    windows = np.frombuffer(b"".join([row.embeddings for row in seen]), dtype="<f4").reshape(-1, query.size)
    counts = [len(row.embeddings) // query.nbytes for row in seen]
    starts = np.cumsum([0, *counts[:-1]])
    cosines = np.maximum.reduceat(windows @ query, starts)
    return [(float(c), row.entry_id, row.version) for c, row in zip(cosines, seen, strict=True)]


def _fields(row: IndexRow) -> dict[str, object]:
    fields: dict[str, object] = json.loads(row.fields)
    return fields


def _near_enough(cosine: float, options: SearchOptions) -> bool:
    return options.min_relevance is None or cosine >= options.min_relevance


def _hit(entry_id: str, version: int, cosine: float) -> IndexHit:
    return IndexHit(entry_id, version, max(0.0, cosine), cosine, 0.0, max(0.0, cosine), 0.0, 0)
