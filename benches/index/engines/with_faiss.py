"""faiss, HNSW over float32."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benches.index.engines.engine import EF_CONSTRUCTION, Engine, Mask, Unsupported, Vectors, serve

_M = 32


class FaissHnsw(Engine):
    """HNSW32: its usual name in the index factory. It cannot remove."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._index: Any = None
        self._parameters: Any = None
        self._selector: Any = None

    def build(self, rows: Vectors, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexHNSWFlat(self.dimensions, _M, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        self._index.add(rows)
        faiss.omp_set_num_threads(1)

    def configure(self, ef: int, visible: Mask | None) -> None:
        if ef == 0:
            raise Unsupported
        options: dict[str, Any] = {"efSearch": ef}
        if visible is not None:
            bits = np.packbits(visible, bitorder="little")
            self._selector = faiss.IDSelectorBitmap(bits)  # kept: the parameters only point to it
            options["sel"] = self._selector
        self._parameters = faiss.SearchParametersHNSW(**options)

    def prepared(self, query: Vectors) -> Any:
        return np.ascontiguousarray(query[None])

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k, params=self._parameters)

    def slots(self, answer: Any) -> list[int]:
        return [slot for slot in answer[1][0].tolist() if slot >= 0]

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def load(self, path: Path) -> None:
        self._index = faiss.read_index(str(path))


if __name__ == "__main__":
    faiss.omp_set_num_threads(1)
    serve(FaissHnsw)
