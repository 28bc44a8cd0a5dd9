"""TaskStore on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.sqlite import effects, requests
from memd.adapters.sqlite.connection import Row, row, rows
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import NotFound, VersionConflict
from memd.domain.model import Checkpoint, Durability, Page, RequestKey, Written
from memd.limits import RESERVED_VERSION_TTL_US
from memd.ports import Clock, TaskHistory

STORE = "tasks"
_COLUMNS = "c.task_id, c.version, size_bytes, sha256, create_time, expire_time"
_LIVE = "task t JOIN checkpoint c ON c.namespace = t.namespace AND c.task_id = t.task_id"

# Every row is a step of the walk, also one that only keeps a number: what is left out afterwards costs no longer page.
_HISTORIES = (
    "SELECT namespace, task_id, (SELECT count(*) FROM checkpoint c WHERE c.namespace = t.namespace AND c.task_id = t.task_id)"
    " FROM task t WHERE (namespace, task_id) > (?, ?) ORDER BY namespace, task_id LIMIT ?"
)
_PRUNE = (
    "DELETE FROM checkpoint WHERE namespace = ?1 AND task_id = ?2"
    " AND version <= (SELECT version FROM task WHERE namespace = ?1 AND task_id = ?2) - ?3"
)


class SqliteTasks:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

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
        def operation(tx: Transaction) -> Written[Checkpoint]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                return Written(_described(namespace, task_id, known), known[0], Durability.SYNCED, replayed=True)
            version = _next_version(tx, namespace, task_id, expected_version)
            numbers = (version, len(state), hashlib.sha256(state).hexdigest(), tx.now_us, tx.now_us + ttl_us)
            saved = _described(namespace, task_id, numbers)
            _store(tx, saved, state)
            oldest = version - keep
            gone = tx.execute(
                "DELETE FROM checkpoint WHERE namespace = ? AND task_id = ? AND version <= ?",
                (namespace, task_id, oldest),
            )
            tx.erases_later = tx.erases_later or gone > 0
            requests.save(tx, STORE, request, numbers)
            return Written(saved, version, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def load(self, namespace: str, task_id: str, version: int) -> Checkpoint:
        sql = (
            f"SELECT {_COLUMNS}, state FROM {_LIVE} WHERE t.namespace = ? AND t.task_id = ? AND expire_time > ?"
            f" AND c.version = {'?' if version else 't.version'}"
        )
        bindings = (namespace, task_id, self._clock.now_us(), *((version,) if version else ()))
        found = await self._reads.run(lambda connection: row(connection, sql, bindings))
        if found is None:
            raise NotFound("there is no such checkpoint")
        return _checkpoint(namespace, found)

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Checkpoint]:
        now = self._clock.now_us()
        if task_id:
            (before,) = decode_cursor(cursor, int) or (1 << 62,)
            where = "c.task_id = ? AND c.version < ? ORDER BY c.version DESC"
            bindings: tuple[str | int, ...] = (namespace, now, task_id, before, size + 1)
        else:
            (after,) = decode_cursor(cursor, str) or ("",)
            where = "t.task_id > ? AND c.version = t.version ORDER BY t.task_id"
            bindings = (namespace, now, after, size + 1)
        sql = f"SELECT {_COLUMNS} FROM {_LIVE} WHERE t.namespace = ? AND expire_time > ? AND {where} LIMIT ?"
        found = await self._reads.run(lambda connection: rows(connection, sql, bindings))
        items = tuple(_checkpoint(namespace, one) for one in found[:size])
        if len(found) <= size:
            return Page(items, "")
        return Page(items, encode_cursor(items[-1].version if task_id else items[-1].task_id))

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        def operation(tx: Transaction) -> Written[int]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                return Written(known[1], known[0], Durability.SYNCED, replayed=True)
            task = _task(tx, namespace, task_id)
            number = task[0] if task else 0
            live = task is not None and task[2] > tx.now_us
            gone = _delete(tx, namespace, [task_id])
            if not live:
                gone = 0
            requests.save(tx, STORE, request, (number, gone))
            return Written(gone, number, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        def operation(tx: Transaction) -> Mapping[str, int]:
            known = effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            counts = {"checkpoints": _delete(tx, namespace, None if all_tasks else task_ids)}
            effects.save(tx, STORE, receipt_id, counts)
            return counts

        return await self._writer.submit(operation)

    async def histories(self, *, size: int, cursor: str) -> Page[TaskHistory]:
        after = decode_cursor(cursor, str, str) or ("", "")
        found = await self._reads.run(lambda connection: rows(connection, _HISTORIES, (*after, size)))
        items = tuple(TaskHistory(*one) for one in found if one[2])
        return Page(items, encode_cursor(*found[-1][:2]) if len(found) == size else "")

    async def prune(self, namespace: str, task_id: str, keep: int) -> int:
        def operation(tx: Transaction) -> int:
            gone = tx.execute(_PRUNE, (namespace, task_id, keep))
            tx.erases_later = tx.erases_later or gone > 0
            return gone

        return await self._writer.submit(operation)

    async def sweep(self, max_rows: int) -> int:
        return await self._writer.submit(lambda tx: _sweep(tx, max_rows))


def _task(tx: Transaction, namespace: str, task_id: str) -> Row | None:
    return tx.row(
        "SELECT last_version, version, expire_time FROM task WHERE namespace = ? AND task_id = ?", (namespace, task_id)
    )


def _next_version(tx: Transaction, namespace: str, task_id: str, expected: int | None) -> int:
    """Compare and count on; numbers of deleted and expired checkpoints are never used again."""
    last, current, expire_time = _task(tx, namespace, task_id) or (0, 0, 0)
    if expire_time <= tx.now_us:
        if current:
            _delete(tx, namespace, [task_id])
        current = 0
    if expected is not None and expected != current:
        raise VersionConflict("the task has another version", current_version=current)
    return int(last) + 1


def _store(tx: Transaction, saved: Checkpoint, state: bytes) -> None:
    name = (saved.namespace, saved.task_id)
    tx.execute(
        "INSERT INTO task (namespace, task_id, last_version, version, expire_time) VALUES (?1, ?2, ?3, ?3, ?4)"
        " ON CONFLICT (namespace, task_id) DO UPDATE SET last_version = ?3, version = ?3, expire_time = ?4",
        (*name, saved.version, saved.expire_time),
    )
    tx.execute(
        "INSERT INTO checkpoint (namespace, task_id, version, create_time, size_bytes, sha256, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*name, saved.version, saved.create_time, saved.size_bytes, saved.sha256, state),
    )


def _delete(tx: Transaction, namespace: str, task_ids: Sequence[str] | None) -> int:
    """Checkpoints of the tasks, or of all (None); the version numbers stay."""
    if task_ids is None:
        where, bindings = "namespace = ?", (namespace,)
    else:
        where = "namespace = ? AND task_id IN (SELECT value FROM json_each(?))"
        bindings = (namespace, json.dumps(list(task_ids)))  # type: ignore[assignment]
    gone = tx.execute(f"DELETE FROM checkpoint WHERE {where}", bindings)
    tx.execute(f"UPDATE task SET version = 0 WHERE {where}", bindings)
    tx.erases = tx.erases or gone > 0
    return gone


def _sweep(tx: Transaction, max_rows: int) -> int:
    gone = tx.execute(
        f"DELETE FROM checkpoint WHERE pk IN (SELECT c.pk FROM {_LIVE} WHERE expire_time <= ? LIMIT ?)",
        (tx.now_us, max_rows),
    )
    tx.execute(
        "UPDATE task SET version = 0 WHERE expire_time <= ? AND version > 0 AND NOT EXISTS (SELECT 1 FROM checkpoint c"
        " WHERE c.namespace = task.namespace AND c.task_id = task.task_id)",
        (tx.now_us,),
    )
    tx.erases_later = tx.erases_later or gone > 0
    gone += tx.execute(
        "DELETE FROM task WHERE (namespace, task_id) IN"
        " (SELECT namespace, task_id FROM task WHERE expire_time <= ? AND version = 0 LIMIT ?)",
        (tx.now_us - RESERVED_VERSION_TTL_US, max_rows),
    )
    return gone + requests.sweep(tx, max_rows) + effects.sweep(tx, max_rows)


def _described(namespace: str, task_id: str, numbers: Sequence[int | str]) -> Checkpoint:
    """From (version, size, SHA-256 in hex, create and expire time)."""
    version, size, sha256, create_time, expire_time = numbers
    digest = bytes.fromhex(str(sha256))
    return Checkpoint(namespace, task_id, int(version), b"", int(size), digest, int(create_time), int(expire_time))


def _checkpoint(namespace: str, found: Row) -> Checkpoint:
    task_id, version, size, sha256, create_time, expire_time, *state = found
    return Checkpoint(namespace, task_id, version, state[0] if state else b"", size, sha256, create_time, expire_time)
