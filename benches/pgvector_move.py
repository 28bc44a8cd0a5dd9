"""Moving a namespace between Postgres's search and a sidecar's memory while it is read and written: is a read ever short or
wrong, is a write ever not found by the next read, and how long does each way take.

The sidecar is in this process: its replica, its index in memory, its routes and its moves, over the stores of the benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benches.index.truth import Truth
from benches.index.vectors import DIMENSIONS, Sample
from benches.report import Figure, median, percentile, progress
from memd._core import default_cues
from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.adapters.index_routes import RoutedIndex
from memd.adapters.postgres import PostgresStores, SearchMoves
from memd.adapters.replica import Follower, ReplicatedMemories
from memd.adapters.replica.follower import LOADING
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import EmbeddingModel, IndexPlace, Memory, NamespaceSettings, NewMemory, Scope
from memd.domain.visibility import EVERYTHING, visible
from memd.limits import DEFAULT_MAX_STALE_S, DEFAULT_REPLICA_POLL_S, SEARCH_MOVE_INTERVAL_S
from memd.ports import IndexAnswer, SearchOptions

READERS = 2
WRITE_EVERY_S = 0.5
LOOKS = 3
"""After these whatever was left behind is gone."""
LOADED_S = 600.0
SETTLE_S = 2.0
"""Reads on each side of a move."""
VECTORS_ALONE = SearchOptions(limit=10, vector_weight=1.0, trim_ratio=0.0, cues=dict.fromkeys(default_cues(), 0.0))


@dataclass
class Reads:
    """``right``: of each read, how many of the right ones it had."""

    times_ms: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    short: int = 0
    degraded: int = 0

    def figures(self, name: str) -> dict[str, Figure]:
        return {
            f"{name}_reads": len(self.right),
            f"{name}_short_reads": self.short,
            f"{name}_degraded_reads": self.degraded,
            f"{name}_recall_at_10": sum(self.right) / max(1, len(self.right)),
            f"{name}_p50_ms": median(self.times_ms),
            f"{name}_p99_ms": percentile(self.times_ms, 99),
        }


@dataclass
class Sidecar:
    namespace: str
    stores: PostgresStores
    memories: ReplicatedMemories
    follower: Follower
    moves: SearchMoves
    routed: RoutedIndex

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, namespace: str, stores: PostgresStores, model: EmbeddingModel, directory: Path
    ) -> AsyncIterator[Sidecar]:
        feed, clock = IndexFeed(), SystemClock()
        local = SqliteStores.open(directory, model=model, clock=clock, sink=feed, reset=feed.reset)
        files = IndexFiles(directory, model.model_id, DIMENSIONS)
        index = feed.index = RustNamespaceIndex(local.memories, DIMENSIONS, files=files, memory_bytes=1 << 32)
        follower = Follower(stores.changes, local.replica, clock, max_stale_s=DEFAULT_MAX_STALE_S)
        stores.memories.landed = follower.landed
        remote = stores.pgvector()
        moves = stores.moves(remote, index, drop_after_us=0)
        routed = RoutedIndex(index, remote, asyncio.get_running_loop(), moves.moved)
        await follower.start()
        try:
            memories = ReplicatedMemories(stores.memories, local.memories, follower)
            yield cls(namespace, stores, memories, follower, moves, routed)
        finally:
            await moves.close()
            await follower.close()
            index.close()
            local.close()

    async def put(self, place: IndexPlace) -> float:
        """Seconds until the namespace is searched there."""
        begun = time.perf_counter()
        settings = NamespaceSettings(index=place)
        await self.stores.settings.put_settings(
            self.namespace, settings, expected_version=0, writer="bench", request=None
        )
        while self.moves.moved(self.namespace) != (place == "pgvector"):
            await self.moves.run_once()
            await asyncio.sleep(SEARCH_MOVE_INTERVAL_S)
        seconds = time.perf_counter() - begun
        for _ in range(LOOKS):
            await self.moves.run_once()
            await self.moves.settled()
        return seconds

    async def poll(self) -> None:
        while True:
            await self.follower.poll()
            await asyncio.sleep(DEFAULT_REPLICA_POLL_S)

    async def nearest(self, embedding: bytes, where: Scope | None) -> IndexAnswer:
        condition = EVERYTHING if where is None else visible(where, at_us=0, now_us=0)
        return await asyncio.to_thread(
            self.routed.search, self.namespace, "memory", "", embedding, condition, VECTORS_ALONE
        )


@dataclass
class Load:
    """Readers and a writer that go on through the moves; ``reads`` is exchanged for each part of the measurement."""

    sidecar: Sidecar
    owner: Scope
    given: Sample
    truth: Truth
    seed: int
    reads: Reads = field(default_factory=Reads)
    writes: int = 0
    unseen: int = 0

    async def read(self, first: int) -> None:
        number = first
        while True:
            number = (number + READERS) % len(self.given.queries)
            begun = time.perf_counter()
            answer = await self.sidecar.nearest(self.given.queries[number].tobytes(), self.owner)
            reads = self.reads
            reads.times_ms.append((time.perf_counter() - begun) * 1e3)
            reads.short += len(answer.hits) < VECTORS_ALONE.limit
            reads.degraded += bool(answer.degraded)
            reads.right.append(self.truth.recall(number, [[int(hit.entry_id) for hit in answer.hits]]))

    async def write(self) -> None:
        """Somebody else's memories, each of which the next search must find by its own vector."""
        drawn = np.random.default_rng(self.seed)
        scope = Scope(self.sidecar.namespace, "somebody else")
        while True:
            vector = drawn.standard_normal(DIMENSIONS).astype("<f4")
            vector /= np.linalg.norm(vector)
            name = f"written-{self.writes}"
            draft = NewMemory(Memory(name, scope, name), (vector.tobytes(),))
            await self.sidecar.memories.remember(scope.namespace, [draft], fence=0, writer="bench", request=None)
            found = await self.sidecar.nearest(vector.tobytes(), None)
            self.writes += 1
            self.unseen += name not in [hit.entry_id for hit in found.hits]
            await asyncio.sleep(WRITE_EVERY_S)

    async def during(self, move: IndexPlace) -> tuple[float, Reads, Reads]:
        """Seconds the move took, the reads while it ran, and some after it."""
        self.reads = moving = Reads()
        seconds = await self.sidecar.put(move)
        self.reads = after = Reads()
        await asyncio.sleep(SETTLE_S)
        progress(f"searched by {move} after {seconds:.0f} s, {len(moving.right)} reads meanwhile")
        return seconds, moving, after


