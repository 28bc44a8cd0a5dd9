"""The HNSW indexes of namespaces that Postgres searches, through a change of the embedding model.

They are made over the new embeddings while searches are answered from the old ones, and take their names in the transaction
that switches. Terms and filterable fields are of no model and stay. A namespace that came to Postgres too late for that is
searched in memory at first and moved anew, as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import asyncpg

from memd.adapters.postgres.connection import PostgresSettings, close_quietly, connect
from memd.adapters.postgres.search_tables import HnswIndex
from memd.adapters.postgres.vectors import VectorCodec
from memd.limits import MAX_BULK_DEADLINE_S

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

NEXT = "embedding_next"
SEARCHED = "SELECT namespace FROM memd.search_namespace WHERE searchable AND unwanted_time IS NULL ORDER BY namespace"
"""For a role that sees all namespaces."""
_INDEXES = (
    "SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass($1) AND c.relname LIKE '%\\_hnsw\\_%'"
)
_FORGET_OTHERS = (
    "DELETE FROM memd.search_frequency WHERE namespace <> ALL ($1::text[])",
    "DELETE FROM memd.search_memory WHERE namespace <> ALL ($1::text[])",
    "DELETE FROM memd.search_namespace WHERE namespace <> ALL ($1::text[])",
)


class NextIndexes:
    """Over the embeddings that are being made. ``dimensions``: of the new model."""

    def __init__(self, settings: PostgresSettings, codec: VectorCodec, dimensions: int) -> None:
        self._settings = settings
        self._codec = codec
        self._dimensions = dimensions

    async def build(self, namespaces: Sequence[str], told: Callable[[int, int], None]) -> None:
        """Those that are lacking; harmless to run again after a kill. ``told``: how many there are, of how many."""
        for done, namespace in enumerate(namespaces):
            told(done, len(namespaces))
            connection = await connect(self._settings)
            try:
                await self._of(namespace).build(connection, self._codec)
            finally:
                await close_quietly(connection)
        if namespaces:
            told(len(namespaces), len(namespaces))

    async def ready(self, connection: Connection, namespaces: Sequence[str]) -> list[str]:
        """The namespaces whose index is there, whole."""
        whole = {name for name, valid in await _indexes(connection, NEXT) if valid}
        return [one for one in namespaces if self._of(one).name in whole]

    async def take_over(self, connection: Connection, namespaces: Collection[str]) -> None:
        """In the transaction that switches, before the tables change names: the old indexes go, those of ``namespaces``
        get their names."""
        await drop(connection, "embedding")
        taken = {self._of(one).name: HnswIndex.of(one, self._codec, self._dimensions).name for one in namespaces}
        await drop(connection, NEXT, keep=taken)
        for name, wanted in taken.items():
            await connection.execute(f"ALTER INDEX memd.{name} RENAME TO {wanted}")

    def _of(self, namespace: str) -> HnswIndex:
        return HnswIndex.of(namespace, self._codec, self._dimensions, NEXT)


async def drop(connection: Connection, table: str, keep: Collection[str] = ()) -> None:
    """The HNSW indexes of a table, but for ``keep``."""
    for name, _ in await _indexes(connection, table):
        if name not in keep:
            await connection.execute(f"DROP INDEX memd.{name}")


async def forget_others(connection: Connection, namespaces: Sequence[str]) -> None:
    """What is stored for the search of all but ``namespaces``. For a role that sees all."""
    for sql in _FORGET_OTHERS:
        await connection.execute(sql, list(namespaces), timeout=MAX_BULK_DEADLINE_S)


async def _indexes(connection: Connection, table: str) -> list[tuple[str, bool]]:
    """Names, and whether they are whole."""
    return [(name, valid) for name, valid in await connection.fetch(_INDEXES, f"memd.{table}")]
