"""What a namespace that Postgres itself searches needs beside its rows: made from them, kept in step, and dropped again.

The rows of ``search_memory`` and ``search_term`` follow the namespace's change log: whoever is about to search first takes
them to the change number it must not be behind (``catch_up``), so that a write costs nothing and is found by the very next
search. What is deleted goes with its memory, by cascade. Vectors are those of ``memd.embedding``; the HNSW index over a
namespace's own is made here. How often common words occur is counted by ``count``, a background job under a lease.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from memd import _core
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.filter_sql import search_json
from memd.adapters.postgres.leases import PostgresLeases
from memd.adapters.postgres.memory_rows import COLUMNS, decode
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import index_row
from memd.domain.errors import ConfigError, NotReady
from memd.domain.model import Memory
from memd.domain.visibility import fields_of
from memd.limits import COMMON_TERM_MEMORIES, HNSW_BUILD_S, SEARCH_COUNT_LEASE_US, SEARCH_TABLE_BATCH

COUNT_JOB = "search_frequencies"
EMBEDDINGS = "embedding"
"""The table that is searched."""
NO_POSITION = (1 << 63) - 1
"""Turns without one come last, as in the in-process index."""
_BEGIN = (
    "INSERT INTO memd.search_namespace (namespace, seq, made_pk, documents, terms)"
    " SELECT $1, coalesce((SELECT seq FROM memd.namespace_head WHERE namespace = $1), 0), 0, 0, 0"
    " ON CONFLICT (namespace) DO NOTHING"
)
_STATE = (
    "SELECT seq, made_pk, coalesce((SELECT seq FROM memd.namespace_head WHERE namespace = $1), 0)"
    " FROM memd.search_namespace WHERE namespace = $1 FOR UPDATE"
)
_SEARCHABLE = "UPDATE memd.search_namespace SET searchable = $2 WHERE namespace = $1"
_ADVANCE = "UPDATE memd.search_namespace SET seq = $2, made_pk = $3 WHERE namespace = $1"
_CHANGED = (
    "SELECT count(DISTINCT seq), array_agg(DISTINCT entry_id) FILTER (WHERE kind = 'memory' AND entry_id <> '')"
    " FROM memd.change_log WHERE namespace = $1 AND seq > $2 AND seq <= $3"
)
_MEMORY = (
    "INSERT INTO memd.search_memory (memory_pk, namespace, user_id, agent_id, session_id, position, length, fields)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)"
)
_TERMS = (
    "INSERT INTO memd.search_term (namespace, term, memory_pk, occurrences, length)"
    " SELECT $1, t.term, t.memory_pk, t.occurrences, t.length"
    " FROM unnest($2::text[], $3::bigint[], $4::integer[], $5::integer[]) t (term, memory_pk, occurrences, length)"
)
_INDEX = "SELECT indisvalid, pg_get_expr(indexprs, indrelid) FROM pg_index WHERE indexrelid = to_regclass($1)"
_COUNT = (
    "UPDATE memd.search_namespace SET counted_seq = seq, counted_time = $2, (documents, terms) ="
    " (SELECT count(*), coalesce(sum(length), 0) FROM memd.search_memory WHERE namespace = $1) WHERE namespace = $1"
)
_FREQUENCIES = (
    "INSERT INTO memd.search_frequency (namespace, term, documents) SELECT $1, term, count(*) FROM memd.search_term"
    " WHERE namespace = $1 GROUP BY term HAVING count(*) >= $2"
)


@dataclass(frozen=True, slots=True)
class HnswIndex:
    """The index over one namespace's vectors in ``table``, and the SQL that is answered from it."""

    name: str
    table: str
    dimensions: int
    column: str
    where: str
    distance: str

    @classmethod
    def of(cls, namespace: str, codec: VectorCodec, dimensions: int, table: str = EMBEDDINGS) -> HnswIndex:
        schema = codec.column_type.rpartition(".")[0]
        quoted = namespace.replace("'", "''")  # standard_conforming_strings is on in every transaction that uses it
        return cls(
            name=f"{table}_hnsw_{hashlib.sha256(namespace.encode()).hexdigest()[:24]}",
            table=table,
            dimensions=dimensions,
            column=f"(vector::{codec.column_type}({dimensions}))",
            where=f"namespace = '{quoted}'",
            distance=f"OPERATOR({schema}.<=>)",
        )

    async def build(self, connection: asyncpg.Connection[asyncpg.Record], codec: VectorCodec) -> None:
        """Make it where it is not there whole, on a connection of its own. Blocks
        no writer; takes as long as the vectors are many."""
        if not await self._usable(connection):
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS memd.{self.name}", timeout=HNSW_BUILD_S)
            # Who is killed takes the build along: the next one would wait for it only to begin anew.
            await connection.execute("SET statement_timeout = 0; SET client_connection_check_interval = '1s'")
            await connection.execute(self._create(codec), timeout=HNSW_BUILD_S)
            # ANALYZE would keep samples of the vectors where no Forget reaches them.
            await connection.execute(f"ALTER INDEX memd.{self.name} ALTER COLUMN 1 SET STATISTICS 0")
        # Plans follow what is there.
        await connection.execute(f"ANALYZE memd.{self.table}", timeout=HNSW_BUILD_S)

    def _create(self, codec: VectorCodec) -> str:
        schema = codec.column_type.rpartition(".")[0]
        return (
            f"CREATE INDEX CONCURRENTLY {self.name} ON memd.{self.table}"
            f" USING hnsw ({self.column} {schema}.halfvec_cosine_ops) WHERE {self.where}"
        )

    async def _usable(self, connection: asyncpg.Connection[asyncpg.Record]) -> bool:
        """A build that was interrupted leaves an index that is not valid; a daemon that was about to change its model may
        leave one of other dimensions."""
        found = await connection.fetchrow(_INDEX, f"memd.{self.name}")
        return found is not None and found[0] and f"halfvec({self.dimensions})" in found[1]


