"""Procedures as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain.errors import InvalidArgument, RequestIdReused
from memd.domain.learning import Demotion, Tally
from memd.domain.model import Offer, Outcome, OutcomeReport, Procedure, Scope
from memd.ports import IndexRow

COLUMNS = (
    "procedure_id, user_id, agent_id, key, v.version, trigger, content, metadata, successes, failures, create_time,"
    " last_outcome_time, v.demotion, p.offered, p.version, p.offered_time, p.demotion"
)
"""A demotion is ``""`` or its JSON; that of the procedure belongs to its offer."""
ALL_VERSIONS = "procedure p JOIN procedure_version v ON v.procedure_pk = p.pk"
OFFERED = f"{ALL_VERSIONS} AND v.version = p.offered"


def decode(namespace: str, row: Sequence[Any]) -> Procedure:
    """From COLUMNS."""
    procedure_id, user_id, agent_id, key, version, trigger, content, metadata, *record = row
    won, lost, created, last, demotion, offered, newest, since, why = record
    return Procedure(
        procedure_id,
        Scope(namespace, user_id, agent_id),
        key,
        version,
        trigger,
        content,
        json.loads(metadata),
        won,
        lost,
        created,
        last,
        loaded_demotion(demotion),
        Offer(offered, newest, since, loaded_demotion(why)),
    )


def stored_demotion(demotion: Demotion | None) -> str:
    return encode(asdict(demotion)) if demotion else ""


def loaded_demotion(stored: str) -> Demotion | None:
    """What ``stored_demotion`` was given."""
    if not stored:
        return None
    found = json.loads(stored)
    return Demotion(**{**found, "baseline": Tally(**found["baseline"]), "since": Tally(**found["since"])})


def metadata_json(procedure: Procedure) -> str:
    return encode(dict(procedure.metadata))


def procedure_index_row(
    procedure_id: str, version: int, key: str, trigger: str, vectors: bytes, user_id: str, agent_id: str
) -> IndexRow:
    fields = {name: value for name, value in (("user_id", user_id), ("agent_id", agent_id)) if value}
    return IndexRow(procedure_id, version, f"{key} {trigger}".rstrip(), vectors, encode(fields).encode())


def former_good(row: Sequence[Any] | None) -> tuple[int, Tally] | None:
    """From version, successes and failures."""
    return (row[0], Tally(row[1], row[2])) if row else None


def won(report: OutcomeReport) -> bool:
    """InvalidArgument for what is neither a success nor a failure."""
    if report.outcome is Outcome.NONE:
        raise InvalidArgument("the outcome must be success or failure", field="outcome")
    return report.outcome is Outcome.SUCCESS


def decode_report(row: Sequence[Any]) -> OutcomeReport:
    """From outcome, outcome_id, reason, duration_us and create_time."""
    outcome, outcome_id, reason, duration_us, time = row
    return OutcomeReport(Outcome(outcome), outcome_id, reason, duration_us, time)


def same_report(stored_version: int, stored: OutcomeReport, version: int, report: OutcomeReport) -> bool:
    """True; RequestIdReused when the stored report of this ``outcome_id`` has another version or outcome."""
    if (stored_version, stored.outcome) != (version, report.outcome):
        raise RequestIdReused("this outcome_id was reported with another version or outcome", field="outcome_id")
    return True
