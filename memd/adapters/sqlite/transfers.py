"""Transfers on SQLite: a namespace read in one snapshot, and taken in as writes like any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import apsw

from memd.adapters.rows.memory import body_json, decode_state, fields_json
from memd.adapters.rows.transfer import STONE, Forgotten, windows
from memd.adapters.sqlite import transfer_procedures
from memd.adapters.sqlite.connection import Readers, row, rows
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.memory_rows import COLUMNS, decode
from memd.adapters.sqlite.model_guard import FLOAT32_BYTES, ModelGuard
from memd.adapters.sqlite.remember import find, insert
from memd.adapters.sqlite.schema import frozen_model
from memd.adapters.sqlite.settings import SELECT_SETTINGS, decode_settings, write_settings
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.model import Durability, NamespaceSettings, Written
from memd.domain.portable import Exported, Header, PortableMemory, TakenIn, model_name
from memd.domain.portable_procedures import PortableProcedure
from memd.limits import EXPORT_BATCH

T = TypeVar("T")
# The index (namespace, create_time, memory_id) has this order, so nothing is sorted.
_MEMORIES = (
    f"SELECT {COLUMNS}, coalesce(vectors, x'') FROM memory LEFT JOIN embedding ON memory_pk = pk"
    " WHERE namespace = ?1 AND coalesce(expire_time, ?2 + 1) > ?2 ORDER BY create_time, memory_id"
)
_REVISIONS = "SELECT version, fields, body, content FROM memory_revision WHERE memory_pk = ? ORDER BY version"
_INSERT_REVISION = "INSERT INTO memory_revision (memory_pk, version, fields, body, content)"
_TOMBSTONES = (
    f"SELECT {STONE} FROM tombstone WHERE create_time >= ? AND namespace = ? AND kind = ?"
    " AND entry_id IN (SELECT value FROM json_each(?))"
)


_WHOLE_SCOPE = ""
"""The entry of a tombstone that is of everything of a scope."""


class SqliteTransfers:
    def __init__(self, writer: Writer, readers: Readers, guard: ModelGuard) -> None:
        self._writer = writer
        self._readers = readers
        self._guard = guard

    async def export(self, namespace: str) -> AsyncGenerator[Sequence[Exported], None]:
        # On the writer: whatever is committed after this has a later time, and the snapshot holds all that is before.
        now_us = await self._writer.submit(lambda tx: tx.now_us)
        connection = self._readers.fresh()
        try:
            everything = _everything(connection, namespace, now_us)
            while batch := await _on_thread(lambda: list(islice(everything, EXPORT_BATCH))):
                yield batch
        finally:
            await asyncio.to_thread(connection.close, True)

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        def operation(tx: Transaction) -> Written[TakenIn]:
            ids = [one.memory.memory_id for one in memories]
            forgotten = _forgotten(tx, namespace, "memory", ids, exported_us)
            taken = TakenIn()
            for one in memories:
                self._guard.check(tx, one.embeddings, fence)
                taken += _take_in(tx, one, forgotten)
            return _written(tx, namespace, writer, "memories", taken)

        return await self._writer.submit(operation)

    async def take_in_procedure(
        self, namespace: str, procedure: PortableProcedure, *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        def operation(tx: Transaction) -> Written[TakenIn]:
            self._guard.check(tx, [window for one in procedure.versions for window in one.embeddings], fence)
            forgotten = _forgotten(tx, namespace, "procedure", [procedure.procedure_id], exported_us)
            if forgotten.has(procedure.procedure_id, procedure.scope):
                return _written(tx, namespace, writer, "procedures", TakenIn(forgotten=1))
            return _written(tx, namespace, writer, "procedures", transfer_procedures.take_in(tx, procedure))

        return await self._writer.submit(operation)

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> Written[TakenIn]:
        def operation(tx: Transaction) -> Written[TakenIn]:
            stored = decode_settings(tx.row(SELECT_SETTINGS, (namespace,)))
            if stored.version:
                taken = TakenIn(skipped=1) if stored == settings else TakenIn(conflicts=1)
            else:
                write_settings(tx, namespace, settings)
                taken = TakenIn(imported=1)
            return _written(tx, namespace, writer, "settings", taken)

        return await self._writer.submit(operation)


# -- out


def _everything(connection: apsw.Connection, namespace: str, now_us: int) -> Iterator[Exported]:
    """Read as it is asked for, in one transaction that nobody ends but the connection's end."""
    with translated():
        connection.execute("BEGIN").fetchall()
        head = row(connection, "SELECT seq, epoch FROM namespace_head WHERE namespace = ?", (namespace,))
        model = frozen_model(connection)
        settings = decode_settings(row(connection, SELECT_SETTINGS, (namespace,)))
        seq, epoch = head or (0, 0)
        yield Header(namespace, model_name(model), seq, epoch, now_us)
        if settings.version:
            yield settings
        window = model.dimensions * FLOAT32_BYTES if model else 0
        for *columns, vectors in connection.execute(_MEMORIES, (namespace, now_us)):
            stored = decode(namespace, columns)
            earlier = rows(connection, _REVISIONS, (stored.pk,))
            revisions = tuple(decode_state(namespace, stored.memory.memory_id, *one) for one in earlier)
            yield PortableMemory(stored.memory, windows(bytes(vectors), window), revisions)
        yield from transfer_procedures.stored(connection, namespace, window)


async def _on_thread(work: Callable[[], T]) -> T:
    """A caller that is cancelled waits for the thread: it has the connection in its hands."""
    step = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise


# -- in


def _forgotten(tx: Transaction, namespace: str, kind: str, ids: Sequence[str], since_us: int) -> Forgotten:
    return Forgotten.of(tx.rows(_TOMBSTONES, (since_us, namespace, kind, json.dumps([*ids, _WHOLE_SCOPE]))))


def _written(tx: Transaction, namespace: str, writer: str, what: str, taken: TakenIn) -> Written[TakenIn]:
    if taken.imported:
        tx.audit(namespace, writer, "import", json.dumps({what: taken.imported}))
    return Written(taken, tx.seq(namespace), Durability.SYNCED)


def _take_in(tx: Transaction, one: PortableMemory, forgotten: Forgotten) -> TakenIn:
    memory = one.memory
    if forgotten.has(memory.memory_id, memory.scope):
        return TakenIn(forgotten=1)
    if memory.expire_time is not None and memory.expire_time <= tx.now_us:
        return TakenIn(skipped=1)
    stored = find(tx, memory.scope.namespace, memory.memory_id)
    if stored is None:
        memory_pk = insert(tx, memory, one.embeddings)
        earlier = [(memory_pk, old.version, fields_json(old), body_json(old), old.content) for old in one.revisions]
        tx.insert_many(_INSERT_REVISION, earlier)
        return TakenIn(imported=1)
    kept = tx.rows(_REVISIONS, (stored.pk,))
    revisions = tuple(decode_state(memory.scope.namespace, memory.memory_id, *row) for row in kept)
    same = stored.memory == memory and revisions == one.revisions
    return TakenIn(skipped=1) if same else TakenIn(conflicts=1)
