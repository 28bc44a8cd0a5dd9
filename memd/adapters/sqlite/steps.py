"""StepLedger on SQLite. See ``memd.ports`` for what each method promises, ``memd.domain.steps`` for the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import apsw

from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.step import STEP_COLUMNS, HeldSteps, decode_step, encode_step
from memd.adapters.sqlite import effects, requests
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain import steps as rules
from memd.domain.errors import IdempotencyKeyReused, LimitExceeded
from memd.domain.model import Durability, Page, RequestKey, Written
from memd.domain.steps import Step, StepIntent
from memd.limits import MAX_STEPS_PER_TASK, STEP_PAGE_BYTES
from memd.ports import Clock

STORE = "steps"
_LIVE = "step s JOIN step_task t ON t.pk = s.step_task_pk WHERE t.namespace = ? AND t.task_id = ? AND t.expire_time > ?"


class SqliteSteps(HeldSteps):
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    async def begin(
        self, namespace: str, intent: StepIntent, *, ttl_us: int, request: RequestKey | None
    ) -> Written[Step]:
        def operation(tx: Transaction) -> Written[Step]:
            found = _find(tx, namespace, intent.task_id, intent.step_id)
            token = requests.find(tx, STORE, request)
            if token is not None and found is not None and found.fencing_token == token:
                return _written(rules.seen(found, tx.now_us), replayed=True)
            if found is None:
                _check_new(tx, namespace, intent)
            step, granted = rules.begin(found, intent, tx.now_us)
            if granted:
                _store(tx, namespace, step, ttl_us, new=found is None)
                if token is None:
                    requests.save(tx, STORE, request, step.fencing_token)
            return _written(step)

        return await self._writer.submit(operation)

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Step]:
        (after,) = decode_cursor(cursor, int) or (0,)
        now_us = self._clock.now_us()
        return await self._reads.run(
            lambda connection: _page(connection, namespace, task_id, now_us, size=size, after=after)
        )

    async def count(self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool) -> Mapping[str, int]:
        where, bindings = _tasks(namespace, task_ids, all_tasks)
        sql = f"SELECT coalesce(sum(steps), 0) FROM step_task WHERE {where} AND expire_time > ?"
        now_us = self._clock.now_us()
        found = await self._reads.run(lambda connection: row(connection, sql, (*bindings, now_us)))
        return {"steps": int(found[0]) if found else 0}

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        def operation(tx: Transaction) -> Mapping[str, int]:
            known = effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            where, bindings = _tasks(namespace, task_ids, all_tasks)
            found = tx.row(f"SELECT coalesce(sum(steps), 0) FROM step_task WHERE {where}", bindings)
            counts = {"steps": int(found[0]) if found else 0}
            tx.execute(f"DELETE FROM step_task WHERE {where}", bindings)
            tx.erases = tx.erases or counts["steps"] > 0
            effects.save(tx, STORE, receipt_id, counts)
            return counts

        return await self._writer.submit(operation)

    async def sweep(self, max_rows: int) -> int:
        return await self._writer.submit(lambda tx: _sweep(tx, max_rows))

    async def _change(
        self, namespace: str, task_id: str, step_id: str, ttl_us: int, change: Callable[[Step | None, int], Step]
    ) -> Written[Step]:
        def operation(tx: Transaction) -> Written[Step]:
            found = _find(tx, namespace, task_id, step_id)
            step = change(found, tx.now_us)
            if step != found:
                _store(tx, namespace, step, ttl_us, new=False)
            return _written(rules.seen(step, tx.now_us))

        return await self._writer.submit(operation)


def _written(step: Step, *, replayed: bool = False) -> Written[Step]:
    return Written(step, step.fencing_token, Durability.SYNCED, replayed)


def _find(tx: Transaction, namespace: str, task_id: str, step_id: str) -> Step | None:
    found = tx.row(f"SELECT {STEP_COLUMNS} FROM {_LIVE} AND step_id = ?", (namespace, task_id, tx.now_us, step_id))
    return decode_step(task_id, found) if found else None


def _check_new(tx: Transaction, namespace: str, intent: StepIntent) -> None:
    """An expired ledger of the task goes first: nothing of it may answer for the new one."""
    name = (namespace, intent.task_id)
    gone = tx.execute(
        "DELETE FROM step_task WHERE namespace = ? AND task_id = ? AND expire_time <= ?", (*name, tx.now_us)
    )
    tx.erases_later = tx.erases_later or gone > 0
    task = tx.row("SELECT pk, steps FROM step_task WHERE namespace = ? AND task_id = ?", name)
    if task is None:
        return
    if task[1] >= MAX_STEPS_PER_TASK:
        raise LimitExceeded(f"the task has {MAX_STEPS_PER_TASK:,} steps, the most a task may have")
    known = "SELECT 1 FROM step WHERE step_task_pk = ? AND idempotency_key = ?"
    if tx.row(known, (task[0], intent.idempotency_key)):
        raise IdempotencyKeyReused("the key was used for another step of the task", field="idempotency_key")


def _store(tx: Transaction, namespace: str, step: Step, ttl_us: int, *, new: bool) -> None:
    task = tx.row(
        "INSERT INTO step_task (namespace, task_id, steps, expire_time) VALUES (?1, ?2, ?3, ?4)"
        " ON CONFLICT (namespace, task_id) DO UPDATE SET steps = steps + ?3, expire_time = ?4 RETURNING pk",
        (namespace, step.task_id, int(new), tx.now_us + ttl_us),
    )
    assert task is not None
    tx.execute(
        f"INSERT INTO step (step_task_pk, {STEP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (step_task_pk, step_id) DO UPDATE SET state = excluded.state,"
        " fencing_token = excluded.fencing_token, lease_expire_time = excluded.lease_expire_time,"
        " complete_time = excluded.complete_time, result = excluded.result, error_reason = excluded.error_reason",
        (task[0], *encode_step(step)),
    )


def _page(
    connection: apsw.Connection, namespace: str, task_id: str, now_us: int, *, size: int, after: int
) -> Page[Step]:
    """A page ends early where its results would not fit a message. Tokens are their holders' alone."""
    sql = f"SELECT s.pk, {STEP_COLUMNS} FROM {_LIVE} AND s.pk > ? ORDER BY s.pk LIMIT ?"
    items: list[Step] = []
    last, room = 0, STEP_PAGE_BYTES
    for pk, *columns in rows(connection, sql, (namespace, task_id, now_us, after, size + 1)):
        step = rules.seen(decode_step(task_id, columns), now_us)
        room -= len(step.result)
        if items and (len(items) == size or room < 0):
            return Page(tuple(items), encode_cursor(last))
        items.append(replace(step, fencing_token=0))
        last = pk
    return Page(tuple(items), "")


def _tasks(namespace: str, task_ids: Sequence[str], all_tasks: bool) -> tuple[str, tuple[str, ...]]:
    if all_tasks:
        return "namespace = ?", (namespace,)
    return "namespace = ? AND task_id IN (SELECT value FROM json_each(?))", (namespace, json.dumps(list(task_ids)))


def _sweep(tx: Transaction, max_rows: int) -> int:
    """Steps of expired tasks, up to ``max_rows``, then the tasks they leave empty."""
    gone = tx.execute(
        "DELETE FROM step WHERE pk IN (SELECT s.pk FROM step_task t JOIN step s ON s.step_task_pk = t.pk"
        " WHERE t.expire_time <= ? LIMIT ?)",
        (tx.now_us, max_rows),
    )
    tx.execute(
        "DELETE FROM step_task WHERE expire_time <= ?"
        " AND NOT EXISTS (SELECT 1 FROM step WHERE step_task_pk = step_task.pk)",
        (tx.now_us,),
    )
    tx.erases_later = tx.erases_later or gone > 0
    return gone