class SearchTables:
    """``dimensions`` are those of the embeddings; words that ``common`` memories have are counted by the job. ConfigError
    where Postgres has no pgvector."""

    def __init__(
        self,
        database: Database,
        leases: PostgresLeases,
        codec: VectorCodec,
        dimensions: int,
        *,
        common: int = COMMON_TERM_MEMORIES,
    ) -> None:
        if not codec.half:
            raise ConfigError('index = "pgvector" needs pgvector, which this database was made without')
        self._database = database
        self._leases = leases
        self._codec = codec
        self._dimensions = dimensions
        self._common = common

    def hnsw(self, namespace: str) -> HnswIndex:
        return HnswIndex.of(namespace, self._codec, self._dimensions)

    async def build(self, namespace: str) -> None:
        """Make everything, while the namespace goes on being read and written; harmless to run again after a crash.

        At its end all daemons may send searches here. Blocks no writer; takes as long as the vectors are many.
        """
        await self._database.write(namespace, lambda tx: tx.execute(_BEGIN, namespace))
        await self.catch_up(namespace)
        async with self._database.connections.own() as connection:
            with translated():
                await self.hnsw(namespace).build(connection, self._codec)
                await connection.execute("ANALYZE memd.memory", timeout=HNSW_BUILD_S)
                # VACUUM too, so that words are looked through in their index alone.
                await connection.execute("VACUUM (ANALYZE) memd.search_memory, memd.search_term", timeout=HNSW_BUILD_S)
        await self.count(namespace, "build")
        await self._database.write(namespace, lambda tx: tx.execute(_SEARCHABLE, namespace, True))

    async def drop(self, namespace: str) -> None:
        """Take everything away again; the namespace is served from memory by then. Harmless to run again."""
        await self._database.write(namespace, lambda tx: tx.execute(_SEARCHABLE, namespace, False))
        async with self._database.connections.own() as connection:
            with translated():
                name = self.hnsw(namespace).name
                await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS memd.{name}", timeout=HNSW_BUILD_S)
        await self._database.write(namespace, _drop)

    async def catch_up(self, namespace: str, target: int | None = None) -> int:
        """Take the rows to change number ``target`` (None: the newest now) at least; where they are. NotReady for a
        namespace that is not searched here."""
        while True:
            at, head = await self._database.write(namespace, self._step)
            target = head if target is None else target
            if at is not None and at >= target:
                return at

    async def _step(self, tx: Transaction) -> tuple[int | None, int]:
        """One batch; where the rows are then (None: not made yet), and where the namespace is. One at a time: the row is
        locked. The log is of the same database, so it fails together with the rows or not at all."""
        state = await tx.row(_STATE, tx.namespace)
        if state is None:
            raise NotReady("the namespace is not searched by Postgres")
        seq, made_pk, head = state
        if made_pk is not None:
            made_pk = await self._make(tx, made_pk)
            await tx.execute(_ADVANCE, tx.namespace, seq, made_pk)
            return (seq if made_pk is None else None), head
        changed = await _changed(tx, seq, head)
        if changed is None:  # the log no longer reaches back
            await tx.execute("DELETE FROM memd.search_memory WHERE namespace = $1", tx.namespace)
            await tx.execute(_ADVANCE, tx.namespace, head, 0)
            return None, head
        await self._refresh(tx, changed)
        await tx.execute(_ADVANCE, tx.namespace, head, None)
        return head, head

    async def _make(self, tx: Transaction, last: int) -> int | None:
        """The rows of the memories after ``last``, a batch of them; the last one then, None when there are no more."""
        sql = f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND pk > $2 ORDER BY pk LIMIT $3"
        found = [decode(tx.namespace, one) for one in await tx.rows(sql, tx.namespace, last, SEARCH_TABLE_BATCH)]
        await _put(tx, [(one.pk, one.memory) for one in found])
        return found[-1].pk if len(found) == SEARCH_TABLE_BATCH else None

    async def _refresh(self, tx: Transaction, ids: Sequence[str]) -> None:
        sql = f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND memory_id = ANY ($2::text[]) ORDER BY pk"
        for start in range(0, len(ids), SEARCH_TABLE_BATCH):
            found = await tx.rows(sql, tx.namespace, ids[start : start + SEARCH_TABLE_BATCH])
            await _put(tx, [(one.pk, one.memory) for one in (decode(tx.namespace, row) for row in found)])

    async def count(self, namespace: str, holder: str) -> bool:
        """Count documents, terms and how many memories have each common one; False while another daemon does."""
        token = await self._leases.claim(namespace, COUNT_JOB, holder, SEARCH_COUNT_LEASE_US)
        if token is None:
            return False

        async def operation(tx: Transaction) -> None:
            await tx.execute(_COUNT, tx.namespace, tx.now_us)
            await tx.execute("DELETE FROM memd.search_frequency WHERE namespace = $1", tx.namespace)
            await tx.execute(_FREQUENCIES, tx.namespace, self._common)

        await self._database.write(namespace, operation)
        await self._leases.release(namespace, COUNT_JOB, token)
        return True


