"""The local copy of namespaces whose truth is elsewhere: the ordinary tables, filled with what a ``ChangeSource`` tells.

How far a namespace is stands in ``namespace_head`` and is committed with the rows, so that a restart goes on from there.
``epoch`` LOADING there: a load was begun and not finished, so that what rows there are say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import apsw

from memd.adapters.rows.memory import replica_index_row
from memd.adapters.rows.procedure import metadata_json, procedure_index_row, stored_demotion
from memd.adapters.sqlite.connection import rows
from memd.adapters.sqlite.model_guard import ModelGuard
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.schema import forget_model
from memd.adapters.sqlite.settings import write_settings
from memd.adapters.sqlite.sweeping import sweep_change_log
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.ports import INDEX_KINDS, ChangeBatch, Head, IndexRow, ReplicaMemory, ReplicaProcedure

LOADING = -1
"""No epoch: they are drawn from 1 on, and 0 is that of a namespace without changes."""
_CURRENT = "replica_current_us"
Reset = Callable[[str], None]
"""Called on the writer thread after the commit that made a namespace's index worthless."""


def is_replica(connection: apsw.Connection) -> bool:
    """Whether the file was ever filled from elsewhere."""
    return bool(rows(connection, "SELECT 1 FROM meta WHERE key = ?", (_CURRENT,)))


class SqliteReplica:
    """Applies batches; the stores of the same file read what it wrote. One caller at a time for each namespace."""

    def __init__(self, writer: Writer, reads: ReadPool, guard: ModelGuard, reset: Reset) -> None:
        self._writer = writer
        self._reads = reads
        self._guard = guard
        self._reset = reset

    async def heads(self) -> Mapping[str, Head]:
        """How far each namespace is that was loaded whole."""
        sql = "SELECT namespace, seq, epoch FROM namespace_head WHERE epoch != ?"
        found = await self._reads.run(lambda connection: rows(connection, sql, (LOADING,)))
        return {namespace: Head(seq, epoch) for namespace, seq, epoch in found}

    async def apply(self, batch: ChangeBatch) -> bool:
        """One commit: what changed since the batch's ``since``, and how far the replica is then. False, and nothing done,
        when the replica is not at ``since``: the batch does not follow what is here."""
        return await self._writer.submit(partial(self._apply, batch))

    async def begin(self, namespace: str) -> None:
        """Throw away what is here; until ``finish`` the namespace counts as being loaded."""
        await self._writer.submit(partial(self._begin, namespace))

    async def fill(self, batch: ChangeBatch) -> None:
        """Part of a load."""
        await self._writer.submit(partial(self._fill, batch))

    async def finish(self, namespace: str, reached: Head) -> None:
        """All of it is here."""
        await self._writer.submit(partial(self._finish, namespace, reached))

    async def drop(self, namespace: str) -> None:
        """Forget the namespace: it is not followed any more, so that a Forget would not reach it."""
        await self._writer.submit(partial(self._drop, namespace))

    async def clear(self) -> None:
        """Throw everything away, also which model its embeddings are of: the truth is of another one."""
        await self._writer.submit(self._clear)

    async def note_current(self, us: int) -> None:
        """Everything that is here was the whole truth at this time; kept for the next start."""
        await self._writer.submit(
            lambda tx: tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_CURRENT, str(us)))
        )

    async def current_us(self) -> int:
        """As noted last; 0 before."""
        sql = "SELECT value FROM meta WHERE key = ?"
        found = await self._reads.run(lambda connection: rows(connection, sql, (_CURRENT,)))
        return int(found[0][0]) if found else 0

    async def sweep(self, max_rows: int) -> int:
        """Delete up to ``max_rows`` lines of the change log that no saved index can need; how many went."""
        return await self._writer.submit(lambda tx: sweep_change_log(tx, max_rows))

    # -- on the writer thread

    def _apply(self, batch: ChangeBatch, tx: Transaction) -> bool:
        head = tx.row("SELECT seq, epoch FROM namespace_head WHERE namespace = ?", (batch.namespace,))
        seq, epoch = head or (0, batch.reached.epoch)
        if epoch == LOADING or seq != batch.since:
            return False
        _set_head(tx, batch.namespace, batch.reached)
        tx.counts_as(batch.namespace, batch.reached.seq)
        for kind in batch.cleared:
            tx.execute(f"DELETE FROM {kind} WHERE namespace = ?", (batch.namespace,))
            tx.delete_all(batch.namespace, kind)
        for kind in INDEX_KINDS:
            gone = [entry_id for other, entry_id in batch.deleted if other == kind]
            for entry_id in gone:
                _delete(tx, kind, batch.namespace, entry_id)
            tx.delete(batch.namespace, kind, gone)
        tx.erases = tx.erases or bool(batch.cleared or batch.deleted)
        memories, procedures = self._put(tx, batch)
        tx.put(batch.namespace, "memory", *memories)
        tx.put(batch.namespace, "procedure", *procedures)
        return True

    def _begin(self, namespace: str, tx: Transaction) -> None:
        _empty(tx, namespace)
        _set_head(tx, namespace, Head(0, LOADING))
        tx.after_commit.append(partial(self._reset, namespace))

    def _fill(self, batch: ChangeBatch, tx: Transaction) -> None:
        self._put(tx, batch)

    def _finish(self, namespace: str, reached: Head, tx: Transaction) -> None:
        """The log begins with a line that says: an index from before has nothing in common with these rows."""
        _set_head(tx, namespace, reached)
        for kind in INDEX_KINDS if reached.seq else ():
            tx.log(namespace, reached.seq, kind, "", "delete_all", 0)
        tx.after_commit.append(partial(self._reset, namespace))

    def _drop(self, namespace: str, tx: Transaction) -> None:
        _empty(tx, namespace)
        tx.execute("DELETE FROM namespace_head WHERE namespace = ?", (namespace,))
        tx.after_commit.append(partial(self._reset, namespace))

    def _clear(self, tx: Transaction) -> None:
        for (namespace,) in tx.rows("SELECT namespace FROM namespace_head"):
            self._drop(namespace, tx)
        forget_model(tx.connection)

    def _put(self, tx: Transaction, batch: ChangeBatch) -> tuple[list[IndexRow], list[IndexRow]]:
        """The rows of the batch in place of those of the same ids; what an index needs of memories and procedures."""
        if batch.settings is not None:
            write_settings(tx, batch.namespace, batch.settings)
        for embeddings in (*(row.embeddings for row in batch.memories), *(row.embeddings for row in batch.procedures)):
            self._guard.check(tx, embeddings)
        memories = [_put_memory(tx, batch.namespace, row) for row in batch.memories]
        return memories, [_put_procedure(tx, row) for row in batch.procedures]


