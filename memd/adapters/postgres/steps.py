"""StepLedger on Postgres. See ``memd.ports`` for what each method promises, ``memd.domain.steps`` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from memd.adapters.postgres import effects
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.step import STEP_COLUMNS, HeldSteps, decode_step, encode_step
from memd.domain import steps as rules
from memd.domain.errors import IdempotencyKeyReused, LimitExceeded
from memd.domain.model import Page, RequestKey, Written
from memd.domain.steps import Step, StepIntent
from memd.limits import MAX_STEPS_PER_TASK, STEP_PAGE_BYTES

STORE = "steps"
_TASK = (
    "INSERT INTO memd.step_task AS t (namespace, task_id, steps, expire_time) VALUES ($1, $2, 0, $3)"
    " ON CONFLICT (namespace, task_id) DO UPDATE SET expire_time = t.expire_time"
    " RETURNING pk, steps, expire_time"
)
_LOCKED = "SELECT pk, steps, expire_time FROM memd.step_task WHERE namespace = $1 AND task_id = $2 FOR UPDATE"
_STEP = f"SELECT {STEP_COLUMNS} FROM memd.step WHERE step_task_pk = $1 AND step_id = $2"
_SAVE = (
    f"INSERT INTO memd.step (namespace, step_task_pk, {STEP_COLUMNS})"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    " ON CONFLICT (step_task_pk, step_id) DO UPDATE SET state = excluded.state, fencing_token = excluded.fencing_token,"
    " lease_expire_time = excluded.lease_expire_time, complete_time = excluded.complete_time,"
    " result = excluded.result, error_reason = excluded.error_reason"
)
_PAGE = (
    f"SELECT s.pk, {STEP_COLUMNS} FROM memd.step s JOIN memd.step_task t ON t.pk = s.step_task_pk"
    " WHERE t.namespace = $1 AND t.task_id = $2 AND t.expire_time > $3 AND s.pk > $4 ORDER BY s.pk LIMIT $5"
)
_CHOSEN = "namespace = $1 AND ($2 OR task_id = ANY ($3::text[]))"
# SKIP LOCKED: another daemon may be at the same rows. MATERIALIZED: a choice made again per row would go past the LIMIT.
_SWEEP = (
    "WITH due AS MATERIALIZED (SELECT s.pk FROM memd.step_task t JOIN memd.step s ON s.step_task_pk = t.pk"
    " WHERE t.expire_time <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.step WHERE pk IN (SELECT pk FROM due)"
)
_SWEEP_TASKS = (
    "WITH due AS MATERIALIZED (SELECT pk FROM memd.step_task t WHERE expire_time <= $1"
    " AND NOT EXISTS (SELECT FROM memd.step WHERE step_task_pk = t.pk) FOR UPDATE SKIP LOCKED)"
    " DELETE FROM memd.step_task WHERE pk IN (SELECT pk FROM due)"
)


class PostgresSteps(HeldSteps):
    """``vacuum`` is told which tables content was deleted from on purpose, after the commit."""

    def __init__(self, database: Database, vacuum: Callable[[set[str]], None]) -> None:
        self._database = database
        self._vacuum = vacuum

    async def begin(
        self, namespace: str, intent: StepIntent, *, ttl_us: int, request: RequestKey | None
    ) -> Written[Step]:
        async def operation(tx: Transaction) -> Written[Step]:
            task = await _open_task(tx, intent.task_id, ttl_us)
            found = await _find(tx, task.pk, intent.task_id, intent.step_id)
            if tx.known is not None and found is not None and found.fencing_token == tx.known.reply:
                return _written(tx, rules.seen(found, tx.now_us), replayed=tx.replayed)
            if found is None:
                await _check_new(tx, task, intent)
            step, granted = rules.begin(found, intent, tx.now_us)
            if granted:
                await _store(tx, task.pk, step, ttl_us, new=found is None)
            if tx.known is None:
                await tx.seal(step.fencing_token)
            return _written(tx, step)

        return await self._database.write(namespace, operation, store=STORE, request=request)

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Step]:
        (after,) = decode_cursor(cursor, int) or (0,)
        return await self._database.read(
            namespace, lambda reader: _page(reader, namespace, task_id, size=size, after=after)
        )

    async def count(self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool) -> Mapping[str, int]:
        async def operation(reader: Reader) -> Mapping[str, int]:
            sql = f"SELECT coalesce(sum(steps), 0) FROM memd.step_task WHERE {_CHOSEN} AND expire_time > $4"
            found = await reader.row(sql, namespace, all_tasks, list(task_ids), reader.now_us)
            return {"steps": int(found[0]) if found else 0}

        return await self._database.read(namespace, operation)

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        async def operation(tx: Transaction) -> Mapping[str, int]:
            known = await effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            chosen = (namespace, all_tasks, list(task_ids))
            gone = await tx.rows(f"DELETE FROM memd.step_task WHERE {_CHOSEN} RETURNING steps", *chosen)
            counts = {"steps": sum(int(steps) for (steps,) in gone)}
            await effects.save(tx, STORE, receipt_id, counts)
            return counts

        counts = await self._database.write(namespace, operation, exclusive=True)
        self._vacuum({"step"})
        return counts

    async def sweep(self, max_rows: int) -> int:
        async def operation(reader: Reader) -> int:
            gone = await reader.execute(_SWEEP, reader.now_us, max_rows)
            await reader.execute(_SWEEP_TASKS, reader.now_us)
            return gone

        return await self._database.keep(operation)

    async def _change(
        self, namespace: str, task_id: str, step_id: str, ttl_us: int, change: Callable[[Step | None, int], Step]
    ) -> Written[Step]:
        async def operation(tx: Transaction) -> Written[Step]:
            task = await tx.row(_LOCKED, namespace, task_id)
            live = task is not None and task[2] > tx.now_us
            found = await _find(tx, task[0], task_id, step_id) if task is not None and live else None
            if tx.known is not None and found is not None:  # it was done, and the answer was lost
                return _written(tx, rules.seen(found, tx.now_us))
            step = change(found, tx.now_us)
            if task is not None and step != found:
                await _store(tx, task[0], step, ttl_us, new=False)
            await tx.seal(step.fencing_token)
            return _written(tx, rules.seen(step, tx.now_us))

        return await self._database.write(namespace, operation, store=STORE)


class _Task:
    """A task's row, locked until the commit."""

    def __init__(self, pk: int, steps: int) -> None:
        self.pk = pk
        self.steps = steps


