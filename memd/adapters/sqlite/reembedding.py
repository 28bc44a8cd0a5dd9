"""Another embedding model while the daemon runs; see ``ports.Reembedding`` for what each method promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from memd.adapters.sqlite import reembed_rows
from memd.adapters.sqlite.model_guard import ModelGuard
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.reembed_rows import Lacking, Put
from memd.adapters.sqlite.schema import same_model
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import WrongState
from memd.domain.model import EmbeddingModel
from memd.ports import IndexChange, IndexSink, Unembedded


class SqliteReembedding:
    def __init__(self, writer: Writer, reads: ReadPool, tombstones: Tombstones, guard: ModelGuard) -> None:
        self._writer = writer
        self._reads = reads
        self._tombstones = tombstones
        self._guard = guard

    async def target(self) -> EmbeddingModel | None:
        return await self._reads.run(reembed_rows.target)

    async def begin(self, model: EmbeddingModel) -> None:
        def operation(tx: Transaction) -> None:
            aimed = reembed_rows.target(tx.connection)
            if aimed is None:
                reembed_rows.aim(tx.connection, model)
            elif not same_model(aimed, model):
                raise WrongState(f"the store is being changed to {aimed.model_id} already: cancel that first")

        await self._writer.submit(operation)

    async def give_up(self) -> bool:
        def operation(tx: Transaction) -> bool:
            aimed = reembed_rows.target(tx.connection)
            reembed_rows.give_up(tx.connection)
            return aimed is not None

        return await self._writer.submit(operation)

    async def counts(self) -> tuple[int, int]:
        return await self._reads.run(reembed_rows.counts)

    async def lacking(self, most: int) -> Sequence[Unembedded]:
        return await self._reads.run(lambda connection: reembed_rows.lacking(connection, most))

    async def put(
        self,
        model: EmbeddingModel,
        read: Sequence[Unembedded],
        embedded: Sequence[Sequence[bytes]],
        index: IndexSink | None,
    ) -> bool:
        def operation(tx: Transaction) -> bool:
            if not _wanted(tx, model):
                return False
            self._put(tx, read, embedded, index)
            return True

        return await self._writer.submit(operation)

    async def switch(
        self,
        model: EmbeddingModel,
        embed: Callable[[Sequence[str]], Sequence[Sequence[bytes]]],
        most: int,
        index: IndexSink,
        switched: Callable[[], None],
    ) -> bool:
        def operation(tx: Transaction) -> bool:
            read = reembed_rows.lacking(tx.connection, most + 1)
            if not _wanted(tx, model) or len(read) > most:
                return False
            self._put(tx, read, embed([one.text for one in read]), index)
            reembed_rows.switch(tx.connection, model)
            mark = self._tombstones.pass_mark(tx)
            # In this order: who takes the new fence finds everything of the new model.
            tx.after_commit += [
                switched,
                partial(self._guard.changed, model, mark),
                partial(self._tombstones.publish, mark),
            ]
            return True

        return await self._writer.submit(operation, last=True)

    async def clear(self, most: int) -> int:
        return await self._writer.submit(lambda tx: reembed_rows.clear(tx.connection, most))

    def _put(
        self,
        tx: Transaction,
        read: Sequence[Unembedded],
        embedded: Sequence[Sequence[bytes]],
        index: IndexSink | None,
    ) -> None:
        done = reembed_rows.put(tx.connection, cast(Sequence[Lacking], read), embedded)
        if index is not None and done:
            tx.after_commit.append(partial(index, _changes(tx, done)))


def _wanted(tx: Transaction, model: EmbeddingModel) -> bool:
    aimed = reembed_rows.target(tx.connection)
    return aimed is not None and same_model(aimed, model)


def _changes(tx: Transaction, done: Sequence[Put]) -> list[IndexChange]:
    """Under a change number of their own, without a line in the log: an index takes what is later than what it was loaded
    with, and no row has changed."""
    places = dict.fromkeys((one.namespace, one.kind) for one in done)
    return [
        IndexChange(
            namespace,
            kind,
            tx.bump(namespace),
            put=tuple(one.row for one in done if (one.namespace, one.kind) == (namespace, kind)),
        )
        for namespace, kind in places
    ]
