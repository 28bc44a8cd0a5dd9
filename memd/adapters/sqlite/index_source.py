"""``ports.IndexSource`` over the rows of the file, with their embeddings of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memd.adapters.sqlite.connection import Readers
from memd.adapters.sqlite.loading import changed, erased_since, load, mark
from memd.adapters.sqlite.reads import ReadPool
from memd.domain.model import EmbeddingModel
from memd.ports import IndexChanges, IndexRow


class SqliteIndexSource:
    """Also while the store is on its way to that model, or has gone on to another: embeddings of two are never mixed."""

    def __init__(self, readers: Readers, reads: ReadPool, model: EmbeddingModel) -> None:
        self._readers = readers
        self._reads = reads
        self._model = model

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        return load(self._readers.fresh(), namespace, kind, self._model)

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> IndexChanges | None:
        return changed(self._readers.fresh(), namespace, kind, since, mark, self._model)

    def mark(self, namespace: str, seq: int) -> str:
        return self._reads.blocking(lambda connection: mark(connection, namespace, seq))

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        return self._reads.blocking(lambda connection: erased_since(connection, namespace, kind, seq))