def _set_head(tx: Transaction, namespace: str, head: Head) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO namespace_head (namespace, seq, epoch) VALUES (?, ?, ?)",
        (namespace, head.seq, head.epoch),
    )


def _empty(tx: Transaction, namespace: str) -> None:
    for table in (*INDEX_KINDS, "change_log", "namespace_settings"):
        tx.execute(f"DELETE FROM {table} WHERE namespace = ?", (namespace,))
        tx.erases = tx.erases or tx.connection.changes() > 0


def _delete(tx: Transaction, kind: str, namespace: str, entry_id: str) -> None:
    tx.execute(f"DELETE FROM {kind} WHERE namespace = ? AND {kind}_id = ?", (namespace, entry_id))


def _put_memory(tx: Transaction, namespace: str, row: ReplicaMemory) -> IndexRow:
    tx.connection.set_last_insert_rowid(0)
    found = tx.row(
        "INSERT INTO memory (namespace, memory_id, user_id, agent_id, version, create_time, expire_time, fields, body,"
        " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, memory_id) DO UPDATE SET"
        " user_id = excluded.user_id, agent_id = excluded.agent_id, version = excluded.version,"
        " create_time = excluded.create_time, expire_time = excluded.expire_time, fields = excluded.fields,"
        " body = excluded.body, content = excluded.content RETURNING pk",
        (
            namespace,
            row.memory_id,
            row.user_id,
            row.agent_id,
            row.version,
            row.create_time,
            row.expire_time,
            row.fields,
            row.body,
            row.content,
        ),
    )
    assert found is not None
    if not tx.connection.last_insert_rowid():  # an update: what stood there before must leave the files
        tx.erases_later = True
    indexed = replica_index_row(row)
    tx.execute(
        "INSERT OR REPLACE INTO embedding (memory_pk, windows, vectors) VALUES (?, ?, ?)",
        (found[0], len(row.embeddings), indexed.embeddings),
    )
    return indexed


def _put_procedure(tx: Transaction, row: ReplicaProcedure) -> IndexRow:
    """The offered version alone: the replica offers and gets procedures, their history is asked for where the truth is."""
    one, scope, offer, vectors = row.procedure, row.procedure.scope, row.procedure.offer, b"".join(row.embeddings)
    found = tx.row(
        "INSERT INTO procedure (namespace, procedure_id, user_id, agent_id, key, version, offered, offered_time, demotion)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, procedure_id) DO UPDATE SET"
        " user_id = excluded.user_id, agent_id = excluded.agent_id, key = excluded.key, version = excluded.version,"
        " offered = excluded.offered, offered_time = excluded.offered_time, demotion = excluded.demotion RETURNING pk",
        (
            scope.namespace,
            one.procedure_id,
            scope.user_id,
            scope.agent_id,
            one.key,
            offer.newest,
            offer.version,
            offer.since,
            stored_demotion(offer.demotion),
        ),
    )
    assert found is not None
    tx.execute("DELETE FROM procedure_version WHERE procedure_pk = ?", found)
    tx.execute(
        "INSERT INTO procedure_version (procedure_pk, version, trigger, content, metadata, successes, failures,"
        " create_time, last_outcome_time, vectors, demotion) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            found[0],
            one.version,
            one.trigger,
            one.content,
            metadata_json(one),
            one.successes,
            one.failures,
            one.create_time,
            one.last_outcome_time,
            vectors,
            stored_demotion(one.demotion),
        ),
    )
    tx.erases_later = True
    return procedure_index_row(
        one.procedure_id, one.version, one.key, one.trigger, vectors, scope.user_id, scope.agent_id
    )
