"""MemoryTruth on Postgres. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.forget import Forgetter
from memd.adapters.postgres.memory_rows import COLUMNS, decode, decode_version, pushdown
from memd.adapters.postgres.model_guard import ModelGuard
from memd.adapters.postgres.remember import change_one, upsert_all
from memd.adapters.postgres.sweeping import sweep_memories
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.postgres.verify import verify_namespace
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.memory import filterable
from memd.domain.errors import NotFound
from memd.domain.filters import Filter, matches
from memd.domain.model import ForgetReceipt, Memory, NewMemory, Page, RememberedMemory, RequestKey, Written
from memd.domain.visibility import fields_of
from memd.ports import ChangeBatch, ForgetPlan, Head, MemoryChange, PendingForget

STORE = "memories"
_PAGE_BATCH = 512
"""Rows of a page's query looked at in one round trip: ``filters.matches`` decides which of them count."""
_LIVE = "coalesce(expire_time, {0} + 1) > {0}"


def _nobody(batch: ChangeBatch) -> None:
    """Told of what was committed where there is no replica."""


class PostgresMemories:
    """``vacuum`` is told which tables content was deleted from on purpose, after the commit; ``landed`` of what a write
    changed, where that is known without asking."""

    def __init__(
        self, database: Database, codec: VectorCodec, guard: ModelGuard, vacuum: Callable[[set[str]], None]
    ) -> None:
        self._database = database
        self._codec = codec
        self._guard = guard
        self._forgetter = Forgetter(vacuum)
        self.landed: Callable[[ChangeBatch], None] = _nobody

    async def fence(self, namespace: str) -> int:
        found = await self._database.glance("SELECT seq FROM memd.namespace_head WHERE namespace = $1", namespace)
        return int(found[0][0]) if found else 0

    async def remember(
        self, namespace: str, drafts: Sequence[NewMemory], *, fence: int, writer: str, request: RequestKey | None
    ) -> Written[tuple[RememberedMemory, ...]]:
        model = await self._guard.check([one for draft in drafts for one in draft.embeddings])

        async def operation(tx: Transaction) -> tuple[Written[tuple[RememberedMemory, ...]], ChangeBatch | None]:
            if tx.known is not None:
                again = tuple(RememberedMemory(*one) for one in tx.known.reply)
                return Written(again, tx.known.seq, tx.durability, replayed=tx.replayed), None
            tx.model = model
            done, rows = await upsert_all(tx, self._codec, drafts, fence=fence, writer=writer)
            if tx.changed:
                tx.audit(writer, "remember", json.dumps({"memories": len(done)}))
            seq = await tx.seal([(one.memory_id, one.version, one.created, one.windows) for one in done])
            batch = ChangeBatch(namespace, seq - 1, Head(seq, tx.epoch), memories=rows) if rows else None
            return Written(done, seq, tx.durability), batch

        written, batch = await self._database.write(namespace, operation, store=STORE, request=request)
        if batch is not None:
            self.landed(batch)
        return written

    async def update(
        self,
        namespace: str,
        memory_id: str,
        visible: Filter,
        change: MemoryChange,
        *,
        expected_version: int,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[Memory]:
        model = await self._guard.check(change.embeddings or ())

        async def operation(tx: Transaction) -> Written[Memory]:
            if tx.known is not None:
                again = await _state(tx, memory_id, tx.known.reply)
                if not matches(visible, fields_of(again)):  # forgotten since, and the id given to somebody else
                    raise _no_memory()
                return Written(again, tx.known.seq, tx.durability, replayed=tx.replayed)
            tx.model = model
            result = await change_one(
                tx,
                self._codec,
                memory_id,
                visible,
                change,
                expected_version=expected_version,
                fence=fence,
                writer=writer,
            )
            if tx.changed:
                tx.audit(writer, "update")
            seq = await tx.seal(result.version)
            return Written(result, seq, tx.durability)

        return await self._database.write(namespace, operation, store=STORE, request=request)

    async def forget(self, plan: ForgetPlan, *, writer: str, request: RequestKey | None) -> Written[ForgetReceipt]:
        namespace = plan.scope.namespace
        if plan.dry_run:
            return await self._database.read(namespace, lambda reader: self._forgetter.count(reader, plan))

        async def operation(tx: Transaction) -> Written[ForgetReceipt]:
            if tx.known is not None:
                again = await self._forgetter.receipt(tx, tx.known.reply)
                return Written(again, tx.known.seq, tx.durability, replayed=tx.replayed)
            receipt = await self._forgetter.run(tx, plan, writer)
            seq = await tx.seal(receipt.receipt_id)
            return Written(receipt, seq, tx.durability)

        written = await self._database.write(namespace, operation, store=STORE, request=request, exclusive=True)
        self._forgetter.erase(written.value)
        return written

    async def finish_forget(self, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        receipt = await self._database.keep(lambda reader: self._forgetter.finish(reader, receipt_id, counts))
        self._forgetter.erase(receipt)
        return receipt

    async def pending_forgets(self) -> tuple[PendingForget, ...]:
        return await self._database.read_all(self._forgetter.pending)

    async def rows(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        """The rows that exist, in the order asked; no visibility rule is applied."""
        sql = (
            f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND memory_id = ANY ($2::text[])"
            f" AND {_LIVE.format('$3::bigint')}"
        )

        async def operation(reader: Reader) -> list[Memory]:
            found = await reader.rows(sql, namespace, list(memory_ids), reader.now_us)
            by_id = {one[1]: decode(namespace, one).memory for one in found}
            return [by_id[memory_id] for memory_id in memory_ids if memory_id in by_id]

        return await self._database.read(namespace, operation)

    async def page(self, namespace: str, where: Filter, *, size: int, cursor: str) -> Page[Memory]:
        before = decode_cursor(cursor, int, str) or (1 << 62, "")
        return await self._database.read(
            namespace, lambda reader: _page(reader, namespace, where, size=size, before=before)
        )

    async def revisions(self, namespace: str, memory_id: str, *, size: int, cursor: str) -> Page[Memory]:
        (before,) = decode_cursor(cursor, int) or (1 << 62,)
        return await self._database.read(
            namespace, lambda reader: _revisions(reader, namespace, memory_id, size=size, before=before)
        )

    async def namespaces(self) -> tuple[str, ...]:
        """Those with most changes first."""

        async def operation(reader: Reader) -> tuple[str, ...]:
            found = await reader.rows("SELECT namespace FROM memd.namespace_head ORDER BY seq DESC")
            return tuple(one[0] for one in found)

        return await self._database.read_all(operation)

    async def verify(self, namespace: str) -> tuple[int, Mapping[str, int], Sequence[str]]:
        return await self._database.read(namespace, lambda reader: verify_namespace(reader, namespace))

    async def sweep(self, max_rows: int) -> int:
        return await sweep_memories(self._database, max_rows)


async def _page(reader: Reader, namespace: str, where: Filter, *, size: int, before: tuple[int, str]) -> Page[Memory]:
    """In the order of every other copy of the rows."""
    narrowed, bindings = pushdown(where, 6)
    sql = (
        f"SELECT {COLUMNS}, create_time FROM memd.memory WHERE namespace = $1"
        f" AND (create_time, memory_id) < ($2::bigint, $3) AND {_LIVE.format('$4::bigint')} AND {narrowed}"
        " ORDER BY create_time DESC, memory_id DESC LIMIT $5"
    )
    items: list[Memory] = []
    last = looked_at = before
    batch = min(_PAGE_BATCH, size + 1)
    while True:
        found = await reader.rows(sql, namespace, *looked_at, reader.now_us, batch, *bindings)
        for one in found:
            if not matches(where, filterable(one[1], one[4])):
                continue
            if len(items) == size:
                return Page(tuple(items), encode_cursor(*last))
            items.append(decode(namespace, one).memory)
            last = one[7], one[1]
        if len(found) < batch:
            return Page(tuple(items), "")
        looked_at = found[-1][7], found[-1][1]
        batch = _PAGE_BATCH


async def _revisions(reader: Reader, namespace: str, memory_id: str, *, size: int, before: int) -> Page[Memory]:
    current = await reader.row(
        f"SELECT pk FROM memd.memory WHERE namespace = $1 AND memory_id = $2 AND {_LIVE.format('$3::bigint')}",
        namespace,
        memory_id,
        reader.now_us,
    )
    if current is None:
        raise _no_memory()
    found = await reader.rows(
        "SELECT version, fields, body, content FROM memd.memory WHERE pk = $1 AND version < $2::bigint UNION ALL"
        " SELECT version, fields, body, content FROM memd.memory_revision WHERE memory_pk = $1 AND version < $2::bigint"
        " ORDER BY version DESC LIMIT $3",
        current[0],
        before,
        size + 1,
    )
    items = tuple(decode_version(namespace, memory_id, *one) for one in found[:size])
    return Page(items, encode_cursor(items[-1].version) if len(found) > size else "")


async def _state(tx: Transaction, memory_id: str, version: int) -> Memory:
    """The memory as it was at ``version``: the result of the request that made it."""
    found = await tx.row(
        "SELECT m.version, m.fields, m.body, m.content FROM memd.memory m WHERE namespace = $1 AND memory_id = $2"
        " AND m.version = $3 UNION ALL"
        " SELECT r.version, r.fields, r.body, r.content FROM memd.memory m"
        " JOIN memd.memory_revision r ON r.memory_pk = m.pk"
        " WHERE m.namespace = $1 AND m.memory_id = $2 AND r.version = $3",
        tx.namespace,
        memory_id,
        version,
    )
    if found is None:
        raise NotFound("what this request_id wrote is no longer kept")
    return decode_version(tx.namespace, memory_id, *found)


def _no_memory() -> NotFound:
    return NotFound("there is no such memory")
