"""The second embedder and index of a daemon on its way to another model; implements ``ports.ModelSwitch``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from memd.adapters.embed_onnx import OnnxEmbedder
from memd.adapters.generations import Generation, Generations
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.domain.errors import ModelUnavailable
from memd.domain.model import EmbeddingModel
from memd.ports import IndexChange


class OnlineModelSwitch:
    """``directory`` says where a model is installed; ``open_index`` makes an empty index without files, ``open_files`` where
    it is saved once it serves."""

    def __init__(
        self,
        generations: Generations,
        feed: IndexFeed,
        directory: Callable[[EmbeddingModel], Path],
        open_index: Callable[[EmbeddingModel], RustNamespaceIndex],
        open_files: Callable[[EmbeddingModel], IndexFiles],
    ) -> None:
        self._generations = generations
        self._feed = feed
        self._directory = directory
        self._open_index = open_index
        self._open_files = open_files
        self._embedder: OnnxEmbedder | None = None
        self._before: Generation | None = None

    async def prepare(self, model: EmbeddingModel) -> None:
        if self._embedder is None or self._embedder.model != model:
            serving = self._generations.current.embedder
            if not isinstance(serving, OnnxEmbedder):
                raise ModelUnavailable("the model that serves could not be loaded: run `memd model install`")
            self._embedder = await asyncio.to_thread(serving.beside, self._directory(model))

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        """One text at a time on all threads but one, so that a query finds a free one where there are several."""
        lanes = max(1, self._other.stats().threads - 1)
        made = await asyncio.gather(*(self._lane(texts[lane::lanes]) for lane in range(lanes)))
        return [made[at % lanes][at // lanes] for at in range(len(texts))]

    def embed_now(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        return self._other.now(texts)

    async def build(self) -> None:
        assert self._other.model is not None
        self._feed.beside = beside = await asyncio.to_thread(self._open_index, self._other.model)
        await asyncio.to_thread(beside.preload, self._generations.current.index.namespaces())

    def put(self, changes: Sequence[IndexChange]) -> None:
        if self._feed.beside is not None:
            self._feed.beside.apply(changes)

    def swap(self) -> None:
        assert self._feed.beside is not None
        self._before = self._generations.current
        self._generations.current = Generation(self._other, self._feed.beside)
        self._feed.index, self._feed.beside = self._feed.beside, None

    async def settle(self) -> None:
        before, self._before, self._embedder = self._before, None, None
        if before is None:
            return
        await before.drained()
        await asyncio.to_thread(before.index.discard)
        now = self._generations.current
        assert now.embedder.model is not None
        now.index.adopt(await asyncio.to_thread(self._open_files, now.embedder.model))

    async def abandon(self) -> None:
        beside, self._feed.beside, self._embedder = self._feed.beside, None, None
        if beside is not None:
            await asyncio.to_thread(beside.discard)

    @property
    def _other(self) -> OnnxEmbedder:
        assert self._embedder is not None
        return self._embedder

    async def _lane(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        return [(await self._other.memories([text]))[0] for text in texts]
