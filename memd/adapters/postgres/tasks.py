"""TaskStore on Postgres. See ``memd.ports`` for what each method promises.

Every change of one task holds its mutex from BEGIN on: a compare-and-set sees what the one before it left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memd.adapters.postgres import effects
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.gate import mutex_key
from memd.adapters.postgres.transaction import Reader, Row, Transaction
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.domain.errors import NotFound, VersionConflict
from memd.domain.model import Checkpoint, Page, RequestKey, Written
from memd.limits import RESERVED_VERSION_TTL_US
from memd.ports import TaskHistory

STORE = "tasks"
_COLUMNS = "c.task_id, c.version, c.size_bytes, c.sha256, c.create_time, t.expire_time"
_LIVE = (
    "memd.task t JOIN memd.checkpoint c ON c.namespace = t.namespace AND c.task_id = t.task_id"
    " WHERE t.namespace = $1 AND t.expire_time > $2"
)
_VERSIONS = (
    f"SELECT {_COLUMNS} FROM {_LIVE} AND t.task_id = $3 AND c.version < $4::bigint ORDER BY c.version DESC LIMIT $5"
)
_NEWEST = f"SELECT {_COLUMNS} FROM {_LIVE} AND t.task_id > $3 AND c.version = t.version ORDER BY t.task_id LIMIT $4"
_LOAD = (
    f"SELECT {_COLUMNS}, c.state FROM {_LIVE} AND t.task_id = $3"
    " AND c.version = CASE WHEN $4::bigint = 0 THEN t.version ELSE $4 END"
)
# FOR UPDATE, since the sweep takes no mutex.
_TASK = "SELECT last_version, version, expire_time FROM memd.task WHERE namespace = $1 AND task_id = $2 FOR UPDATE"
_SAVE = (
    "WITH task AS (INSERT INTO memd.task (namespace, task_id, last_version, version, expire_time)"
    " VALUES ($1, $2, $3, $3, $4) ON CONFLICT (namespace, task_id) DO UPDATE SET last_version = $3, version = $3,"
    " expire_time = $4), gone AS (DELETE FROM memd.checkpoint WHERE namespace = $1 AND task_id = $2 AND version <= $5)"
    " INSERT INTO memd.checkpoint (namespace, task_id, version, create_time, size_bytes, sha256, state)"
    " VALUES ($1, $2, $3, $6, $7, $8, $9)"
)
_DELETE = (
    "WITH gone AS (DELETE FROM memd.checkpoint WHERE namespace = $1 AND ($2::text[] IS NULL OR task_id = ANY ($2))"
    " RETURNING 1), emptied AS (UPDATE memd.task SET version = 0"
    " WHERE namespace = $1 AND ($2::text[] IS NULL OR task_id = ANY ($2))) SELECT count(*) FROM gone"
)
# Every row is a step of the walk, also one that only keeps a number: what is left out afterwards costs no longer page.
_HISTORIES = (
    "SELECT namespace, task_id, (SELECT count(*) FROM memd.checkpoint c WHERE c.namespace = t.namespace"
    " AND c.task_id = t.task_id) FROM memd.task t WHERE (namespace, task_id) > ($1, $2) ORDER BY namespace, task_id LIMIT $3"
)
_PRUNE = (
    "DELETE FROM memd.checkpoint WHERE namespace = $1 AND task_id = $2"
    " AND version <= (SELECT version FROM memd.task WHERE namespace = $1 AND task_id = $2) - $3::bigint"
)
# SKIP LOCKED: another daemon may be at the same rows. MATERIALIZED: a choice made again per row would go past the LIMIT.
_EXPIRED = (
    "WITH due AS MATERIALIZED (SELECT namespace, task_id FROM memd.task WHERE expire_time <= $1 AND version > 0"
    " ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED), versions AS MATERIALIZED (SELECT namespace, task_id, c.version"
    " FROM due JOIN memd.checkpoint c USING (namespace, task_id) LIMIT $2) DELETE FROM memd.checkpoint"
    " WHERE (namespace, task_id, version) IN (SELECT namespace, task_id, version FROM versions)"
)
_EMPTIED = (
    "WITH due AS MATERIALIZED (SELECT namespace, task_id FROM memd.task t WHERE expire_time <= $1 AND version > 0"
    " AND NOT EXISTS (SELECT FROM memd.checkpoint c WHERE c.namespace = t.namespace AND c.task_id = t.task_id)"
    " LIMIT $2 FOR UPDATE SKIP LOCKED) UPDATE memd.task SET version = 0"
    " WHERE (namespace, task_id) IN (SELECT namespace, task_id FROM due)"
)
_FREED = (
    "WITH due AS MATERIALIZED (SELECT namespace, task_id FROM memd.task WHERE expire_time <= $1 AND version = 0"
    " LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.task"
    " WHERE (namespace, task_id) IN (SELECT namespace, task_id FROM due)"
)


class PostgresTasks:
    """``vacuum`` is told which tables content was deleted from on purpose, after the commit."""

    def __init__(self, database: Database, vacuum: Callable[[set[str]], None]) -> None:
        self._database = database
        self._vacuum = vacuum

    async def save(
        self,
        namespace: str,
        task_id: str,
        state: bytes,
        *,
        expected_version: int | None,
        ttl_us: int,
        keep: int,
        request: RequestKey | None,
    ) -> Written[Checkpoint]:
        digest = hashlib.sha256(state)

        async def operation(tx: Transaction) -> Written[Checkpoint]:
            if tx.known is not None:
                known = _described(namespace, task_id, tx.known.reply)
                return Written(known, known.version, tx.durability, replayed=tx.replayed)
            version = await _next_version(tx, task_id, expected_version)
            numbers = version, len(state), digest.hexdigest(), tx.now_us, tx.now_us + ttl_us
            await _store(tx, _described(namespace, task_id, numbers), state, version - keep)
            await tx.seal(numbers)
            return Written(_described(namespace, task_id, numbers), version, tx.durability)

        return await self._database.write(
            namespace, operation, store=STORE, request=request, mutex=mutex_key(STORE, namespace, task_id)
        )

    async def load(self, namespace: str, task_id: str, version: int) -> Checkpoint:
        async def operation(reader: Reader) -> Row | None:
            return await reader.row(_LOAD, namespace, reader.now_us, task_id, version)

        found = await self._database.read(namespace, operation)
        if found is None:
            raise NotFound("there is no such checkpoint")
        return _checkpoint(namespace, found)

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Checkpoint]:
        bindings: tuple[Any, ...]
        if task_id:
            (before,) = decode_cursor(cursor, int) or (1 << 62,)
            sql, bindings = _VERSIONS, (task_id, before)
        else:
            (after,) = decode_cursor(cursor, str) or ("",)
            sql, bindings = _NEWEST, (after,)

        async def operation(reader: Reader) -> list[Row]:
            return await reader.rows(sql, namespace, reader.now_us, *bindings, size + 1)

        found = await self._database.read(namespace, operation)
        items = tuple(_checkpoint(namespace, one) for one in found[:size])
        if len(found) <= size:
            return Page(items, "")
        return Page(items, encode_cursor(items[-1].version if task_id else items[-1].task_id))

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        async def operation(tx: Transaction) -> Written[int]:
            if tx.known is not None:
                number, gone = tx.known.reply
                return Written(gone, number, tx.durability, replayed=tx.replayed)
            last, _, expire_time = await tx.row(_TASK, namespace, task_id) or (0, 0, 0)
            gone = await _delete(tx, [task_id])
            if expire_time <= tx.now_us:
                gone = 0  # what had expired is no news
            await tx.seal((last, gone))
            return Written(gone, last, tx.durability)

        written = await self._database.write(
            namespace, operation, store=STORE, request=request, mutex=mutex_key(STORE, namespace, task_id)
        )
        self._vacuum({"checkpoint"})
        return written

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        async def operation(tx: Transaction) -> Mapping[str, int]:
            known = await effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            counts = {"checkpoints": await _delete(tx, None if all_tasks else task_ids)}
            await effects.save(tx, STORE, receipt_id, counts)
            return counts

        counts = await self._database.write(namespace, operation, exclusive=True)
        self._vacuum({"checkpoint"})
        return counts

    async def histories(self, *, size: int, cursor: str) -> Page[TaskHistory]:
        after = decode_cursor(cursor, str, str) or ("", "")
        found = await self._database.read_all(lambda reader: reader.rows(_HISTORIES, *after, size))
        items = tuple(TaskHistory(*one) for one in found if one[2])
        return Page(items, encode_cursor(*found[-1][:2]) if len(found) == size else "")

    async def prune(self, namespace: str, task_id: str, keep: int) -> int:
        mutex = mutex_key(STORE, namespace, task_id)
        return await self._database.write(
            namespace, lambda tx: tx.execute(_PRUNE, namespace, task_id, keep), mutex=mutex
        )

    async def sweep(self, max_rows: int) -> int:
        return await self._database.keep(lambda reader: _sweep(reader, max_rows))


async def _next_version(tx: Transaction, task_id: str, expected: int | None) -> int:
    """Compare and count on; numbers of deleted and expired checkpoints are never used again."""
    last, current, expire_time = await tx.row(_TASK, tx.namespace, task_id) or (0, 0, 0)
    if expire_time <= tx.now_us:
        if current:
            await _delete(tx, [task_id])
        current = 0
    if expected is not None and expected != current:
        raise VersionConflict("the task has another version", current_version=current)
    return int(last) + 1


async def _store(tx: Transaction, saved: Checkpoint, state: bytes, oldest: int) -> None:
    """The checkpoint, in place of those up to the version ``oldest``."""
    name = saved.namespace, saved.task_id, saved.version
    facts = saved.create_time, saved.size_bytes, saved.sha256
    await tx.execute(_SAVE, *name, saved.expire_time, oldest, *facts, state)


async def _delete(tx: Transaction, task_ids: Sequence[str] | None) -> int:
    """Checkpoints of the tasks, or of all (None); the version numbers stay."""
    found = await tx.row(_DELETE, tx.namespace, None if task_ids is None else list(task_ids))
    assert found is not None
    return int(found[0])


async def _sweep(reader: Reader, max_rows: int) -> int:
    swept = await reader.execute(_EXPIRED, reader.now_us, max_rows)
    await reader.execute(_EMPTIED, reader.now_us, max_rows)
    swept += await reader.execute(_FREED, reader.now_us - RESERVED_VERSION_TTL_US, max_rows)
    return swept + await effects.sweep(reader, max_rows)


def _described(namespace: str, task_id: str, numbers: Sequence[Any]) -> Checkpoint:
    """From (version, size, SHA-256 in hex, create and expire time)."""
    version, size, sha256, create_time, expire_time = numbers
    return Checkpoint(namespace, task_id, version, b"", size, bytes.fromhex(sha256), create_time, expire_time)


def _checkpoint(namespace: str, found: Row) -> Checkpoint:
    task_id, version, size, sha256, create_time, expire_time, *state = found
    return Checkpoint(namespace, task_id, version, state[0] if state else b"", size, sha256, create_time, expire_time)