async def _changed(tx: Transaction, since: int, to: int) -> list[str] | None:
    """The memories that changed; None when the log no longer says."""
    found = await tx.row(_CHANGED, tx.namespace, since, to)
    assert found is not None
    numbers, ids = found
    return list(ids or ()) if numbers == to - since else None


async def _drop(tx: Transaction) -> None:
    for table in ("search_memory", "search_frequency", "search_namespace"):
        await tx.execute(f"DELETE FROM memd.{table} WHERE namespace = $1", tx.namespace)


async def _put(tx: Transaction, memories: Sequence[tuple[int, Memory]]) -> None:
    """Rows and terms of memories, in place of those they have."""
    if not memories:
        return
    await tx.execute("DELETE FROM memd.search_memory WHERE memory_pk = ANY ($1::bigint[])", [pk for pk, _ in memories])
    texts = _core.analyze_batch([index_row(memory, b"").text for _, memory in memories])
    lengths = [sum(count for _, count in terms) for terms in texts]
    await tx.execute_many(
        _MEMORY, [_row(tx.namespace, pk, memory, n) for (pk, memory), n in zip(memories, lengths, strict=True)]
    )
    postings = [
        (term, pk, count, length)
        for (pk, _), terms, length in zip(memories, texts, lengths, strict=True)
        for term, count in terms
    ]
    if postings:
        await tx.execute(_TERMS, tx.namespace, *(list(column) for column in zip(*postings, strict=True)))


def _row(namespace: str, pk: int, memory: Memory, length: int) -> tuple[object, ...]:
    scope = memory.scope
    position = NO_POSITION if memory.position is None else memory.position
    fields = search_json(fields_of(memory))
    return pk, namespace, scope.user_id, scope.agent_id, scope.session_id, position, length, fields
