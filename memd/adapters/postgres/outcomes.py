"""Outcomes of a version: counted once, kept with their reasons for a while, and weighed by the rule of domain/learning.py.

The caller holds the lock of the procedure's row: outcomes of one key are weighed one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memd.adapters.postgres.text import loaded_text, stored_text
from memd.adapters.postgres.transaction import Reader, Row, Transaction
from memd.adapters.rows.procedure import decode_report, former_good, same_report, stored_demotion, won
from memd.domain.learning import Demotion, Tally, Watch, watch
from memd.domain.model import OutcomeReport, Procedure
from memd.limits import MAX_KEPT_OUTCOMES

_SHOWN = "outcome, outcome_id, reason, duration_us, create_time"


async def known(tx: Transaction, pk: int, one: Procedure, report: OutcomeReport) -> bool:
    """Whether a report of this ``outcome_id`` was counted; RequestIdReused when that one said something else."""
    if not report.outcome_id:
        return False
    found = await tx.row(
        f"SELECT version, {_SHOWN} FROM memd.procedure_outcome WHERE procedure_pk = $1 AND outcome_id = $2",
        pk,
        report.outcome_id,
    )
    return found is not None and same_report(found[0], _decode(found[1:]), one.version, report)


async def count(tx: Transaction, pk: int, one: Procedure, report: OutcomeReport) -> None:
    """``one``: the version as it was before."""
    success = won(report)
    await tx.execute(
        "UPDATE memd.procedure_version SET successes = successes + $3, failures = failures + $4, last_outcome_time = $5"
        " WHERE procedure_pk = $1 AND version = $2",
        pk,
        one.version,
        int(success),
        int(not success),
        tx.now_us,
    )
    await _keep(tx, pk, one, report)
    offered = one.offer.version
    if one.demotion is None:
        offered = await _weigh(tx, pk, one, success)
    tx.put("procedure", one.procedure_id, offered)


async def newest(
    reader: Reader, namespace: str, procedure_id: str, version: int, limit: int
) -> Sequence[OutcomeReport]:
    found = await reader.rows(
        f"SELECT {_SHOWN} FROM memd.procedure_outcome WHERE procedure_pk = (SELECT pk FROM memd.procedure"
        " WHERE namespace = $1 AND procedure_id = $2) AND version = $3 ORDER BY pk DESC LIMIT $4",
        namespace,
        procedure_id,
        version,
        limit,
    )
    return [_decode(one) for one in found]


def _decode(row: Row) -> OutcomeReport:
    report = decode_report(row)
    return replace(report, reason=loaded_text(report.reason))


async def _keep(tx: Transaction, pk: int, one: Procedure, report: OutcomeReport) -> None:
    await tx.execute(
        "INSERT INTO memd.procedure_outcome (namespace, procedure_pk, version, outcome_id, outcome, reason, duration_us,"
        " create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        one.scope.namespace,
        pk,
        one.version,
        report.outcome_id,
        report.outcome.value,
        stored_text(report.reason),
        report.duration_us,
        tx.now_us,
    )
    await tx.execute(
        "DELETE FROM memd.procedure_outcome WHERE procedure_pk = $1 AND pk <= (SELECT pk FROM memd.procedure_outcome"
        " WHERE procedure_pk = $1 ORDER BY pk DESC LIMIT 1 OFFSET $2)",
        pk,
        MAX_KEPT_OUTCOMES,
    )


async def _weigh(tx: Transaction, pk: int, one: Procedure, success: bool) -> int:
    """Which version is offered now."""
    found = await tx.row(
        "SELECT watch_total, before_successes, before_failures FROM memd.procedure_version"
        " WHERE procedure_pk = $1 AND version = $2",
        pk,
        one.version,
    )
    assert found is not None
    earlier = await tx.row(
        "SELECT version, successes, failures FROM memd.procedure_version WHERE procedure_pk = $1 AND version < $2"
        " AND demotion = '' ORDER BY version DESC LIMIT 1",
        pk,
        one.version,
    )
    record = Tally(one.successes, one.failures).plus(success)
    seen = Watch(found[0], Tally(found[1], found[2]))
    now, demotion = watch(seen, one.version, record, success, former_good(earlier), tx.now_us)
    await tx.execute(
        "UPDATE memd.procedure_version SET watch_total = $3, before_successes = $4, before_failures = $5, demotion = $6"
        " WHERE procedure_pk = $1 AND version = $2",
        pk,
        one.version,
        now.total,
        now.before.successes,
        now.before.failures,
        stored_demotion(demotion),
    )
    if demotion and one.version == one.offer.version:
        return await _switch(tx, pk, one, demotion)
    return one.offer.version


async def _switch(tx: Transaction, pk: int, one: Procedure, demotion: Demotion) -> int:
    """Offer the former version; where there is no good one, go on with this and say so."""
    offered = demotion.baseline_version or one.version
    await tx.execute(
        "UPDATE memd.procedure SET offered = $2, offered_time = $3, demotion = $4 WHERE pk = $1",
        pk,
        offered,
        tx.now_us if demotion.baseline_version else one.offer.since,
        stored_demotion(demotion),
    )
    return offered
