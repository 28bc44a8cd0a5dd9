"""Procedures that move: read with all there is of them, and stored as they were."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from memd.adapters.rows.transfer import (
    OUTCOME,
    PROCEDURE,
    VERSION,
    decode_outcome,
    decode_procedure,
    decode_version,
    index_row,
    outcome_row,
    procedure_row,
    version_row,
)
from memd.adapters.sqlite.connection import Row, rows
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.portable import TakenIn
from memd.domain.portable_procedures import PortableProcedure

_SELECT = f"SELECT pk, {PROCEDURE} FROM procedure WHERE namespace = ?"
_ALL = f"{_SELECT} ORDER BY user_id, key, agent_id"
_VERSIONS = f"SELECT {VERSION} FROM procedure_version WHERE procedure_pk = ? ORDER BY version"
_OUTCOMES = f"SELECT {OUTCOME} FROM procedure_outcome WHERE procedure_pk = ? ORDER BY pk"


def stored(connection: apsw.Connection, namespace: str, window: int) -> Iterator[PortableProcedure]:
    """All of a namespace, as they are asked for. ``window``: bytes of one embedding."""
    for found in connection.execute(_ALL, (namespace,)):
        yield _decode(connection, namespace, found, window)


def _decode(connection: apsw.Connection, namespace: str, found: Row, window: int) -> PortableProcedure:
    pk, *procedure = found
    versions = (decode_version(one, window) for one in rows(connection, _VERSIONS, (pk,)))
    outcomes = (decode_outcome(one) for one in rows(connection, _OUTCOMES, (pk,)))
    return decode_procedure(namespace, procedure, versions, outcomes)


def take_in(tx: Transaction, one: PortableProcedure) -> TakenIn:
    namespace = one.scope.namespace
    found = tx.row(f"{_SELECT} AND procedure_id = ?", (namespace, one.procedure_id))
    if found is not None:
        same = _decode(tx.connection, namespace, found, 0) == one
        return TakenIn(skipped=1) if same else TakenIn(conflicts=1)
    tx.insert_many(f"INSERT INTO procedure (namespace, {PROCEDURE})", [(namespace, *procedure_row(one))])
    pk = tx.connection.last_insert_rowid()
    versions = [(pk, *version_row(each)) for each in one.versions]
    tx.insert_many(f"INSERT INTO procedure_version (procedure_pk, {VERSION})", versions)
    outcomes = [(pk, *outcome_row(each)) for each in one.outcomes]
    tx.insert_many(f"INSERT INTO procedure_outcome (procedure_pk, {OUTCOME})", outcomes)
    tx.put(namespace, "procedure", index_row(one))
    return TakenIn(imported=1)
