"""hnswlib over float32."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hnswlib

from benches.index.engines.engine import EF_CONSTRUCTION, Engine, M, Mask, Slots, Unsupported, Vectors, serve


class Hnswlib(Engine):
    """Inner product of unit vectors, which saves it the normalising of its cosine space; a filter is a Python callback."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._index: Any = hnswlib.Index(space="ip", dim=dimensions)
        self._filter: Callable[[int], bool] | None = None

    def build(self, rows: Vectors, threads: int) -> None:
        self._index.init_index(max_elements=len(rows), M=M, ef_construction=EF_CONSTRUCTION)
        self._index.add_items(rows, num_threads=threads)

    def own_bytes(self) -> int:
        return int(self._index.index_file_size())

    def configure(self, ef: int, visible: Mask | None) -> None:
        if ef == 0:
            raise Unsupported
        self._index.set_ef(ef)
        self._filter = None if visible is None else visible.tolist().__getitem__

    def search(self, query: Any, k: int) -> Any:
        try:
            return self._index.knn_query(query, k, num_threads=1, filter=self._filter)
        except RuntimeError:  # it found fewer than k
            return None

    def slots(self, answer: Any) -> list[int]:
        found: list[int] = [] if answer is None else answer[0][0].tolist()
        return found

    def remove(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._index.mark_deleted(slot)

    def save(self, path: Path) -> None:
        self._index.save_index(str(path))

    def load(self, path: Path) -> None:
        self._index.load_index(str(path))


if __name__ == "__main__":
    serve(Hnswlib)
