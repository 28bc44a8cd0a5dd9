"""memd's own index, by its Python surface: the only file of the benchmark that knows it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benches.index.engines.engine import Engine, Mask, Slots, Vectors, serve
from memd import _core


class VectorIndex(Protocol):
    """What is expected of ``memd._core.VectorIndex(dimensions)``. Vectors are little-endian float32, slots uint32."""

    @property
    def memory_bytes(self) -> int: ...
    def add(self, slots: bytes, vectors: bytes) -> None: ...
    def build(self, threads: int) -> None:
        """Link everything that was added."""

    def search(self, query: bytes, k: int, ef: int, visible: bytes | None, exact: bool) -> list[tuple[int, float]]:
        """Slots and cosines, best first. ``visible``: slot n is bit n % 8, lowest first, of byte n // 8."""

    def search_times_ns(self, queries: bytes, k: int, ef: int) -> list[int]:
        """Nanoseconds of each search, timed around the call of the core: what the overhead of Python is measured against."""

    def remove(self, slots: bytes) -> None: ...
    def maintain(self) -> None:
        """Repair around what was removed, until nothing is left to do."""

    def save(self, path: str) -> None: ...
    def load(self, path: str) -> None: ...


class Memd(Engine):
    """Rows are added and then linked; the time of both is the build's, as removal's holds the repair."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        index: type[Any] | None = getattr(_core, "VectorIndex", None)
        if index is None:
            sys.exit("this build of memd._core has no VectorIndex: compare the others with --only")
        self._index: VectorIndex = index(dimensions)
        self._ef = 0
        self._exact = True
        self._visible: bytes | None = None

    def build(self, rows: Vectors, threads: int) -> None:
        step = 10_000  # the copies that the calls take stay small
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            self._index.add(_slots(np.arange(start, start + len(chunk))), chunk.astype("<f4", copy=False).tobytes())
        self._index.build(threads)

    def own_bytes(self) -> int:
        return self._index.memory_bytes

    def configure(self, ef: int, visible: Mask | None) -> None:
        self._ef, self._exact = ef, ef == 0
        self._visible = None if visible is None else np.packbits(visible, bitorder="little").tobytes()

    def prepared(self, query: Vectors) -> bytes:
        return query.astype("<f4", copy=False).tobytes()

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k, self._ef, self._visible, self._exact)

    def slots(self, answer: Any) -> list[int]:
        return [slot for slot, _ in answer]

    def core_times_us(self, queries: Sequence[Any], k: int) -> list[float]:
        return [taken / 1e3 for taken in self._index.search_times_ns(b"".join(queries), k, self._ef)]

    def remove(self, slots: Slots) -> None:
        self._index.remove(_slots(slots))
        self._index.maintain()

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        self._index.load(str(path))


def _slots(numbers: Slots) -> bytes:
    return numbers.astype("<u4").tobytes()


if __name__ == "__main__":
    serve(Memd)