async def _open_task(tx: Transaction, task_id: str, ttl_us: int) -> _Task:
    """The task, made where it is new; an expired ledger goes first: nothing of it may answer for the new one."""
    found = await tx.row(_TASK, tx.namespace, task_id, tx.now_us + ttl_us)
    assert found is not None
    pk, steps, expire_time = found
    if expire_time <= tx.now_us:
        await tx.execute("DELETE FROM memd.step WHERE step_task_pk = $1", pk)
        await tx.execute("UPDATE memd.step_task SET steps = 0 WHERE pk = $1", pk)
        steps = 0
    return _Task(pk, steps)


async def _find(tx: Transaction, task_pk: int, task_id: str, step_id: str) -> Step | None:
    found = await tx.row(_STEP, task_pk, step_id)
    return decode_step(task_id, found) if found else None


async def _check_new(tx: Transaction, task: _Task, intent: StepIntent) -> None:
    if task.steps >= MAX_STEPS_PER_TASK:
        raise LimitExceeded(f"the task has {MAX_STEPS_PER_TASK:,} steps, the most a task may have")
    known = "SELECT 1 FROM memd.step WHERE step_task_pk = $1 AND idempotency_key = $2"
    if await tx.row(known, task.pk, intent.idempotency_key):
        raise IdempotencyKeyReused("the key was used for another step of the task", field="idempotency_key")


async def _store(tx: Transaction, task_pk: int, step: Step, ttl_us: int, *, new: bool) -> None:
    await tx.execute(_SAVE, tx.namespace, task_pk, *encode_step(step))
    await tx.execute(
        "UPDATE memd.step_task SET steps = steps + $2, expire_time = $3 WHERE pk = $1",
        task_pk,
        int(new),
        tx.now_us + ttl_us,
    )


async def _page(reader: Reader, namespace: str, task_id: str, *, size: int, after: int) -> Page[Step]:
    """A page ends early where its results would not fit a message. Tokens are their holders' alone."""
    items: list[Step] = []
    last, room = 0, STEP_PAGE_BYTES
    for pk, *columns in await reader.rows(_PAGE, namespace, task_id, reader.now_us, after, size + 1):
        step = rules.seen(decode_step(task_id, columns), reader.now_us)
        room -= len(step.result)
        if items and (len(items) == size or room < 0):
            return Page(tuple(items), encode_cursor(last))
        items.append(replace(step, fencing_token=0))
        last = pk
    return Page(tuple(items), "")


def _written(tx: Transaction, step: Step, *, replayed: bool = False) -> Written[Step]:
    return Written(step, step.fencing_token, tx.durability, replayed)
