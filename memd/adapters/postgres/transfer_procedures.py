"""Procedures that move: read with all there is of them, and stored as they were."""

from __future__ import annotations

from dataclasses import replace

from memd.adapters.postgres.text import loaded_text, stored_text
from memd.adapters.postgres.transaction import Reader, Row, Transaction
from memd.adapters.rows.transfer import (
    OUTCOME,
    PROCEDURE,
    VERSION,
    decode_outcome,
    decode_procedure,
    decode_version,
    outcome_row,
    procedure_row,
    version_row,
)
from memd.domain.portable import TakenIn
from memd.domain.portable_procedures import PortableOutcome, PortableProcedure, PortableVersion

_SELECT = f"SELECT pk, {PROCEDURE} FROM memd.procedure WHERE namespace = $1"
ALL = f"{_SELECT} ORDER BY user_id, key, agent_id"
_VERSIONS = f"SELECT {VERSION} FROM memd.procedure_version WHERE procedure_pk = $1 ORDER BY version"
_OUTCOMES = f"SELECT {OUTCOME} FROM memd.procedure_outcome WHERE procedure_pk = $1 ORDER BY pk"


async def portable(reader: Reader, namespace: str, found: Row, window: int) -> PortableProcedure:
    """``found`` from ALL; ``window``: bytes of one embedding."""
    pk, *procedure = found
    versions = [_loaded_version(decode_version(one, window)) for one in await reader.rows(_VERSIONS, pk)]
    outcomes = [_loaded_outcome(decode_outcome(one)) for one in await reader.rows(_OUTCOMES, pk)]
    return decode_procedure(namespace, procedure, versions, outcomes)


async def take_in(tx: Transaction, one: PortableProcedure) -> TakenIn:
    found = await tx.row(f"{_SELECT} AND procedure_id = $2 FOR UPDATE", tx.namespace, one.procedure_id)
    if found is not None:
        same = await portable(tx, tx.namespace, found, 0) == one
        return TakenIn(skipped=1) if same else TakenIn(conflicts=1)
    made = await tx.row(
        _insert("procedure", "namespace", PROCEDURE) + " RETURNING pk", tx.namespace, *procedure_row(one)
    )
    assert made is not None
    owner = (tx.namespace, made[0])
    await tx.execute_many(
        _insert("procedure_version", "namespace, procedure_pk", VERSION),
        [(*owner, *version_row(_stored_version(each))) for each in one.versions],
    )
    await tx.execute_many(
        _insert("procedure_outcome", "namespace, procedure_pk", OUTCOME),
        [(*owner, *outcome_row(_stored_outcome(each))) for each in one.outcomes],
    )
    tx.put("procedure", one.procedure_id, one.offer.version)
    return TakenIn(imported=1)


def _insert(table: str, owner: str, columns: str) -> str:
    names = f"{owner}, {columns}"
    values = ", ".join(f"${n}" for n in range(1, names.count(",") + 2))
    return f"INSERT INTO memd.{table} ({names}) VALUES ({values})"


def _stored_version(one: PortableVersion) -> PortableVersion:
    return replace(one, trigger=stored_text(one.trigger), content=stored_text(one.content))


def _loaded_version(one: PortableVersion) -> PortableVersion:
    return replace(one, trigger=loaded_text(one.trigger), content=loaded_text(one.content))


def _stored_outcome(one: PortableOutcome) -> PortableOutcome:
    return replace(one, report=replace(one.report, reason=stored_text(one.report.reason)))


def _loaded_outcome(one: PortableOutcome) -> PortableOutcome:
    return replace(one, report=replace(one.report, reason=loaded_text(one.report.reason)))
