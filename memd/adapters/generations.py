"""The embedder that serves and the index of its embeddings: a pair, so that no query of one model meets vectors of another.

Whoever embeds a query searches, on the thread that did it, the index of the same pair, also when another pair has begun to
serve meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from memd.adapters.index import RustNamespaceIndex
from memd.domain.filters import Filter
from memd.domain.model import EmbeddingModel
from memd.ports import Embedder, EmbedderStats, IndexAnswer, IndexChange, IndexState, SearchOptions

T = TypeVar("T")


class Generation:
    """One pair, and how many queries of it are under way. On the event loop."""

    def __init__(self, embedder: Embedder, index: RustNamespaceIndex) -> None:
        self.embedder = embedder
        self.index = index
        self._queries = 0
        self._idle: asyncio.Event | None = None

    def begin_query(self) -> None:
        self._queries += 1

    def end_query(self) -> None:
        self._queries -= 1
        if self._idle is not None and not self._queries:
            self._idle.set()

    async def drained(self) -> None:
        """When no query of it is under way any more; for a pair that gets no new ones."""
        self._idle = asyncio.Event()
        if self._queries:
            await self._idle.wait()


class Generations:
    """``current`` serves; replace it from any thread."""

    def __init__(self, first: Generation) -> None:
        self.current = first
        self._bound = threading.local()

    @property
    def index(self) -> RustNamespaceIndex:
        """Of the query that runs on this thread, else the current one."""
        generation: Generation = getattr(self._bound, "generation", self.current)
        return generation.index

    def bound(self, generation: Generation, work: Callable[[], T]) -> T:
        """``work``, whose searches go to this generation's index."""
        self._bound.generation = generation
        try:
            return work()
        finally:
            del self._bound.generation


class CurrentEmbedder:
    """Implements ``ports.Embedder`` with the one that serves."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    @property
    def model(self) -> EmbeddingModel | None:
        return self._generations.current.embedder.model

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        bound, generation = self._generations.bound, self._generations.current

        def use_bound(embedding: bytes) -> T:
            return bound(generation, lambda: use(embedding))

        def meanwhile_bound() -> None:
            if meanwhile is not None:
                bound(generation, meanwhile)

        generation.begin_query()
        try:
            return await generation.embedder.query(
                text,
                use_bound,
                meanwhile=None if meanwhile is None else meanwhile_bound,
                cache=cache,
                behind=behind,
            )
        finally:
            generation.end_query()

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        return await self._generations.current.embedder.memories(texts)

    def stats(self) -> EmbedderStats:
        return self._generations.current.embedder.stats()

    def close(self) -> None:
        self._generations.current.embedder.close()


class CurrentIndex:
    """Implements ``ports.NamespaceIndex`` with the one that serves."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        return self._generations.index.search(namespace, kind, query, embedding, where, options)

    def prepare(
        self, namespace: str, kind: str, query: str, where: Filter, options: SearchOptions
    ) -> Callable[[bytes | None], IndexAnswer]:
        return self._generations.index.prepare(namespace, kind, query, where, options)

    def state(self, namespace: str, kind: str) -> IndexState:
        return self._generations.index.state(namespace, kind)

    def apply(self, changes: Sequence[IndexChange]) -> None:
        self._generations.index.apply(changes)

    def loaded(self) -> int:
        return self._generations.index.loaded()
