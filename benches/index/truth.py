"""What should be found, by a float32 scan of everything, and how much of it an answer holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benches.index.engines.engine import Mask, Slots, Vectors

_CHUNK_ROWS = 8_192
_TIE = 1e-6  # float32 scores of equal rows differ by the order of the sums

Scores: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answers to ``queries`` among the visible ``rows``, all of unit length."""

    rows: Vectors
    queries: Vectors
    k: int
    visible: Mask
    kth: Scores
    """Of each query, the score of its k-th best row. What scores as much is right: equal rows are equally right."""

    @classmethod
    def of(cls, rows: Vectors, queries: Vectors, k: int, visible: Mask | None = None) -> Truth:
        """RuntimeError when fewer than ``k`` rows are visible."""
        mask = np.ones(len(rows), np.bool_) if visible is None else visible
        return cls(rows, queries, k, mask, kth_scores(rows, queries, k, np.flatnonzero(mask)))

    def recall(self, first: int, answers: Sequence[Sequence[int]]) -> float:
        """Mean share of the ``k`` right ones in the answers to the queries from ``first`` on; repeats count once."""
        right = 0
        for number, answer in enumerate(answers, first):
            slots = np.unique(np.asarray(answer[: self.k], np.int64))
            slots = slots[self.visible[slots]]
            right += int(np.count_nonzero(self.rows[slots] @ self.queries[number] >= self.kth[number] - _TIE))
        return right / (self.k * len(answers))


def kth_scores(rows: Vectors, queries: Vectors, k: int, slots: Slots) -> Scores:
    """The ``k``-th largest dot product of each query with the rows in ``slots``."""
    if len(slots) < k:
        raise RuntimeError(f"{len(slots)} rows to choose from, {k} are wanted: take more vectors")
    best = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(slots), _CHUNK_ROWS):
        scores = np.concatenate([best, queries @ rows[slots[start : start + _CHUNK_ROWS]].T], axis=1)
        best = np.partition(scores, -k, axis=1)[:, -k:]
    least: Scores = best.min(axis=1)
    return least
