"""Bounded clean-up: what has expired, and bookkeeping past its use.

Every daemon of a fleet runs it, without a lease: it is a few short queries, and goes on whichever daemons fall. Two at the
same rows do no harm. Bookkeeping, sessions, tasks and steps are chosen with SKIP LOCKED: what one is at, the others pass
over. Expired memories are locked in one order: the second one waits for the first, finds the rows gone, and takes no change
number for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.limits import MAX_AUDIT_ROWS, MAX_CHANGE_LOG, TOMBSTONE_TTL_US

_DUE = (
    "SELECT namespace, array_agg(memory_id ORDER BY memory_id) FROM (SELECT namespace, memory_id FROM memd.memory"
    " WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2) due GROUP BY namespace ORDER BY namespace"
)
_EXPIRED = (
    "SELECT pk, memory_id FROM memd.memory WHERE namespace = $1 AND memory_id = ANY ($2::text[]) AND expire_time <= $3"
    " ORDER BY memory_id FOR UPDATE"
)
# Bookkeeping: each deletes up to $2 rows, SKIP LOCKED because another daemon may be at the same ones; MATERIALIZED because a
# choice made again for every row would go past the LIMIT.
_REQUESTS = (
    "WITH due AS MATERIALIZED (SELECT namespace, request_id, store FROM memd.request_record WHERE expire_time <= $1"
    " ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.request_record"
    " WHERE (namespace, request_id, store) IN (SELECT namespace, request_id, store FROM due)"
)
_TOMBSTONES = (
    "WITH due AS MATERIALIZED (SELECT pk FROM memd.tombstone WHERE create_time <= $1"
    " ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.tombstone WHERE pk IN (SELECT pk FROM due)"
)
_RETIRED = (
    "WITH due AS MATERIALIZED (SELECT t.pk FROM memd.namespace_head h JOIN memd.tombstone t"
    " ON t.namespace = h.namespace AND t.kind = 'retention' AND t.seq <= h.seq - $1 LIMIT $2 FOR UPDATE OF t SKIP LOCKED)"
    " DELETE FROM memd.tombstone WHERE pk IN (SELECT pk FROM due)"
)
_RECEIPTS = (
    "WITH due AS MATERIALIZED (SELECT receipt_id FROM memd.forget_intent WHERE done AND create_time <= $1"
    " ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED)"
    " DELETE FROM memd.forget_intent WHERE receipt_id IN (SELECT receipt_id FROM due)"
)
_CHANGE_LOG = (
    "WITH due AS MATERIALIZED (SELECT c.namespace, c.seq, c.kind, c.entry_id FROM memd.namespace_head h"
    " JOIN memd.change_log c ON c.namespace = h.namespace AND c.seq <= h.seq - $1 LIMIT $2 FOR UPDATE OF c SKIP LOCKED)"
    " DELETE FROM memd.change_log WHERE (namespace, seq, kind, entry_id) IN"
    " (SELECT namespace, seq, kind, entry_id FROM due)"
)
# Of the epochs that began before the log does, the newest still says where that history stands.
_EPOCHS = (
    "DELETE FROM memd.namespace_epoch e WHERE EXISTS (SELECT FROM memd.namespace_head h JOIN memd.namespace_epoch newer"
    " ON newer.namespace = h.namespace AND newer.first_seq > e.first_seq AND newer.first_seq <= h.seq - $1"
    " WHERE h.namespace = e.namespace)"
)
_AUDIT = (
    "WITH due AS MATERIALIZED (SELECT pk FROM memd.audit WHERE pk <= (SELECT max(pk) FROM memd.audit) - $1"
    " ORDER BY pk LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.audit WHERE pk IN (SELECT pk FROM due)"
)


async def sweep_memories(database: Database, max_rows: int) -> int:
    """Delete up to ``max_rows`` expired memories and as many rows of each kind of bookkeeping; how many went."""

    async def due(reader: Reader) -> list[Sequence[object]]:
        return [tuple(one) for one in await reader.rows(_DUE, reader.now_us, max_rows)]

    swept = 0
    for namespace, memory_ids in await database.read_all(due):
        swept += await _expire(database, str(namespace), memory_ids)
    return swept + await database.keep(lambda reader: _bookkeeping(reader, max_rows))


async def _expire(database: Database, namespace: str, memory_ids: object) -> int:
    async def operation(tx: Transaction) -> int:
        found = await tx.rows(_EXPIRED, namespace, memory_ids, tx.now_us)
        if not found:
            return 0
        await tx.execute("DELETE FROM memd.memory WHERE pk = ANY ($1::bigint[])", [pk for pk, _ in found])
        tx.delete("memory", [memory_id for _, memory_id in found])
        await tx.seal(None)
        return len(found)

    return await database.write(namespace, operation)


async def _bookkeeping(reader: Reader, max_rows: int) -> int:
    old = reader.now_us - TOMBSTONE_TTL_US
    swept = 0
    for sql, bound in ((_REQUESTS, reader.now_us), (_TOMBSTONES, old), (_RECEIPTS, old)):
        swept += await reader.execute(sql, bound, max_rows)
    for sql, most in ((_CHANGE_LOG, MAX_CHANGE_LOG), (_RETIRED, MAX_CHANGE_LOG), (_AUDIT, MAX_AUDIT_ROWS)):
        swept += await reader.execute(sql, most, max_rows)
    await reader.execute(_EPOCHS, MAX_CHANGE_LOG)
    return swept
