"""Transfers on SQLite: a namespace read in one snapshot, and taken in as writes like any other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import apsw

from memd.adapters.rows.memory import body_json, decode_state, fields_json
from memd.adapters.sqlite.connection import Readers, Row, row, rows
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.memory_rows import COLUMNS, decode
from memd.adapters.sqlite.model_guard import FLOAT32_BYTES, ModelGuard
from memd.adapters.sqlite.remember import find, insert
from memd.adapters.sqlite.schema import frozen_model
from memd.adapters.sqlite.settings import SELECT_SETTINGS, decode_settings, write_settings
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.model import EmbeddingModel, Memory, NamespaceSettings
from memd.domain.portable import Header, PortableMemory, TakenIn, model_name
from memd.ports import Snapshot

# The index (namespace, create_time, pk) has this order, so nothing is sorted.
_MEMORIES = (
    f"SELECT {COLUMNS}, coalesce(vectors, x'') FROM memory LEFT JOIN embedding ON memory_pk = pk"
    " WHERE namespace = ?1 AND coalesce(expire_time, ?2 + 1) > ?2 ORDER BY create_time, pk"
)
_REVISIONS = "SELECT version, fields, body, content FROM memory_revision WHERE memory_pk = ? ORDER BY version"
_INSERT_REVISION = "INSERT INTO memory_revision (memory_pk, version, fields, body, content)"
_TOMBSTONES = (
    "SELECT entry_id, user_id, agent_id, session_id, all_users FROM tombstone WHERE create_time >= ?1 AND namespace = ?2"
    " AND kind = 'memory' AND (entry_id = '' OR entry_id IN (SELECT value FROM json_each(?3)))"
)


class SqliteTransfers:
    def __init__(self, writer: Writer, readers: Readers, guard: ModelGuard) -> None:
        self._writer = writer
        self._readers = readers
        self._guard = guard

    async def export(self, namespace: str) -> tuple[Header, NamespaceSettings, Snapshot]:
        # On the writer: whatever is committed after this has a later time, and the snapshot holds all that is before.
        now_us = await self._writer.submit(lambda tx: tx.now_us)
        connection = self._readers.fresh()
        try:
            with translated():
                connection.execute("BEGIN").fetchall()
                head = row(connection, "SELECT seq, epoch FROM namespace_head WHERE namespace = ?", (namespace,))
                model = frozen_model(connection)
                settings = decode_settings(row(connection, SELECT_SETTINGS, (namespace,)))
        except BaseException:
            connection.close(True)
            raise
        seq, epoch = head or (0, 0)
        header = Header(namespace, model_name(model), seq, epoch, now_us)
        return header, settings, _Snapshot(connection, namespace, model, now_us)

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, writer: str
    ) -> TakenIn:
        def operation(tx: Transaction) -> TakenIn:
            forgotten = _Forgotten.since(tx, namespace, memories, exported_us)
            taken = TakenIn()
            for one in memories:
                self._guard.check(tx, one.embeddings)
                taken += _take_in(tx, one, forgotten)
            if taken.imported:
                tx.audit(namespace, writer, "import", json.dumps({"memories": taken.imported}))
            return taken

        return await self._writer.submit(operation)

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> TakenIn:
        def operation(tx: Transaction) -> TakenIn:
            stored = decode_settings(tx.row(SELECT_SETTINGS, (namespace,)))
            if stored == settings:
                return TakenIn(skipped=1)
            if stored.version:
                return TakenIn(conflicts=1)
            write_settings(tx, namespace, settings)
            tx.audit(namespace, writer, "import", json.dumps({"settings": 1}))
            return TakenIn(imported=1)

        return await self._writer.submit(operation)


# -- out


class _Snapshot:
    """Owns the connection and its transaction. A class, since a generator that was never begun closes nothing."""

    def __init__(self, connection: apsw.Connection, namespace: str, model: EmbeddingModel | None, now_us: int) -> None:
        self._connection = connection
        self._namespace = namespace
        self._window = model.dimensions * FLOAT32_BYTES if model else 0
        with translated():
            self._memories = connection.execute(_MEMORIES, (namespace, now_us))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PortableMemory:
        with translated():
            found = next(self._memories, None)
            if found is None:
                raise StopIteration
            *columns, vectors = found
            stored = decode(self._namespace, columns)
            revisions = rows(self._connection, _REVISIONS, (stored.pk,))
        return PortableMemory(
            stored.memory,
            _windows(bytes(vectors), self._window),
            tuple(decode_state(self._namespace, stored.memory.memory_id, *one) for one in revisions),
        )

    def close(self) -> None:
        self._connection.close(True)


def _windows(vectors: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(vectors[at : at + size] for at in range(0, len(vectors), size or 1))


# -- in


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """Tombstones that may be about the memories of a batch."""

    ids: Mapping[str, Sequence[Row]]
    scopes: Sequence[Row]

    @classmethod
    def since(cls, tx: Transaction, namespace: str, memories: Sequence[PortableMemory], exported_us: int) -> _Forgotten:
        ids = json.dumps([one.memory.memory_id for one in memories])
        found = tx.rows(_TOMBSTONES, (exported_us, namespace, ids))
        by_id: dict[str, list[Row]] = {}
        for stone in found:
            by_id.setdefault(stone[0], []).append(stone)
        return cls(by_id, by_id.get("", ()))

    def has(self, memory: Memory) -> bool:
        scope = memory.scope
        return any(
            everybody or user_id == scope.user_id for _, user_id, _, _, everybody in self.ids.get(memory.memory_id, ())
        ) or any(
            everybody
            or (user_id == scope.user_id and agent_id in ("", scope.agent_id) and session_id in ("", scope.session_id))
            for _, user_id, agent_id, session_id, everybody in self.scopes
        )


def _take_in(tx: Transaction, one: PortableMemory, forgotten: _Forgotten) -> TakenIn:
    memory = one.memory
    if forgotten.has(memory):
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
