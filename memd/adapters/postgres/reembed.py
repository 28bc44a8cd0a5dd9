"""Another embedding model for a database, beside the daemons that serve.

The new embeddings are made in batches beside the old ones, each batch in a transaction of its own; what is written meanwhile
is known by its version, what is forgotten takes them along. Namespaces that Postgres searches get their indexes over them
(``reembed_search``). The last transaction embeds the last few while writes wait, lets the tables of embeddings change names,
and writes the model down. From then on a daemon with the old model stores no embeddings (``Transaction.model``), reads none
(``model_guard.readable``), and sees within a second that it has to start anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from memd.adapters.postgres.connection import PostgresSettings, connect, probe
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.model_guard import MODEL, SUPERSEDED, frozen_model, identity, stored
from memd.adapters.postgres.reembed_search import NEXT, SEARCHED, NextIndexes, drop, forget_others
from memd.adapters.postgres.schema import KEEPER, check_roles, get_meta, migrate, put_meta, vector_type
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import spoken_text
from memd.domain.errors import ModelUnavailable, WrongState
from memd.domain.model import EmbeddingModel, Reembedded
from memd.limits import (
    MAX_BULK_DEADLINE_S,
    MAX_REEMBED_HELD_ROWS,
    REEMBED_BATCH,
    REEMBED_HELD_ROWS,
    REEMBED_LOCK_PAUSE_S,
)
from memd.ports import Embedder

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_TARGET = "reembedding_model"
_PAUSE_S = 0.2
_LOCK_MS = 2_000
"""How long writes may wait for the change to be alone."""
_LOCK = "LOCK TABLE memd.memory, memd.procedure, memd.procedure_version IN EXCLUSIVE MODE"
"""Not while a writer has rows locked that it is about to write: it may have read embeddings before, whose table the change
needs for itself in the end."""
_IN_THE_WAY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_OURS = f"SELECT value FROM memd.meta WHERE key = '{_TARGET}' FOR UPDATE"
_MEMORIES = (
    "SELECT m.pk, m.version, m.content, m.fields FROM memd.memory m WHERE m.pk > $1"
    " AND NOT EXISTS (SELECT 1 FROM memd.embedding_next r WHERE r.memory_pk = m.pk AND r.memory_version = m.version)"
    " ORDER BY m.pk LIMIT $2"
)
_NEWEST = "SELECT coalesce(max(pk), 0) FROM memd.memory"
_PROCEDURES = (
    "SELECT v.procedure_pk, v.version, coalesce(nullif(v.trigger, ''), p.key) FROM memd.procedure_version v"
    " JOIN memd.procedure p ON p.pk = v.procedure_pk LEFT JOIN memd.procedure_reembedding r"
    " ON r.procedure_pk = v.procedure_pk AND r.version = v.version WHERE r.procedure_pk IS NULL"
    " ORDER BY v.procedure_pk, v.version LIMIT $1"
)
# Only of what is still there as it was read; the lock keeps it until the commit.
_PUT_MEMORY = (
    "INSERT INTO memd.embedding_next (namespace, memory_pk, position, vector, memory_version)"
    " SELECT m.namespace, m.pk, $3, {}, m.version FROM memd.memory m WHERE m.pk = $1 AND m.version = $2 FOR KEY SHARE"
)
_PUT_PROCEDURE = (
    "INSERT INTO memd.procedure_reembedding (namespace, procedure_pk, version, vectors)"
    " SELECT namespace, procedure_pk, version, $3 FROM memd.procedure_version WHERE procedure_pk = $1 AND version = $2"
    " FOR KEY SHARE"
)
_COUNTS = (
    "SELECT (SELECT count(*) FROM memd.memory) + (SELECT count(*) FROM memd.procedure_version),"
    " (SELECT count(*) FROM memd.memory m WHERE EXISTS"
    " (SELECT 1 FROM memd.embedding_next r WHERE r.memory_pk = m.pk AND r.memory_version = m.version))"
    " + (SELECT count(*) FROM memd.procedure_reembedding)"
)
_RENAME = (
    "ALTER TABLE memd.embedding RENAME TO embedding_before;"
    " ALTER TABLE memd.embedding_next RENAME TO embedding;"
    " ALTER TABLE memd.embedding_before RENAME TO embedding_next"
)
_TAKE_OVER = (
    "UPDATE memd.procedure_version v SET vectors = r.vectors FROM memd.procedure_reembedding r"
    " WHERE r.procedure_pk = v.procedure_pk AND r.version = v.version"
)
_CLEAR = f"TRUNCATE memd.embedding_next, memd.procedure_reembedding; DELETE FROM memd.meta WHERE key = '{_TARGET}'"


def _nobody(done: int, total: int) -> None:
    """Where nobody wants to know."""


async def reembed(
    settings: PostgresSettings,
    embedder: Embedder,
    progress: Callable[[int, int], None],
    indexing: Callable[[int, int], None] = _nobody,
) -> Reembedded:
    """Change the database to the embedder's model; run again after an interruption, it goes on. ``progress``: texts, of how
    many; ``indexing``: namespaces that Postgres searches and that have their new index, of how many.

    ModelUnavailable; WrongState where somebody else changes the database to a third model; ConfigError and StoreBusy as when
    a daemon starts."""
    if embedder.model is None:
        raise ModelUnavailable("there is no model to embed with")
    settings.check()
    connection = await connect(settings)
    try:
        await probe(connection, settings)
        await migrate(connection)
        with translated():
            await check_roles(connection)
            codec = VectorCodec(await vector_type(connection))
            indexes = NextIndexes(settings, codec, embedder.model.dimensions)
            return await _Run(connection, codec, embedder, indexes, progress, indexing).run()
    finally:
        await connection.close()


class _Run:
    def __init__(
        self,
        connection: Connection,
        codec: VectorCodec,
        embedder: Embedder,
        indexes: NextIndexes,
        progress: Callable[[int, int], None],
        indexing: Callable[[int, int], None],
    ) -> None:
        assert embedder.model is not None
        self._connection = connection
        self._codec = codec
        self._embedder = embedder
        self._indexes = indexes
        self._indexing = indexing
        self._model: EmbeddingModel = embedder.model
        self._progress = progress
        self._done = self._total = 0

    async def run(self) -> Reembedded:
        frozen = await frozen_model(self._connection)
        if frozen is not None and identity(frozen) == identity(self._model):
            await self._clear()
            return Reembedded(self._model, 0, 0)
        await self._aim()
        ((self._total, resumed),) = await self._as_keeper(_COUNTS)
        self._done = resumed
        self._progress(self._done, self._total)
        held = REEMBED_HELD_ROWS
        await self._make()
        while not await self._tried(held):
            await self._make()
            held = min(held * 2, MAX_REEMBED_HELD_ROWS)
        return Reembedded(self._model, self._done - resumed, resumed)

    async def _aim(self) -> None:
        """Note what is being made; what an earlier run made of a third model goes."""
        wanted = stored(self._model)
        if await get_meta(self._connection, _TARGET) == wanted:
            return
        async with self._connection.transaction():
            await self._clear()
            await put_meta(self._connection, _TARGET, wanted)

    async def _clear(self) -> None:
        async with self._connection.transaction():
            await self._connection.execute(_CLEAR, timeout=MAX_BULK_DEADLINE_S)
            await drop(self._connection, NEXT)

    async def _make(self) -> None:
        """Embeddings, and indexes over them: those first, as an index is sooner made of what is there. What was written
        while the indexes were made comes after."""
        await self._embed()
        searched = await self._searched()
        lacking = [one for one in searched if one not in await self._indexes.ready(self._connection, searched)]
        if lacking:
            await self._indexes.build(lacking, self._indexing)
            await self._embed()

    async def _searched(self) -> list[str]:
        """The namespaces that Postgres searches now."""
        return [namespace for (namespace,) in await self._as_keeper(SEARCHED)]

    async def _embed(self) -> None:
        ((end,),) = await self._as_keeper(_NEWEST)
        last = 0
        while last < end and (found := await self._as_keeper(_MEMORIES, last, REEMBED_BATCH)):
            last = found[-1][0]
            await self._embed_memories(found)
        while found := await self._as_keeper(_PROCEDURES, REEMBED_BATCH):
            await self._embed_procedures(found)

    async def _embed_memories(self, found: Sequence[tuple[Any, ...]]) -> None:
        embedded = await self._embedder.memories([spoken_text(content, fields) for _, _, content, fields in found])
        await self._put_memories(found, embedded)
        self._tell(len(found))

    async def _embed_procedures(self, found: Sequence[tuple[Any, ...]]) -> None:
        embedded = await self._embedder.memories([text for _, _, text in found])
        rows = [(pk, version, b"".join(made)) for (pk, version, _), made in zip(found, embedded, strict=True)]
        async with self._putting():
            await self._connection.executemany(_PUT_PROCEDURE, rows)
        self._tell(len(found))

    async def _put_memories(self, found: Sequence[tuple[Any, ...]], embedded: Sequence[Sequence[bytes]]) -> None:
        rows = [
            (pk, version, position, self._codec.encode(window))
            for (pk, version, *_), windows in zip(found, embedded, strict=True)
            for position, window in enumerate(windows)
        ]
        async with self._putting():
            await self._connection.execute(
                "DELETE FROM memd.embedding_next WHERE memory_pk = ANY($1::bigint[])", [one[0] for one in found]
            )
            await self._connection.executemany(_PUT_MEMORY.format(self._codec.parameter(4)), rows)

    async def _tried(self, most: int) -> bool:
        """``_switched``; else it has been waited for the next attempt. Where somebody reads for long that is long, since
        whoever reads or writes has waited meanwhile."""
        try:
            if await self._switched(most):
                return True
            await asyncio.sleep(_PAUSE_S)
        except _IN_THE_WAY:
            await asyncio.sleep(REEMBED_LOCK_PAUSE_S)
        return False

    async def _switched(self, most: int) -> bool:
        """One transaction: all of it, or False where more than ``most`` rows of a kind were written since the last look."""
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}; {_LOCK}")
            memories = await self._as_keeper(_MEMORIES, 0, most + 1)
            procedures = await self._as_keeper(_PROCEDURES, most + 1)
            if max(len(memories), len(procedures)) > most:
                return False
            await self._embed_memories(memories)
            await self._embed_procedures(procedures)
            await self._rename()
        return True

    async def _rename(self) -> None:
        searched = await self._indexes.ready(self._connection, await self._searched())
        await self._indexes.take_over(self._connection, searched)
        async with self._keeper():
            await self._connection.execute(_TAKE_OVER, timeout=MAX_BULK_DEADLINE_S)
            await forget_others(self._connection, searched)
        before = await get_meta(self._connection, MODEL)
        await self._connection.execute(f"{_RENAME}; {_CLEAR}", timeout=MAX_BULK_DEADLINE_S)
        if before is not None:
            await put_meta(self._connection, SUPERSEDED, before)
        await put_meta(self._connection, MODEL, stored(self._model))

    @contextlib.asynccontextmanager
    async def _putting(self) -> AsyncIterator[None]:
        """As ``_keeper``, one run at a time. WrongState where the embeddings being made are not of this run's model any
        more: somebody began to make those of another one, or is done."""
        async with self._connection.transaction():
            if await self._connection.fetchval(_OURS) != stored(self._model):
                raise WrongState(
                    "the database is being changed by another `memd reembed`: see to it that one runs, again"
                )
            async with self._keeper():
                yield

    @contextlib.asynccontextmanager
    async def _keeper(self) -> AsyncIterator[None]:
        """A transaction, or a part of one, that sees the rows of all namespaces."""
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
            yield
            await self._connection.execute("RESET ROLE")

    async def _as_keeper(self, sql: str, *bindings: int) -> list[tuple[Any, ...]]:
        async with self._keeper():
            return [tuple(one) for one in await self._connection.fetch(sql, *bindings, timeout=MAX_BULK_DEADLINE_S)]

    def _tell(self, more: int) -> None:
        self._done += more
        self._total = max(self._total, self._done)
        self._progress(self._done, self._total)