async def measure(
    namespace: str,
    stores: PostgresStores,
    model: EmbeddingModel,
    directory: Path,
    owner: Scope,
    given: Sample,
    seed: int,
) -> dict[str, Figure]:
    """From Postgres, where it is now, to memory and back."""
    truth = Truth.of(given.rows, given.queries, VECTORS_ALONE.limit)
    async with Sidecar.open(namespace, stores, model, directory) as sidecar:
        begun = time.perf_counter()
        if (await sidecar.follower.follow(namespace, 0, LOADED_S)).reason == LOADING:
            raise RuntimeError(f"the replica was not loaded within {LOADED_S:.0f} s")
        figures: dict[str, Figure] = {"replica_load_s": time.perf_counter() - begun}
        progress(f"the replica is here after {figures['replica_load_s']:.0f} s")
        load = Load(sidecar, owner, given, truth, seed)
        await sidecar.put("pgvector")
        running = [sidecar.poll(), load.write(), *(load.read(first) for first in range(READERS))]
        tasks = [asyncio.ensure_future(one) for one in running]
        try:
            figures |= await _there_and_back(load, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return {**figures, "moving_writes": load.writes, "moving_unseen_writes": load.unseen}


async def _there_and_back(load: Load, tasks: Sequence[asyncio.Future[None]]) -> dict[str, Figure]:
    await asyncio.sleep(SETTLE_S)
    figures = load.reads.figures("before")
    for place in ("memory", "pgvector"):
        seconds, moving, after = await load.during(place)
        for task in tasks:
            if task.done():
                task.result()  # raises: none of them ends by itself
        figures |= {f"to_{place}_s": seconds, **moving.figures(f"to_{place}"), **after.figures(f"in_{place}")}
    return figures
