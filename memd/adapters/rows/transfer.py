"""What moves between stores, as rows: what both stores of an export and an import have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memd.adapters.rows.compact import encode
from memd.adapters.rows.procedure import decode_report, loaded_demotion, procedure_index_row, stored_demotion
from memd.domain.learning import Tally, Watch
from memd.domain.model import Offer, Scope
from memd.domain.portable_procedures import PortableOutcome, PortableProcedure, PortableVersion
from memd.ports import IndexRow

STONE = "entry_id, user_id, agent_id, session_id, all_users"
PROCEDURE = "procedure_id, user_id, agent_id, key, offered, version, offered_time, demotion"
VERSION = (
    "version, trigger, content, metadata, successes, failures, create_time, last_outcome_time, watch_total,"
    " before_successes, before_failures, demotion, vectors"
)
OUTCOME = "version, outcome, outcome_id, reason, duration_us, create_time"
"""Columns of the tables of these names, in both stores."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Tombstones that may be about what is taken in: by entry, and of whole scopes."""

    ids: Mapping[str, Sequence[Sequence[Any]]]
    scopes: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, stones: Iterable[Sequence[Any]]) -> Forgotten:
        """From STONE."""
        by_id: dict[str, list[Sequence[Any]]] = {}
        for stone in stones:
            by_id.setdefault(stone[0], []).append(stone)
        return cls(by_id, by_id.get("", ()))

    def has(self, entry_id: str, scope: Scope) -> bool:
        return any(
            everybody or user_id == scope.user_id for _, user_id, _, _, everybody in self.ids.get(entry_id, ())
        ) or any(
            everybody
            or (user_id == scope.user_id and agent_id in ("", scope.agent_id) and session_id in ("", scope.session_id))
            for _, user_id, agent_id, session_id, everybody in self.scopes
        )


def windows(vectors: bytes, size: int) -> tuple[bytes, ...]:
    """Embeddings that lie end to end, ``size`` bytes each; 0: there is one."""
    return tuple(vectors[at : at + size] for at in range(0, len(vectors), size)) if size else (vectors,)


def decode_procedure(
    namespace: str, row: Sequence[Any], versions: Iterable[PortableVersion], outcomes: Iterable[PortableOutcome]
) -> PortableProcedure:
    """``row`` from PROCEDURE."""
    procedure_id, user_id, agent_id, key, offered, newest, since, why = row
    offer = Offer(offered, newest, since, loaded_demotion(why))
    return PortableProcedure(
        procedure_id, Scope(namespace, user_id, agent_id), key, offer, tuple(versions), tuple(outcomes)
    )


def decode_version(row: Sequence[Any], window: int) -> PortableVersion:
    """From VERSION."""
    version, trigger, content, metadata, won, lost, created, last, total, before_won, before_lost, why, vectors = row
    return PortableVersion(
        version,
        trigger,
        content,
        json.loads(metadata),
        Tally(won, lost),
        created,
        last,
        Watch(total, Tally(before_won, before_lost)),
        loaded_demotion(why),
        windows(bytes(vectors), window),
    )


def decode_outcome(row: Sequence[Any]) -> PortableOutcome:
    """From OUTCOME."""
    return PortableOutcome(row[0], decode_report(row[1:]))


def procedure_row(one: PortableProcedure) -> tuple[Any, ...]:
    """For PROCEDURE."""
    offer, scope = one.offer, one.scope
    owner = (one.procedure_id, scope.user_id, scope.agent_id, one.key)
    return (*owner, offer.version, offer.newest, offer.since, stored_demotion(offer.demotion))


def version_row(one: PortableVersion) -> tuple[Any, ...]:
    """For VERSION."""
    test = one.test
    return (
        one.version,
        one.trigger,
        one.content,
        encode(dict(one.metadata)),
        one.record.successes,
        one.record.failures,
        one.create_time,
        one.last_outcome_time,
        test.total,
        test.before.successes,
        test.before.failures,
        stored_demotion(one.demotion),
        b"".join(one.embeddings),
    )


def outcome_row(one: PortableOutcome) -> tuple[Any, ...]:
    """For OUTCOME."""
    report = one.report
    return one.version, report.outcome.value, report.outcome_id, report.reason, report.duration_us, report.time


def index_row(one: PortableProcedure) -> IndexRow:
    """Of the version that is offered."""
    offered = next(each for each in one.versions if each.version == one.offer.version)
    vectors, scope = b"".join(offered.embeddings), one.scope
    return procedure_index_row(
        one.procedure_id, offered.version, one.key, offered.trigger, vectors, scope.user_id, scope.agent_id
    )
