"""numpy: one product of matrix and vector, and the best of it. Exact; the floor of what needs no index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benches.index.engines.engine import Engine, Mask, Slots, Vectors, serve


class NumpyScan(Engine):
    """``ef`` means nothing to it. A filter gathers the visible rows at each search, as one that differs each time must."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._rows: Vectors = np.empty((0, dimensions), np.float32)
        self._kept: Slots = np.empty(0, np.int64)
        self._visible: Slots | None = None

    def build(self, rows: Vectors, threads: int) -> None:
        self._rows = np.array(rows)
        self._kept = np.arange(len(rows))

    def own_bytes(self) -> int:
        return self._rows.nbytes

    def configure(self, ef: int, visible: Mask | None) -> None:
        self._visible = None if visible is None else np.flatnonzero(visible)

    def search(self, query: Any, k: int) -> Any:
        if self._visible is None:
            scores = self._rows @ query
            best = np.argpartition(-scores, k)[:k]
            return self._kept[best[np.argsort(-scores[best])]]
        scores = self._rows[self._visible] @ query
        best = np.argpartition(-scores, k)[:k]
        return self._visible[best[np.argsort(-scores[best])]]

    def slots(self, answer: Any) -> list[int]:
        found: list[int] = answer.tolist()
        return found

    def remove(self, slots: Slots) -> None:
        kept = np.ones(len(self._rows), np.bool_)
        kept[slots] = False
        self._rows, self._kept = self._rows[kept], self._kept[kept]

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._kept)
            np.save(file, self._rows)

    def load(self, path: Path) -> None:
        with path.open("rb") as file:
            self._kept = np.load(file)
            self._rows = np.load(file)


if __name__ == "__main__":
    serve(NumpyScan)
