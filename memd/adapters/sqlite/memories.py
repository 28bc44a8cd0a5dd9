"""MemoryStore on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import apsw

from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.memory import decode_state, filterable, same
from memd.adapters.sqlite import requests
from memd.adapters.sqlite.connection import Readers, row, rows
from memd.adapters.sqlite.forget import Forgetter
from memd.adapters.sqlite.loading import changed, erased_since, load, mark
from memd.adapters.sqlite.memory_cache import MemoryCache
from memd.adapters.sqlite.memory_rows import COLUMNS, MEMORY_JSON, decode, pushdown
from memd.adapters.sqlite.model_guard import ModelGuard
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.remember import find, upsert, write
from memd.adapters.sqlite.sweeping import sweep_memories
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.verify import verify_namespace
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import NotFound, VersionConflict
from memd.domain.filters import Filter, matches
from memd.domain.model import (
    Durability,
    ForgetReceipt,
    Memory,
    NewMemory,
    Page,
    RememberedMemory,
    RequestKey,
    Scope,
    Written,
)
from memd.domain.visibility import fields_of
from memd.ports import Clock, ForgetPlan, IndexChanges, IndexRow, MemoryChange, PendingForget

STORE = "memories"
_FETCH = (
    f"SELECT json_group_array({MEMORY_JSON}) FROM memory"
    " WHERE namespace = ? AND memory_id IN (SELECT value FROM json_each(?))"
)

_DIGESTS = (
    f"SELECT {COLUMNS} FROM memory WHERE namespace = ?1 AND user_id = ?2 AND agent_id = ?3 AND fields ->> 'source' = 'digest'"
    " AND coalesce(fields ->> 'session_id', '') != ?4 AND coalesce(expire_time, ?5 + 1) > ?5"
    " ORDER BY create_time DESC LIMIT ?6"
)


class SqliteMemories:
    def __init__(
        self,
        writer: Writer,
        reads: ReadPool,
        readers: Readers,
        clock: Clock,
        tombstones: Tombstones,
        guard: ModelGuard,
        cache: MemoryCache,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._readers = readers
        self._clock = clock
        self._tombstones = tombstones
        self._guard = guard
        self._cache = cache
        self._forgetter = Forgetter(tombstones)

    async def fence(self, namespace: str) -> int:
        return self._tombstones.fence

    async def remember(
        self, namespace: str, drafts: Sequence[NewMemory], *, fence: int, writer: str, request: RequestKey | None
    ) -> Written[tuple[RememberedMemory, ...]]:
        def operation(tx: Transaction) -> Written[tuple[RememberedMemory, ...]]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                again = tuple(RememberedMemory(*one) for one in known[1])
                return Written(again, known[0], Durability.SYNCED, replayed=True)
            for draft in drafts:
                self._guard.check(tx, draft.embeddings, fence)
            done = tuple(upsert(tx, self._tombstones, namespace, draft, fence=fence, writer=writer) for draft in drafts)
            if tx.changes:
                tx.audit(namespace, writer, "remember", json.dumps({"memories": len(done)}))
            seq = tx.seq(namespace)
            reply = seq, [(one.memory_id, one.version, one.created, one.windows) for one in done]
            requests.save(tx, STORE, request, reply)
            return Written(done, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

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
        def operation(tx: Transaction) -> Written[Memory]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                again = _state(tx, namespace, memory_id, known[1])
                if not matches(visible, fields_of(again)):  # forgotten since, and the id given to somebody else
                    raise _no_memory()
                return Written(again, known[0], Durability.SYNCED, replayed=True)
            stored = find(tx, namespace, memory_id)
            if stored is None:
                self._tombstones.check_missing(tx, "memory", namespace, memory_id, fence)
                raise _no_memory()
            self._tombstones.check(tx, "memory", stored.memory.scope, (memory_id,), fence)
            if not matches(visible, fields_of(stored.memory)):
                raise _no_memory()
            if expected_version not in (0, stored.memory.version):
                raise VersionConflict("the memory has another version", current_version=stored.memory.version)
            self._guard.check(tx, change.embeddings or (), fence)
            result = stored.memory
            changed = replace(result, **change.values)
            if not same(result, changed) or changed.superseded_by != result.superseded_by:
                version = result.version + 1
                result = replace(changed, version=version, update_time=tx.now_us, writer=writer)
                write(tx, stored, result, change.embeddings)
                tx.audit(namespace, writer, "update")
            seq = tx.seq(namespace)
            requests.save(tx, STORE, request, (seq, result.version))
            return Written(result, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def forget(self, plan: ForgetPlan, *, writer: str, request: RequestKey | None) -> Written[ForgetReceipt]:
        if plan.dry_run:
            now = self._clock.now_us()
            return await self._reads.run(lambda connection: self._forgetter.count(connection, plan, now))

        def operation(tx: Transaction) -> Written[ForgetReceipt]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                again = self._forgetter.receipt(tx, known[1])
                return Written(again, known[0], Durability.SYNCED, replayed=True)
            receipt = self._forgetter.run(tx, plan, writer)
            seq = tx.seq(plan.scope.namespace)
            requests.save(tx, STORE, request, (seq, receipt.receipt_id))
            return Written(receipt, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def finish_forget(self, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        return await self._writer.submit(lambda tx: self._forgetter.finish(tx, receipt_id, counts))

    async def pending_forgets(self) -> tuple[PendingForget, ...]:
        return await self._reads.run(self._forgetter.pending)

    async def ready(self, namespace: str) -> None:
        """The rows are the truth."""

    def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        def read(missing: Sequence[str]) -> list[Memory]:
            bindings = (namespace, json.dumps(list(missing)))
            found = self._reads.blocking(lambda connection: row(connection, _FETCH, bindings))
            return [decode(namespace, one).memory for one in json.loads(found[0])] if found else []

        now = self._clock.now_us()
        found = self._cache.fetch(namespace, memory_ids, read)
        return [memory for memory in found if memory.expire_time is None or memory.expire_time > now]

    def digests(self, scope: Scope, limit: int) -> list[Memory]:
        owner = scope.namespace, scope.user_id, scope.agent_id, scope.session_id
        bindings = (*owner, self._clock.now_us(), limit)
        found = self._reads.blocking(lambda connection: rows(connection, _DIGESTS, bindings))
        return [decode(scope.namespace, one).memory for one in found]

    async def page(self, namespace: str, where: Filter, *, size: int, cursor: str) -> Page[Memory]:
        before = decode_cursor(cursor, int, str) or (1 << 62, "")
        now = self._clock.now_us()
        return await self._reads.run(
            lambda connection: _page(connection, namespace, where, now, size=size, before=before)
        )

    async def revisions(self, namespace: str, memory_id: str, *, size: int, cursor: str) -> Page[Memory]:
        (before,) = decode_cursor(cursor, int) or (1 << 62,)
        now = self._clock.now_us()
        return await self._reads.run(
            lambda connection: _revisions(connection, namespace, memory_id, now, size=size, before=before)
        )

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        return load(self._readers.fresh(), namespace, kind)

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> IndexChanges | None:
        return changed(self._readers.fresh(), namespace, kind, since, mark)

    def mark(self, namespace: str, seq: int) -> str:
        return self._reads.blocking(lambda connection: mark(connection, namespace, seq))

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        return self._reads.blocking(lambda connection: erased_since(connection, namespace, kind, seq))

    async def namespaces(self) -> tuple[str, ...]:
        """Those with most changes first: so an index loads them at start."""
        sql = "SELECT namespace FROM namespace_head ORDER BY seq DESC"
        found = await self._reads.run(lambda connection: rows(connection, sql))
        return tuple(namespace for (namespace,) in found)

    async def verify(self, namespace: str) -> tuple[int, Mapping[str, int], Sequence[str]]:
        now = self._clock.now_us()
        return await self._reads.run(lambda connection: verify_namespace(connection, namespace, now))

    async def sweep(self, max_rows: int) -> int:
        return await self._writer.submit(lambda tx: sweep_memories(tx, max_rows))


def _page(
    connection: apsw.Connection, namespace: str, where: Filter, now_us: int, *, size: int, before: tuple[int, str]
) -> Page[Memory]:
    """In an order that every copy of the rows has: one of them may give out the page after that of another."""
    narrowed, bindings = pushdown(where)
    sql = (
        f"SELECT create_time, {COLUMNS} FROM memory WHERE namespace = ? AND {narrowed}"
        " AND (create_time, memory_id) < (?, ?) AND coalesce(expire_time, ?) > ?"
        " ORDER BY create_time DESC, memory_id DESC"
    )
    items: list[Memory] = []
    last: tuple[int, str] = before
    for create_time, *columns in connection.execute(sql, (namespace, *bindings, *before, now_us + 1, now_us)):
        if not matches(where, filterable(str(columns[1]), str(columns[4]))):
            continue
        if len(items) == size:
            return Page(tuple(items), encode_cursor(*last))
        memory = decode(namespace, columns).memory
        items.append(memory)
        last = int(str(create_time)), memory.memory_id
    return Page(tuple(items), "")


def _revisions(
    connection: apsw.Connection, namespace: str, memory_id: str, now_us: int, *, size: int, before: int
) -> Page[Memory]:
    current = row(
        connection,
        "SELECT pk FROM memory WHERE namespace = ? AND memory_id = ? AND coalesce(expire_time, ?) > ?",
        (namespace, memory_id, now_us + 1, now_us),
    )
    if current is None:
        raise _no_memory()
    found = rows(
        connection,
        "SELECT version, fields, body, content FROM memory WHERE pk = ?1 AND version < ?2 UNION ALL"
        " SELECT version, fields, body, content FROM memory_revision WHERE memory_pk = ?1 AND version < ?2"
        " ORDER BY version DESC LIMIT ?3",
        (current[0], before, size + 1),
    )
    items = tuple(decode_state(namespace, memory_id, *one) for one in found[:size])
    return Page(items, encode_cursor(items[-1].version) if len(found) > size else "")


def _state(tx: Transaction, namespace: str, memory_id: str, version: int) -> Memory:
    """The memory as it was at ``version``: the result of the request that made it."""
    found = tx.row(
        "SELECT m.version, m.fields, m.body, m.content FROM memory m WHERE namespace = ?1 AND memory_id = ?2"
        " AND m.version = ?3 UNION ALL"
        " SELECT r.version, r.fields, r.body, r.content FROM memory m JOIN memory_revision r ON r.memory_pk = m.pk"
        " WHERE namespace = ?1 AND memory_id = ?2 AND r.version = ?3",
        (namespace, memory_id, version),
    )
    if found is None:
        raise NotFound("what this request_id wrote is no longer kept")
    return decode_state(namespace, memory_id, *found)


def _no_memory() -> NotFound:
    return NotFound("there is no such memory")
