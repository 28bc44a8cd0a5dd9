"""ProcedureStore on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.procedure import (
    ALL_VERSIONS,
    COLUMNS,
    OFFERED,
    decode,
    metadata_json,
    procedure_index_row,
)
from memd.adapters.sqlite import outcomes, requests
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.model_guard import ModelGuard
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import AlreadyExists, NotFound, VersionConflict
from memd.domain.model import Durability, OutcomeReport, Page, Procedure, RequestKey, Scope, Written
from memd.limits import MAX_PROCEDURE_VERSIONS

STORE = "procedures"


class SqliteProcedures:
    def __init__(self, writer: Writer, reads: ReadPool, tombstones: Tombstones, guard: ModelGuard) -> None:
        self._writer = writer
        self._reads = reads
        self._tombstones = tombstones
        self._guard = guard

    async def put(
        self,
        procedure: Procedure,
        embeddings: tuple[bytes, ...],
        *,
        expected_version: int | None,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[tuple[Procedure, bool]]:
        namespace = procedure.scope.namespace

        def operation(tx: Transaction) -> Written[tuple[Procedure, bool]]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                seq, version, created = known
                again = find(tx, namespace, procedure.procedure_id, version)
                return Written((again, created), seq, Durability.SYNCED, replayed=True)
            self._tombstones.check(tx, "procedure", procedure.scope, (procedure.procedure_id,), fence)
            self._guard.check(tx, embeddings, fence)
            stored, created = _put(tx, procedure, b"".join(embeddings), expected_version)
            if created:
                tx.audit(namespace, writer, "put_procedure")
            seq = tx.seq(namespace)
            requests.save(tx, STORE, request, (seq, stored.version, created))
            return Written((stored, created), seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def get(self, namespace: str, procedure_id: str, version: int) -> Procedure:
        sql, bindings = _by_version(namespace, procedure_id, version)
        found = await self._reads.run(lambda connection: row(connection, sql, bindings))
        if found is None:
            raise _no_procedure()
        return decode(namespace, found)

    def fetch(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        sql = (
            f"SELECT json_group_array(json_array({COLUMNS})) FROM {OFFERED}"
            " WHERE namespace = ? AND procedure_id IN (SELECT value FROM json_each(?))"
        )
        bindings = (namespace, json.dumps(list(procedure_ids)))
        found = self._reads.blocking(lambda connection: row(connection, sql, bindings))
        by_id = {one[0]: decode(namespace, one) for one in json.loads(found[0])} if found else {}
        return [by_id[procedure_id] for procedure_id in procedure_ids if procedure_id in by_id]

    async def page(self, scope: Scope, *, key: str, size: int, cursor: str) -> Page[Procedure]:
        seen = "namespace = ? AND user_id = ? AND agent_id IN ('', ?)"
        bindings: tuple[str | int, ...] = (scope.namespace, scope.user_id, scope.agent_id)
        if key:
            after = decode_cursor(cursor, str, int) or ("", 1 << 62)
            # The agent's own first, then the shared one of the same key; each newest first.
            sql = (
                f"SELECT {COLUMNS} FROM {ALL_VERSIONS} WHERE {seen} AND key = ?"
                " AND (agent_id = '' , -v.version) > (?, ?) ORDER BY agent_id = '', v.version DESC LIMIT ?"
            )
            own = 0 if not cursor or after[0] else 1
            bindings = (*bindings, key, own, -after[1] if cursor else -(1 << 62), size + 1)
        else:
            after = decode_cursor(cursor, str, str) or ("", "")
            sql = f"SELECT {COLUMNS} FROM {OFFERED} WHERE {seen} AND (key, agent_id) > (?, ?) ORDER BY key, agent_id LIMIT ?"
            bindings = (*bindings, *after, size + 1)
        found = await self._reads.run(lambda connection: rows(connection, sql, bindings))
        items = tuple(decode(scope.namespace, one) for one in found[:size])
        if len(found) <= size:
            return Page(items, "")
        last = items[-1]
        return Page(
            items,
            encode_cursor(last.scope.agent_id, last.version) if key else encode_cursor(last.key, last.scope.agent_id),
        )

    async def delete(
        self, namespace: str, procedure_id: str, *, writer: str, request: RequestKey | None
    ) -> Written[int]:
        def operation(tx: Transaction) -> Written[int]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                return Written(known[1], known[0], Durability.SYNCED, replayed=True)
            found = tx.row(
                "SELECT pk, user_id, agent_id, (SELECT count(*) FROM procedure_version WHERE procedure_pk = pk)"
                " FROM procedure WHERE namespace = ? AND procedure_id = ?",
                (namespace, procedure_id),
            )
            if found is None:
                raise _no_procedure()
            pk, user_id, agent_id, versions = found
            tx.execute("DELETE FROM procedure WHERE pk = ?", (pk,))
            scope = Scope(namespace, user_id, agent_id)
            self._tombstones.add(tx, "procedure", scope, (procedure_id,), all_users=False)
            tx.delete(namespace, "procedure", (procedure_id,))
            tx.audit(namespace, writer, "delete_procedure")
            tx.erases = True
            seq = tx.seq(namespace)
            requests.save(tx, STORE, request, (seq, versions))
            return Written(versions, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def report(
        self, namespace: str, procedure_id: str, version: int, report: OutcomeReport, request: RequestKey | None
    ) -> Written[Procedure]:
        def operation(tx: Transaction) -> Written[Procedure]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                seq, at, won, lost, time = known
                stored = find(tx, namespace, procedure_id, at)
                first = replace(stored, successes=won, failures=lost, last_outcome_time=time)
                return Written(first, seq, Durability.SYNCED, replayed=True)
            before = find(tx, namespace, procedure_id, version)
            if not outcomes.known(tx, before, report):
                outcomes.count(tx, before, report)
                tx.bump(namespace)
            stored = find(tx, namespace, procedure_id, before.version)
            seq = tx.seq(namespace)
            reply = (seq, stored.version, stored.successes, stored.failures, stored.last_outcome_time)
            requests.save(tx, STORE, request, reply)
            return Written(stored, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def outcomes(self, namespace: str, procedure_id: str, version: int, limit: int) -> Sequence[OutcomeReport]:
        return await self._reads.run(lambda reader: outcomes.newest(reader, namespace, procedure_id, version, limit))


def _put(tx: Transaction, wanted: Procedure, vectors: bytes, expected: int | None) -> tuple[Procedure, bool]:
    """The stored version, and whether it is new."""
    scope = wanted.scope
    found = tx.row(
        "SELECT pk, version, user_id, agent_id FROM procedure WHERE namespace = ? AND procedure_id = ?",
        (scope.namespace, wanted.procedure_id),
    )
    if found is not None and found[2:] != (scope.user_id, scope.agent_id):
        raise AlreadyExists("this procedure id is taken")
    newest = found[1] if found else 0
    if expected is not None and expected != newest:
        raise VersionConflict("the procedure has another version", current_version=newest)
    if found:
        current = find(tx, scope.namespace, wanted.procedure_id, newest)
        if _body(current) == _body(wanted):
            return current, False
    version = newest + 1
    tx.execute(
        "INSERT INTO procedure (namespace, procedure_id, user_id, agent_id, key, version, offered, offered_time, demotion)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, '') ON CONFLICT (namespace, procedure_id) DO UPDATE SET"
        " version = excluded.version, offered = excluded.version, offered_time = excluded.offered_time, demotion = ''",
        (scope.namespace, wanted.procedure_id, scope.user_id, scope.agent_id, wanted.key, version, tx.now_us),
    )
    _insert_version(tx, wanted, version, vectors)
    stored = find(tx, scope.namespace, wanted.procedure_id, version)
    entry = procedure_index_row(
        wanted.procedure_id, version, wanted.key, wanted.trigger, vectors, scope.user_id, scope.agent_id
    )
    tx.put(scope.namespace, "procedure", entry)
    return stored, True


def _insert_version(tx: Transaction, wanted: Procedure, version: int, vectors: bytes) -> None:
    name = (wanted.scope.namespace, wanted.procedure_id)
    tx.execute(
        "INSERT INTO procedure_version (procedure_pk, version, trigger, content, metadata, successes, failures,"
        " create_time, vectors) SELECT pk, ?, ?, ?, ?, 0, 0, ?, ? FROM procedure WHERE namespace = ? AND procedure_id = ?",
        (version, wanted.trigger, wanted.content, metadata_json(wanted), tx.now_us, vectors, *name),
    )
    dropped = tx.execute(
        "DELETE FROM procedure_version WHERE version <= ?"
        " AND procedure_pk = (SELECT pk FROM procedure WHERE namespace = ? AND procedure_id = ?)",
        (version - MAX_PROCEDURE_VERSIONS, *name),
    )
    tx.erases_later = tx.erases_later or dropped > 0


def _body(procedure: Procedure) -> tuple[object, ...]:
    return procedure.trigger, procedure.content, dict(procedure.metadata)


def _by_version(namespace: str, procedure_id: str, version: int) -> tuple[str, tuple[str | int, ...]]:
    if version:
        sql = f"SELECT {COLUMNS} FROM {ALL_VERSIONS} WHERE namespace = ? AND procedure_id = ? AND v.version = ?"
        return sql, (namespace, procedure_id, version)
    return f"SELECT {COLUMNS} FROM {OFFERED} WHERE namespace = ? AND procedure_id = ?", (namespace, procedure_id)


def find(tx: Transaction, namespace: str, procedure_id: str, version: int) -> Procedure:
    """``version`` 0 is the offered one. NotFound."""
    found = tx.row(*_by_version(namespace, procedure_id, version))
    if found is None:
        raise _no_procedure()
    return decode(namespace, found)


def _no_procedure() -> NotFound:
    return NotFound("there is no such procedure")
