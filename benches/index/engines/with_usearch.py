"""usearch, over half-precision or int8 vectors: ``--dtype``."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from benches.index.engines.engine import EF_CONSTRUCTION, Engine, M, Mask, Slots, Unsupported, Vectors, serve


class Usearch(Engine):
    """Cosine, which both of its number formats know. Its Python package has no filter."""

    def __init__(self, dimensions: int, *, dtype: str) -> None:
        super().__init__(dimensions)
        self._index: Any = Index(
            ndim=dimensions, metric="cos", dtype=dtype, connectivity=M, expansion_add=EF_CONSTRUCTION
        )
        self._exact = False

    def build(self, rows: Vectors, threads: int) -> None:
        self._index.add(np.arange(len(rows)), rows, threads=threads)

    def own_bytes(self) -> int:
        return int(self._index.memory_usage)

    def configure(self, ef: int, visible: Mask | None) -> None:
        if visible is not None:
            raise Unsupported
        self._exact = ef == 0
        if ef:
            self._index.expansion_search = ef

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k, threads=1, exact=self._exact)

    def slots(self, answer: Any) -> list[int]:
        found: list[int] = answer.keys.tolist()
        return found

    def remove(self, slots: Slots) -> None:
        self._index.remove(slots)

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        self._index.load(str(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=["f16", "i8"], required=True)
    serve(functools.partial(Usearch, dtype=parser.parse_args().dtype))
