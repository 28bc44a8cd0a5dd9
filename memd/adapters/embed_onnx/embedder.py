"""The embedder: texts to unit vectors on worker threads, without ever blocking the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from memd.adapters.embed_onnx import cache, cpus
from memd.adapters.embed_onnx.lru import QueryCache
from memd.adapters.embed_onnx.pieces import WordPieces
from memd.adapters.embed_onnx.session import EncoderSession, mean_direction
from memd.adapters.embed_onnx.weights import TOKENIZER_FILE
from memd.adapters.embed_onnx.workers import Job, Step, Workers
from memd.domain.errors import InvalidArgument, ModelUnavailable
from memd.domain.model import EmbeddingModel
from memd.limits import QUERY_CACHE_ENTRIES
from memd.ports import EmbedderStats

T = TypeVar("T")


class OnnxEmbedder:
    """all-MiniLM-L6-v2 through ONNX Runtime; implements ``ports.Embedder``. Close it to end its threads.

    An embedding is ``model.dimensions`` little-endian float32 of unit length, as bytes. The same text has the same
    embedding whatever else is being embedded.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        session: EncoderSession,
        pieces: WordPieces,
        *,
        workers: Workers,
        query_cache_entries: int = QUERY_CACHE_ENTRIES,
    ) -> None:
        self.model: EmbeddingModel | None = model
        self._session = session
        self._pieces = pieces
        self._workers = workers
        self._query_cache_entries = query_cache_entries
        self._queries = QueryCache(query_cache_entries)

    @classmethod
    def load(
        cls,
        model_dir: Path,
        *,
        threads: int | None = None,
        query_cache_entries: int = QUERY_CACHE_ENTRIES,
        exact_int8: bool | None = None,
    ) -> OnnxEmbedder:
        """Load an installed model (``cache.model_dir``), digests checked. ModelUnavailable when it is not whole.

        ``threads``: default one per usable CPU. ``exact_int8``: see ``EncoderSession``; default as the CPU needs.
        """
        loaded = _load(model_dir, exact_int8)
        return cls(*loaded, workers=Workers(threads or cpus.usable_cpus()), query_cache_entries=query_cache_entries)

    def beside(self, model_dir: Path) -> OnnxEmbedder:
        """An embedder of another installed model on the same threads, so that queries of the one go before the memories of
        the other too. They end with the first ``close`` of either. Errors as ``load``."""
        loaded = _load(model_dir, None)
        return OnnxEmbedder(*loaded, workers=self._workers, query_cache_entries=self._query_cache_entries)

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        """``use(embedding)`` of a query, on a worker thread: one hop there and one back.

        ``meanwhile`` runs before ``use``: on another worker thread while the model runs, where one is free. A query of more
        than 256 word pieces is embedded as windows, its embedding is the direction of their mean. ``cache=False`` neither
        reads nor fills the cache; ``behind`` waits with the memories, behind the queries. Errors: InvalidArgument (over 16
        windows), LimitExceeded (too many queries wait), ShuttingDown, and whatever ``use`` and ``meanwhile`` raise.
        """
        embedding: list[bytes] = []

        def begun() -> None:
            # Not before: until the model runs, a second thread would only take turns with this one at the interpreter.
            if meanwhile is not None:
                self._workers.extend(job, [meanwhile])

        def embed() -> None:
            embedding.append(self._query_embedding(text, begun, cache=cache))

        job = Job([embed], lambda: use(embedding[0]))
        return await self._workers.submit(job, bulk=behind)

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        """The embeddings of each text, in order: one, or one per overlapping window of over 256 word pieces.

        One job in the queue, on as many threads as are free. Errors: InvalidArgument (a text needs over 16 windows),
        LimitExceeded (too many texts wait), ShuttingDown.
        """
        if not texts:
            return []
        batch = _Batch(texts, self._pieces, self._session, self._workers)
        return await self._workers.submit(batch.job, bulk=True)

    def now(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        """Blocking: ``memories`` on the calling thread, past every queue. InvalidArgument."""
        return [tuple([self._session.embed(ids) for ids in self._pieces.windows(text)]) for text in texts]

    def stats(self) -> EmbedderStats:
        return EmbedderStats(
            threads=self._workers.threads,
            queue_depth=self._workers.depth(),
            cache_entries=len(self._queries),
            cache_hits=self._queries.hits,
            cache_misses=self._queries.misses,
        )

    def close(self) -> None:
        """Fail what waits with ShuttingDown, let running steps end, stop the threads. Idempotent."""
        self._workers.close()

    def _query_embedding(self, text: str, begun: Callable[[], None], *, cache: bool) -> bytes:
        cached = self._queries.get(text) if cache else None
        if cached is not None:
            begun()
            return cached
        windows = self._pieces.windows(text)
        begun()
        embedding = mean_direction([self._session.embed(ids) for ids in windows])
        if cache:
            self._queries.put(text, embedding)
        return embedding


def _load(model_dir: Path, exact_int8: bool | None) -> tuple[EmbeddingModel, EncoderSession, WordPieces]:
    model = cache.verify(model_dir)
    exact = cpus.int8_saturates() if exact_int8 is None else exact_int8
    session = EncoderSession(model_dir / cache.MODEL_FILE, exact_int8=exact and model.precision != "fp32")
    return model, session, WordPieces((model_dir / TOKENIZER_FILE).read_bytes())


class _Batch:
    """The job of embedding some memories: a step per text, and a step per further window of a long one."""

    def __init__(self, texts: Sequence[str], pieces: WordPieces, session: EncoderSession, workers: Workers) -> None:
        self._texts = texts
        self._pieces = pieces
        self._session = session
        self._workers = workers
        self._embeddings: list[list[bytes]] = [[] for _ in texts]
        steps: list[Step] = [partial(self._start, index) for index in range(len(texts))]
        self.job: Job[list[tuple[bytes, ...]]] = Job(steps, self._finish)

    def _start(self, index: int) -> None:
        try:
            windows = self._pieces.windows(self._texts[index])
        except InvalidArgument as exc:
            raise InvalidArgument(exc.message, metadata={"text": str(index)}) from exc
        self._embeddings[index] = [b""] * len(windows)
        self._workers.extend(self.job, [partial(self._embed, index, n, ids) for n, ids in enumerate(windows) if n])
        self._embed(index, 0, windows[0])

    def _finish(self) -> list[tuple[bytes, ...]]:
        return [tuple(windows) for windows in self._embeddings]

    def _embed(self, index: int, window: int, ids: list[int]) -> None:
        self._embeddings[index][window] = self._session.embed(ids)


class AbsentEmbedder:
    """Stands in while there is no usable model: embedding fails with the reason, everything else keeps serving."""

    model: EmbeddingModel | None = None

    def __init__(self, reason: ModelUnavailable) -> None:
        self._message = reason.message

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        raise ModelUnavailable(self._message)

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        raise ModelUnavailable(self._message)

    def stats(self) -> EmbedderStats:
        return EmbedderStats(threads=0, queue_depth=0, cache_entries=0, cache_hits=0, cache_misses=0)

    def close(self) -> None:
        """Nothing to close."""
