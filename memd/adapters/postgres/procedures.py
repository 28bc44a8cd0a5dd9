"""ProcedureTruth on Postgres. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memd.adapters.postgres import outcomes, tombstones
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.model_guard import ModelGuard
from memd.adapters.postgres.text import loaded_text, stored_text
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.procedure import COLUMNS, decode, metadata_json
from memd.domain.errors import AlreadyExists, NotFound, VersionConflict
from memd.domain.model import OutcomeReport, Page, Procedure, RequestKey, Scope, Written
from memd.limits import MAX_PROCEDURE_VERSIONS

STORE = "procedures"
ALL_VERSIONS = "memd.procedure p JOIN memd.procedure_version v ON v.procedure_pk = p.pk"
OFFERED = f"{ALL_VERSIONS} AND v.version = p.offered"
_SEEN = "p.namespace = $1 AND user_id = $2 AND agent_id IN ('', $3)"
_OF_KEY = (
    f"SELECT {COLUMNS} FROM {ALL_VERSIONS} WHERE {_SEEN} AND key = $4"
    " AND (CASE WHEN agent_id = '' THEN 1 ELSE 0 END, -v.version) > ($5::integer, $6::bigint)"
    " ORDER BY agent_id = '', v.version DESC LIMIT $7"
)
_OFFERED_BY_KEY = (
    f"SELECT {COLUMNS} FROM {OFFERED} WHERE {_SEEN} AND (key, agent_id) > ($4, $5) ORDER BY key, agent_id LIMIT $6"
)
_LOCK = (
    "SELECT pk, version, user_id, agent_id FROM memd.procedure WHERE namespace = $1 AND procedure_id = $2 FOR UPDATE"
)


class PostgresProcedures:
    def __init__(self, database: Database, guard: ModelGuard) -> None:
        self._database = database
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
        model = await self._guard.check(embeddings)
        scope, procedure_id = procedure.scope, procedure.procedure_id

        async def operation(tx: Transaction) -> Written[tuple[Procedure, bool]]:
            if tx.known is not None:
                version, created = tx.known.reply
                again = await find(tx, scope.namespace, procedure_id, version)
                return Written((again, created), tx.known.seq, tx.durability, replayed=tx.replayed)
            tx.model = model
            await tombstones.check(tx, "procedure", ((scope, procedure_id),), fence)
            stored, created = await _put(tx, procedure, b"".join(embeddings), expected_version)
            if created:
                tx.put("procedure", procedure_id, stored.version)
                tx.audit(writer, "put_procedure")
            seq = await tx.seal((stored.version, created))
            return Written((stored, created), seq, tx.durability)

        return await self._database.write(scope.namespace, operation, store=STORE, request=request)

    async def get(self, namespace: str, procedure_id: str, version: int) -> Procedure:
        return await self._database.read(namespace, lambda reader: find(reader, namespace, procedure_id, version))

    async def rows(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        """Offered versions of those that exist, in the order asked."""
        sql = f"SELECT {COLUMNS} FROM {OFFERED} WHERE p.namespace = $1 AND procedure_id = ANY ($2::text[])"

        async def operation(reader: Reader) -> list[Procedure]:
            found = await reader.rows(sql, namespace, list(procedure_ids))
            by_id = {one[0]: decode_procedure(namespace, one) for one in found}
            return [by_id[procedure_id] for procedure_id in procedure_ids if procedure_id in by_id]

        return await self._database.read(namespace, operation)

    async def page(self, scope: Scope, *, key: str, size: int, cursor: str) -> Page[Procedure]:
        bindings: tuple[Any, ...] = (scope.namespace, scope.user_id, scope.agent_id)
        if key:
            after = decode_cursor(cursor, str, int) or ("", 1 << 62)
            # The agent's own first, then the shared one of the same key; each newest first.
            own = 0 if not cursor or after[0] else 1
            sql, bindings = _OF_KEY, (*bindings, key, own, -after[1], size + 1)
        else:
            sql, bindings = _OFFERED_BY_KEY, (*bindings, *(decode_cursor(cursor, str, str) or ("", "")), size + 1)
        found = await self._database.read(scope.namespace, lambda reader: reader.rows(sql, *bindings))
        items = tuple(decode_procedure(scope.namespace, one) for one in found[:size])
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
        async def operation(tx: Transaction) -> Written[int]:
            if tx.known is not None:
                return Written(tx.known.reply, tx.known.seq, tx.durability, replayed=tx.replayed)
            found = await tx.row(_LOCK, namespace, procedure_id)
            if found is None:
                raise _no_procedure()
            pk, _, user_id, agent_id = found
            versions = await tx.execute("DELETE FROM memd.procedure_version WHERE procedure_pk = $1", pk)
            await tx.execute("DELETE FROM memd.procedure WHERE pk = $1", pk)
            tx.bury("procedure", Scope(namespace, user_id, agent_id), (procedure_id,), all_users=False)
            tx.delete("procedure", (procedure_id,))
            tx.audit(writer, "delete_procedure")
            seq = await tx.seal(versions)
            return Written(versions, seq, tx.durability)

        return await self._database.write(namespace, operation, store=STORE, request=request, exclusive=True)

    async def report(
        self, namespace: str, procedure_id: str, version: int, report: OutcomeReport, request: RequestKey | None
    ) -> Written[Procedure]:
        async def operation(tx: Transaction) -> Written[Procedure]:
            if tx.known is not None:
                at, won, lost, time = tx.known.reply
                stored = await find(tx, namespace, procedure_id, at)
                first = replace(stored, successes=won, failures=lost, last_outcome_time=time)
                return Written(first, tx.known.seq, tx.durability, replayed=tx.replayed)
            locked = await tx.row(_LOCK, namespace, procedure_id)
            if locked is None:
                raise _no_procedure()
            before = await find(tx, namespace, procedure_id, version)
            if not await outcomes.known(tx, locked[0], before, report):
                await outcomes.count(tx, locked[0], before, report)
            stored = await find(tx, namespace, procedure_id, before.version)
            reply = (stored.version, stored.successes, stored.failures, stored.last_outcome_time)
            seq = await tx.seal(reply)
            return Written(stored, seq, tx.durability)

        return await self._database.write(namespace, operation, store=STORE, request=request)

    async def outcomes(self, namespace: str, procedure_id: str, version: int, limit: int) -> Sequence[OutcomeReport]:
        return await self._database.read(
            namespace, lambda reader: outcomes.newest(reader, namespace, procedure_id, version, limit)
        )


async def _put(tx: Transaction, wanted: Procedure, vectors: bytes, expected: int | None) -> tuple[Procedure, bool]:
    """The stored version, and whether it is new."""
    scope = wanted.scope
    found = await tx.row(_LOCK, scope.namespace, wanted.procedure_id)
    if found is not None and (found[2], found[3]) != (scope.user_id, scope.agent_id):
        raise AlreadyExists("this procedure id is taken")
    newest = found[1] if found else 0
    if expected is not None and expected != newest:
        raise VersionConflict("the procedure has another version", current_version=newest)
    if found:
        current = await find(tx, scope.namespace, wanted.procedure_id, newest)
        if _body(current) == _body(wanted):
            return current, False
    version = newest + 1
    pk = await _write_newest(tx, wanted, found[0] if found else 0, version)
    await _write_version(tx, wanted, pk, version, vectors)
    return await find(tx, scope.namespace, wanted.procedure_id, version), True


async def _write_newest(tx: Transaction, wanted: Procedure, pk: int, version: int) -> int:
    if pk:
        await tx.execute(
            "UPDATE memd.procedure SET version = $2, offered = $2, offered_time = $3, demotion = '' WHERE pk = $1",
            pk,
            version,
            tx.now_us,
        )
        return pk
    scope = wanted.scope
    made = await tx.row(
        "INSERT INTO memd.procedure (namespace, procedure_id, user_id, agent_id, key, version, offered, offered_time)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING pk",
        scope.namespace,
        wanted.procedure_id,
        scope.user_id,
        scope.agent_id,
        wanted.key,
        version,
        tx.now_us,
    )
    assert made is not None
    return int(made[0])


async def _write_version(tx: Transaction, wanted: Procedure, pk: int, version: int, vectors: bytes) -> None:
    await tx.execute(
        "INSERT INTO memd.procedure_version (namespace, procedure_pk, version, trigger, content, metadata, successes,"
        " failures, create_time, vectors) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8)",
        tx.namespace,
        pk,
        version,
        stored_text(wanted.trigger),
        stored_text(wanted.content),
        metadata_json(wanted),
        tx.now_us,
        vectors,
    )
    if version > MAX_PROCEDURE_VERSIONS:
        await tx.execute(
            "DELETE FROM memd.procedure_version WHERE procedure_pk = $1 AND version <= $2",
            pk,
            version - MAX_PROCEDURE_VERSIONS,
        )


async def find(reader: Reader, namespace: str, procedure_id: str, version: int) -> Procedure:
    """``version`` 0 is the offered one. NotFound."""
    found = await reader.row(
        f"SELECT {COLUMNS} FROM {ALL_VERSIONS} WHERE p.namespace = $1 AND procedure_id = $2"
        " AND v.version = CASE WHEN $3 = 0 THEN p.offered::bigint ELSE $3::bigint END",
        namespace,
        procedure_id,
        version,
    )
    if found is None:
        raise _no_procedure()
    return decode_procedure(namespace, found)


def decode_procedure(namespace: str, row: Sequence[Any]) -> Procedure:
    """From COLUMNS."""
    procedure = decode(namespace, row)
    return replace(procedure, trigger=loaded_text(procedure.trigger), content=loaded_text(procedure.content))


def _body(procedure: Procedure) -> tuple[object, ...]:
    return procedure.trigger, procedure.content, dict(procedure.metadata)


def _no_procedure() -> NotFound:
    return NotFound("there is no such procedure")
