"""What the benchmark asks of an index, and the process that answers for one.

One JSON command a line on standard input, one JSON answer a line on standard output; arrays travel as .npy files. What a
library cannot do is answered with ``{"unsupported": true}``.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Slots: TypeAlias = NDArray[np.int64]

M = 16
EF_CONSTRUCTION = 200
_WARM_UP = 5


class Unsupported(Exception):
    """The library has no such call."""


class Engine:
    """One index over rows of unit length; a row's slot is its number. Searches use one thread."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def build(self, rows: Vectors, threads: int) -> None:
        """Index all rows, on an index that is empty."""
        raise NotImplementedError

    def own_bytes(self) -> int:
        """What the library says it holds."""
        raise Unsupported

    def configure(self, ef: int, visible: Mask | None) -> None:
        """How the next searches are to be done. ``ef`` 0: exactly. ``visible``: only those slots may be answered."""
        raise NotImplementedError

    def prepared(self, query: Vectors) -> Any:
        """A query in the form that ``search`` takes at no cost."""
        return query

    def search(self, query: Any, k: int) -> Any:
        """The call that is timed: what a Python program would write, and nothing else."""
        raise NotImplementedError

    def slots(self, answer: Any) -> list[int]:
        """The slots in an answer of ``search``, best first."""
        raise NotImplementedError

    def core_times_us(self, queries: Sequence[Any], k: int) -> list[float]:
        """Microseconds of the same searches without Python around them."""
        raise Unsupported

    def remove(self, slots: Slots) -> None:
        """Rows that must not be answered any more, and whatever upkeep the library wants after that."""
        raise Unsupported

    def save(self, path: Path) -> None:
        raise Unsupported

    def load(self, path: Path) -> None:
        """Make this index, which is new, the saved one."""
        raise Unsupported


class Worker:
    """Carries out the commands; holds one index."""

    def __init__(self, make: Callable[[int], Engine], rows: str, queries: str) -> None:
        self._rows: Vectors = np.load(rows, mmap_mode="r")
        self._make = make
        self._engine = make(self._rows.shape[1])
        self._queries = [self._engine.prepared(row) for row in np.load(queries)]

    def build(self, count: int, threads: int) -> dict[str, Any]:
        """``cpu_seconds``: of all threads, which a busy machine changes less. ``rss_bytes``: by how much memory grew."""
        rows = self._rows[:count]
        rows.sum()  # the file is in the page cache: nobody's build pays the disk
        before = _anonymous_bytes()
        started, cpu_started = time.perf_counter(), time.process_time()
        self._engine.build(rows, threads)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "rss_bytes": _anonymous_bytes() - before}

    def own_bytes(self) -> dict[str, Any]:
        return {"bytes": self._engine.own_bytes()}

    def search(self, first: int, last: int, k: int, ef: int, visible: str | None) -> dict[str, Any]:
        """Queries ``first`` to ``last``, not included, after a few others to warm up."""
        mask = None if visible is None else np.load(visible)
        self._engine.configure(ef, mask)
        search, clock = self._engine.search, time.perf_counter_ns
        for query in itertools.islice(itertools.cycle(self._queries[last:] + self._queries[:first]), _WARM_UP):
            search(query, k)
        taken, answers = [], []
        for query in self._queries[first:last]:
            started = clock()
            answer = search(query, k)
            taken.append((clock() - started) / 1e6)
            answers.append(answer)
        return {"ms": taken, "slots": [self._engine.slots(answer) for answer in answers]}

    def overhead(self, first: int, last: int, k: int, ef: int) -> dict[str, Any]:
        """The same searches timed around the Python call, and inside the library; both find the caches as a run before left
        them."""
        self._engine.configure(ef, None)
        self._engine.core_times_us(self._queries[first:last], k)
        outside_ms = self.search(first, last, k, ef, None)["ms"]
        inside_us = self._engine.core_times_us(self._queries[first:last], k)
        return {"inside_us": inside_us, "outside_us": [ms * 1e3 for ms in outside_ms]}

    def remove(self, slots: str) -> dict[str, Any]:
        gone = np.load(slots)
        started = time.perf_counter()
        self._engine.remove(gone)
        return {"seconds": time.perf_counter() - started}

    def save(self, path: str) -> dict[str, Any]:
        started = time.perf_counter()
        self._engine.save(Path(path))
        return {"seconds": time.perf_counter() - started, "bytes": _size(Path(path))}

    def load(self, path: str) -> dict[str, Any]:
        """Seconds until the first answer, since what is mapped is read only then."""
        self._engine = self._make(self._rows.shape[1])
        started = time.perf_counter()
        self._engine.load(Path(path))
        self._engine.configure(EF_CONSTRUCTION, None)
        self._engine.search(self._queries[0], 1)
        return {"seconds": time.perf_counter() - started}


def serve(make: Callable[[int], Engine]) -> None:
    """Answer commands until standard input ends. The first line names the files of the rows and of the queries."""
    worker = Worker(make, **json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Unsupported:
            answer = {"unsupported": True}
        print(json.dumps(answer), flush=True)


def _anonymous_bytes() -> int:
    """Resident memory that no file backs, after what is free was given back."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
