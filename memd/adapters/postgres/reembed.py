"""Another embedding model for a database: made beside the daemons that serve, put in place while none does.

The new embeddings are made in batches beside the old ones, each batch in a transaction of its own; daemons may run and write
meanwhile, for what has changed since is known by its version. The last transaction, in which the tables of embeddings change
names and the model is written down, needs every daemon stopped: a sidecar has one model, and a copy of the old one's
embeddings. They make their copies anew when they start, and search tables of pgvector too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from memd.adapters.postgres.connection import PostgresSettings, connect, probe
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.model_guard import MODEL, SUPERSEDED, frozen_model, identity
from memd.adapters.postgres.schema import KEEPER, check_roles, get_meta, migrate, put_meta, vector_type
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import spoken_text
from memd.domain.errors import ModelUnavailable, WrongState
from memd.domain.model import EmbeddingModel, Reembedded
from memd.limits import MAX_BULK_DEADLINE_S, REEMBED_BATCH
from memd.ports import Embedder

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_NAME = "memd reembed"
_TARGET = "reembedding_model"
_MEMORIES = (
    "SELECT m.pk, m.version, m.content, m.fields FROM memd.memory m WHERE m.pk > $1"
    " AND NOT EXISTS (SELECT 1 FROM memd.embedding_next r WHERE r.memory_pk = m.pk AND r.memory_version = m.version)"
    " ORDER BY m.pk LIMIT $2"
)
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
_DAEMONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'memd'"
    " AND pid <> pg_backend_pid()"
)
_INDEXES = (
    "SELECT quote_ident(indexname) FROM pg_indexes WHERE schemaname = 'memd' AND tablename = 'embedding'"
    " AND indexname LIKE 'embedding\\_hnsw\\_%'"
)
_RENAME = (
    "ALTER TABLE memd.embedding RENAME TO embedding_before;"
    " ALTER TABLE memd.embedding_next RENAME TO embedding;"
    " ALTER TABLE memd.embedding_before RENAME TO embedding_next"
)
_TAKE_OVER = (
    "UPDATE memd.procedure_version v SET vectors = r.vectors FROM memd.procedure_reembedding r"
    " WHERE r.procedure_pk = v.procedure_pk AND r.version = v.version;"
    " DELETE FROM memd.search_frequency; DELETE FROM memd.search_memory; DELETE FROM memd.search_namespace"
)
_CLEAR = f"TRUNCATE memd.embedding_next, memd.procedure_reembedding; DELETE FROM memd.meta WHERE key = '{_TARGET}'"


async def reembed(settings: PostgresSettings, embedder: Embedder, progress: Callable[[int, int], None]) -> Reembedded:
    """Change the database to the embedder's model; run again after an interruption, it goes on. WrongState when everything
    is embedded and daemons are connected: they have to be stopped for the rest. ModelUnavailable; ConfigError and StoreBusy
    as when a daemon starts."""
    if embedder.model is None:
        raise ModelUnavailable("there is no model to embed with")
    settings.check()
    connection = await connect(settings, session={"application_name": _NAME})
    try:
        await probe(connection, settings)
        await migrate(connection)
        with translated():
            await check_roles(connection)
            return await _Run(connection, VectorCodec(await vector_type(connection)), embedder, progress).run()
    finally:
        await connection.close()


class _Run:
    def __init__(
        self,
        connection: Connection,
        codec: VectorCodec,
        embedder: Embedder,
        progress: Callable[[int, int], None],
    ) -> None:
        assert embedder.model is not None
        self._connection = connection
        self._codec = codec
        self._embedder = embedder
        self._model: EmbeddingModel = embedder.model
        self._progress = progress
        self._done = self._total = 0

    async def run(self) -> Reembedded:
        frozen = await frozen_model(self._connection)
        if frozen is not None and identity(frozen) == identity(self._model):
            await self._connection.execute(_CLEAR, timeout=MAX_BULK_DEADLINE_S)
            return Reembedded(self._model, 0, 0)
        await self._aim()
        ((self._total, resumed),) = await self._as_keeper(_COUNTS)
        self._done = resumed
        self._progress(self._done, self._total)
        await self._embed()
        while not await self._switched():
            await self._embed()
        return Reembedded(self._model, self._done - resumed, resumed)

    async def _aim(self) -> None:
        """Note what is being made; what an earlier run made of a third model goes."""
        wanted = _json(self._model)
        if await get_meta(self._connection, _TARGET) == wanted:
            return
        async with self._connection.transaction():
            await self._connection.execute(_CLEAR, timeout=MAX_BULK_DEADLINE_S)
            await put_meta(self._connection, _TARGET, wanted)

    async def _embed(self) -> None:
        last = 0
        while found := await self._as_keeper(_MEMORIES, last, REEMBED_BATCH):
            last = found[-1][0]
            embedded = await self._embedder.memories([spoken_text(content, fields) for _, _, content, fields in found])
            await self._put_memories(found, embedded)
            self._tell(len(found))
        while found := await self._as_keeper(_PROCEDURES, REEMBED_BATCH):
            embedded = await self._embedder.memories([text for _, _, text in found])
            rows = [(pk, version, b"".join(made)) for (pk, version, _), made in zip(found, embedded, strict=True)]
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
                await self._connection.executemany(_PUT_PROCEDURE, rows)
            self._tell(len(found))

    async def _put_memories(self, found: Sequence[tuple[Any, ...]], embedded: Sequence[Sequence[bytes]]) -> None:
        rows = [
            (pk, version, position, self._codec.encode(window))
            for (pk, version, *_), windows in zip(found, embedded, strict=True)
            for position, window in enumerate(windows)
        ]
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
            await self._connection.execute(
                "DELETE FROM memd.embedding_next WHERE memory_pk = ANY($1::bigint[])", [one[0] for one in found]
            )
            await self._connection.executemany(_PUT_MEMORY.format(self._codec.parameter(4)), rows)

    async def _switched(self) -> bool:
        """One transaction: all of it, or False where something was written since it was embedded."""
        daemons = await self._connection.fetchval(_DAEMONS)
        if daemons:
            raise WrongState(
                f"everything is embedded, but daemons have {daemons} connections to the database: stop them all, run this"
                " again (it takes seconds), and start them with the other model"
            )
        async with self._connection.transaction():
            await self._connection.execute(
                "LOCK TABLE memd.memory, memd.procedure, memd.procedure_version IN SHARE ROW EXCLUSIVE MODE"
            )
            if await self._lacking():
                return False
            for (index,) in await self._connection.fetch(_INDEXES):
                await self._connection.execute(f"DROP INDEX memd.{index}")
            await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
            await self._connection.execute(_TAKE_OVER, timeout=MAX_BULK_DEADLINE_S)
            await self._connection.execute("RESET ROLE")
            before = await get_meta(self._connection, MODEL)
            await self._connection.execute(f"{_RENAME}; {_CLEAR}", timeout=MAX_BULK_DEADLINE_S)
            if before is not None:
                await put_meta(self._connection, SUPERSEDED, before)
            await put_meta(self._connection, MODEL, _json(self._model))
        return True

    async def _lacking(self) -> bool:
        await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
        found = await self._connection.fetch(_MEMORIES, 0, 1, timeout=MAX_BULK_DEADLINE_S)
        found = found or await self._connection.fetch(_PROCEDURES, 1, timeout=MAX_BULK_DEADLINE_S)
        await self._connection.execute("RESET ROLE")
        return bool(found)

    async def _as_keeper(self, sql: str, *bindings: int) -> list[tuple[Any, ...]]:
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL ROLE {KEEPER}")
            return [tuple(one) for one in await self._connection.fetch(sql, *bindings, timeout=MAX_BULK_DEADLINE_S)]

    def _tell(self, more: int) -> None:
        self._done += more
        self._total = max(self._total, self._done)
        self._progress(self._done, self._total)


def _json(model: EmbeddingModel) -> str:
    return json.dumps(asdict(model), ensure_ascii=False)
