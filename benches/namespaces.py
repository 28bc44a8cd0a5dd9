"""Many small namespaces: what their indexes cost in memory beyond the data itself, and what it costs to come back.

Stores and index as in the daemon, in this process; embeddings are random unit vectors, since only their size matters here.
Every namespace is filled and searched, then some are searched at random under ``--memory-mb``. *Data* is what the memories
themselves are: float32 vectors, texts and ids. ``index_mb`` is the growth of anonymous memory without a limit and
``beyond_data_mb`` what of it is not data; ``limited_most_mb`` is the most it grows with the limit, when all are asked.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches import report
from benches.corpus import Corpus
from benches.report import Figure, Target, median, percentile, progress
from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import EmbeddingModel, Memory, NewMemory, Scope
from memd.domain.visibility import visible
from memd.limits import INDEX_UPKEEP_INTERVAL_S, MEGABYTE
from memd.ports import SearchOptions

TARGETS = (Target("limited_most_mb", "<=", 150.0),)
DIMENSIONS = 384
VECTOR_BYTES = DIMENSIONS * 4
MODEL = EmbeddingModel("bench/random", "0" * 64, DIMENSIONS, "fp32", 256)
USER = "ada"
AT_ONCE = 32
"""Namespaces filled at a time, so that they share commits."""


@dataclass(frozen=True, slots=True)
class Data:
    """What was stored."""

    namespaces: list[str]
    bytes: int


def vector(rng: np.random.Generator) -> bytes:
    """A unit vector."""
    bare = rng.standard_normal(DIMENSIONS)
    return (bare / np.linalg.norm(bare)).astype("<f4").tobytes()


async def fill(stores: SqliteStores, args: argparse.Namespace) -> Data:
    """``--namespaces`` namespaces of ``--memories`` memories."""
    rng = np.random.default_rng(args.seed)
    texts = Corpus(args.seed).memories(args.namespaces * args.memories)
    names = [f"tenant-{number:06d}" for number in range(args.namespaces)]
    fence = await stores.memories.fence(names[0])
    for start in range(0, len(names), AT_ONCE):
        await asyncio.gather(
            *(
                stores.memories.remember(
                    name,
                    [_draft(name, texts[(start + at) * args.memories + n], rng) for n in range(args.memories)],
                    fence=fence,
                    writer="bench",
                    request=None,
                )
                for at, name in enumerate(names[start : start + AT_ONCE])
            )
        )
        if start % (AT_ONCE * 64) == 0:
            progress(f"{start} of {len(names)} namespaces filled")
    return Data(names, sum(len(text.encode()) + len(text) + VECTOR_BYTES for text in texts))


def _draft(namespace: str, text: str, rng: np.random.Generator) -> NewMemory:
    return NewMemory(Memory(f"m-{rng.integers(1 << 60)}", Scope(namespace, USER), text), (vector(rng),))


@contextmanager
def index_over(stores: SqliteStores, directory: Path, memory_mb: int) -> Iterator[RustNamespaceIndex]:
    """An index of its own, closed at the end."""
    files = IndexFiles(directory, "bench", DIMENSIONS)
    index = RustNamespaceIndex(stores.memories, DIMENSIONS, files=files, memory_bytes=memory_mb * MEGABYTE)
    try:
        yield index
    finally:
        index.close()


def searcher(index: RustNamespaceIndex, seed: int) -> Callable[[str], float]:
    """A search of one namespace: milliseconds until its answer, the load included."""
    rng, options = np.random.default_rng(seed), SearchOptions(limit=5)

    def search(namespace: str) -> float:
        where = visible(Scope(namespace, USER), at_us=1 << 60, now_us=0)
        query = vector(rng)
        started = time.perf_counter()
        index.search(namespace, "memory", "harbour", query, where, options)
        return (time.perf_counter() - started) * 1e3

    return search


def anonymous_mb() -> float:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


async def measure(args: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    """All figures."""
    stores = SqliteStores.open(directory, model=MODEL, clock=SystemClock(), sink=IndexFeed())
    try:
        data = await fill(stores, args)
        return {
            "namespaces": args.namespaces,
            "memories": args.memories,
            "data_mb": data.bytes / MEGABYTE,
            **await asyncio.to_thread(_limited, stores, directory, data, args),
            **await asyncio.to_thread(_unlimited, stores, directory, data, args),
        }
    finally:
        await asyncio.to_thread(stores.close)


def _unlimited(stores: SqliteStores, directory: Path, data: Data, args: argparse.Namespace) -> dict[str, Figure]:
    before = anonymous_mb()
    with index_over(stores, directory, 1 << 20) as index:
        search = searcher(index, args.seed)
        first = [search(namespace) for namespace in data.namespaces]
        again = [search(namespace) for namespace in data.namespaces]
        taken = anonymous_mb() - before
        return {
            "index_mb": taken,
            "beyond_data_mb": taken - data.bytes / MEGABYTE,
            "loaded": index.loaded(),
            "first_search_p50_ms": median(first),
            "first_search_p99_ms": percentile(first, 99),
            "search_p50_ms": median(again),
        }


def _limited(stores: SqliteStores, directory: Path, data: Data, args: argparse.Namespace) -> dict[str, Figure]:
    rng, before, most = random.Random(args.seed), anonymous_mb(), 0.0
    with index_over(stores, directory, args.memory_mb) as index:
        search = searcher(index, args.seed)
        taken = []
        for number in range(len(data.namespaces)):
            taken.append(search(rng.choice(data.namespaces)))
            if number % 100 == 0:
                most = max(most, anonymous_mb() - before)
        time.sleep(3 * INDEX_UPKEEP_INTERVAL_S)
        return {
            "memory_limit_mb": args.memory_mb,
            "limited_mb": anonymous_mb() - before,
            "limited_most_mb": most,
            "limited_loaded": index.loaded(),
            "limited_search_p50_ms": median(taken),
        }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--namespaces", type=int, default=10_000)
    parser.add_argument("--memories", type=int, default=20, help="of each namespace")
    parser.add_argument("--memory-mb", type=int, default=100, help="the limit of the second part")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measure(args, Path(directory)))
    report.publish("namespaces", args, figures, TARGETS)


if __name__ == "__main__":
    main()
