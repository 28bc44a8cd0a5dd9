"""Outcomes of a version: counted once, kept with their reasons for a while, and weighed by the rule of domain/learning.py."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from memd.adapters.rows.procedure import (
    decode_report,
    former_good,
    procedure_index_row,
    same_report,
    stored_demotion,
    won,
)
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.learning import Demotion, Tally, Watch, watch
from memd.domain.model import OutcomeReport, Procedure
from memd.limits import MAX_KEPT_OUTCOMES

_PK = "(SELECT pk FROM procedure WHERE namespace = ? AND procedure_id = ?)"
_SHOWN = "outcome, outcome_id, reason, duration_us, create_time"


def known(tx: Transaction, one: Procedure, report: OutcomeReport) -> bool:
    """Whether a report of this ``outcome_id`` was counted; RequestIdReused when that one said something else."""
    if not report.outcome_id:
        return False
    found = tx.row(
        f"SELECT version, {_SHOWN} FROM procedure_outcome WHERE procedure_pk = {_PK} AND outcome_id = ?",
        (one.scope.namespace, one.procedure_id, report.outcome_id),
    )
    return found is not None and same_report(found[0], decode_report(found[1:]), one.version, report)


def count(tx: Transaction, one: Procedure, report: OutcomeReport) -> None:
    """``one``: the version as it was before. NotFound is the caller's to have ruled out."""
    success = won(report)
    name = (one.scope.namespace, one.procedure_id)
    tx.execute(
        "UPDATE procedure_version SET successes = successes + ?, failures = failures + ?, last_outcome_time = ?"
        f" WHERE version = ? AND procedure_pk = {_PK}",
        (int(success), int(not success), tx.now_us, one.version, *name),
    )
    _keep(tx, one, report)
    if one.demotion is None:
        _weigh(tx, one, success)


def newest(
    reader: apsw.Connection, namespace: str, procedure_id: str, version: int, limit: int
) -> Sequence[OutcomeReport]:
    found = rows(
        reader,
        f"SELECT {_SHOWN} FROM procedure_outcome WHERE procedure_pk = {_PK} AND version = ? ORDER BY pk DESC LIMIT ?",
        (namespace, procedure_id, version, limit),
    )
    return [decode_report(one) for one in found]


def _keep(tx: Transaction, one: Procedure, report: OutcomeReport) -> None:
    name = (one.scope.namespace, one.procedure_id)
    tx.execute(
        "INSERT INTO procedure_outcome (procedure_pk, version, outcome_id, outcome, reason, duration_us, create_time)"
        f" SELECT {_PK}, ?, ?, ?, ?, ?, ?",
        (
            *name,
            one.version,
            report.outcome_id,
            report.outcome.value,
            report.reason,
            report.duration_us,
            tx.now_us,
        ),
    )
    dropped = tx.execute(
        f"DELETE FROM procedure_outcome WHERE procedure_pk = {_PK} AND pk <= (SELECT pk FROM procedure_outcome"
        f" WHERE procedure_pk = {_PK} ORDER BY pk DESC LIMIT 1 OFFSET ?)",
        (*name, *name, MAX_KEPT_OUTCOMES),
    )
    tx.erases_later = tx.erases_later or dropped > 0


def _weigh(tx: Transaction, one: Procedure, success: bool) -> None:
    name = (one.scope.namespace, one.procedure_id)
    found = tx.row(
        "SELECT watch_total, before_successes, before_failures FROM procedure_version"
        f" WHERE version = ? AND procedure_pk = {_PK}",
        (one.version, *name),
    )
    assert found is not None
    former = former_good(
        tx.row(
            f"SELECT version, successes, failures FROM procedure_version WHERE procedure_pk = {_PK} AND version < ?"
            " AND demotion = '' ORDER BY version DESC LIMIT 1",
            (*name, one.version),
        )
    )
    record = Tally(one.successes, one.failures).plus(success)
    seen = Watch(found[0], Tally(found[1], found[2]))
    now, demotion = watch(seen, one.version, record, success, former, tx.now_us)
    tx.execute(
        "UPDATE procedure_version SET watch_total = ?, before_successes = ?, before_failures = ?, demotion = ?"
        f" WHERE version = ? AND procedure_pk = {_PK}",
        (now.total, now.before.successes, now.before.failures, stored_demotion(demotion), one.version, *name),
    )
    if demotion and one.version == one.offer.version:
        _switch(tx, one, demotion)


def _switch(tx: Transaction, one: Procedure, demotion: Demotion) -> None:
    """Offer the former version; where there is no good one, go on with this and say so."""
    name = (one.scope.namespace, one.procedure_id)
    if not demotion.baseline_version:
        tx.execute(
            "UPDATE procedure SET demotion = ? WHERE namespace = ? AND procedure_id = ?",
            (stored_demotion(demotion), *name),
        )
        return
    tx.execute(
        "UPDATE procedure SET offered = ?, offered_time = ?, demotion = ? WHERE namespace = ? AND procedure_id = ?",
        (demotion.baseline_version, tx.now_us, stored_demotion(demotion), *name),
    )
    found = row(
        tx.connection,
        f"SELECT trigger, vectors FROM procedure_version WHERE procedure_pk = {_PK} AND version = ?",
        (*name, demotion.baseline_version),
    )
    assert found is not None
    trigger, vectors = found
    entry = procedure_index_row(
        one.procedure_id, demotion.baseline_version, one.key, trigger, vectors, one.scope.user_id, one.scope.agent_id
    )
    tx.put(one.scope.namespace, "procedure", entry)
