"""Procedures in an export: each with its versions, their records and running tests, and the reports that are kept.

    {"procedure": {...}, "versions": n, "outcomes": n}   every one, each followed by
    {"version": {...}, "embeddings": [...]}              its n versions, oldest first, then by
    {"outcome": {...}}                                   its n reports, oldest first

An id is not in it: it is made of namespace, owner and key, so it is another one in another namespace.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from memd.domain.errors import InvalidArgument
from memd.domain.ids import procedure_id
from memd.domain.learning import Demotion, Tally, Watch
from memd.domain.model import Metadata, Offer, Outcome, OutcomeReport, Scope
from memd.domain.portable_values import (
    Check,
    checked,
    fitting,
    identifier,
    list_of,
    metadata,
    number,
    optional,
    ratio,
    time,
    vector,
    version,
    whole,
)
from memd.limits import (
    MAX_CONTENT_BYTES,
    MAX_ID_BYTES,
    MAX_KEPT_OUTCOMES,
    MAX_PROCEDURE_VERSIONS,
    MAX_QUERY_BYTES,
    MAX_REASON_BYTES,
    MAX_TTL_US,
    MAX_VERSION,
    MAX_WINDOWS,
)

Embeddings = tuple[bytes, ...]
"""One a window: float32, little-endian."""


@dataclass(frozen=True, slots=True)
class PortableVersion:
    """``test``: how the test of its record stands."""

    version: int
    trigger: str
    content: str
    metadata: Metadata
    record: Tally
    create_time: int
    last_outcome_time: int | None
    test: Watch
    demotion: Demotion | None
    embeddings: Embeddings = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class PortableOutcome:
    """``version``: of what was used; it may be older than the oldest version that is kept."""

    version: int
    report: OutcomeReport


@dataclass(frozen=True, slots=True)
class PortableProcedure:
    """A key with all there is of it, oldest first. Two are equal whatever their embeddings."""

    procedure_id: str
    scope: Scope
    key: str
    offer: Offer
    versions: tuple[PortableVersion, ...] = ()
    outcomes: tuple[PortableOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcedureLine:
    """``versions`` and ``outcomes``: how many lines of them follow ``procedure``, which has none yet."""

    procedure: PortableProcedure
    versions: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class VersionLine:
    version: PortableVersion


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    outcome: PortableOutcome


# -- out


def procedure_lines(one: PortableProcedure) -> Iterator[Mapping[str, Any]]:
    owner = {"user_id": one.scope.user_id, "agent_id": one.scope.agent_id, "key": one.key}
    offer = {
        "offered": one.offer.version,
        "newest": one.offer.newest,
        "since": one.offer.since,
        "demotion": _plain_demotion(one.offer.demotion),
    }
    yield {"procedure": {**owner, **offer}, "versions": len(one.versions), "outcomes": len(one.outcomes)}
    for each in one.versions:
        embeddings = [base64.b64encode(window).decode() for window in each.embeddings]
        yield {"version": _plain_version(each), "embeddings": embeddings}
    for outcome in one.outcomes:
        report = outcome.report
        yield {"outcome": {"version": outcome.version, **asdict(report), "outcome": report.outcome.value}}


def _plain_version(one: PortableVersion) -> dict[str, Any]:
    return {
        "version": one.version,
        "trigger": one.trigger,
        "content": one.content,
        "metadata": one.metadata,
        "record": asdict(one.record),
        "create_time": one.create_time,
        "last_outcome_time": one.last_outcome_time,
        "test": asdict(one.test),
        "demotion": _plain_demotion(one.demotion),
    }


def _plain_demotion(demotion: Demotion | None) -> dict[str, Any] | None:
    return asdict(demotion) if demotion else None


# -- in


def parse_procedure(value: Mapping[str, Any], namespace: str) -> ProcedureLine:
    found = checked(value["procedure"], "procedure", _PROCEDURE)
    scope = Scope(namespace, found["user_id"], found["agent_id"])
    offer = Offer(found["offered"], found["newest"], found["since"], found["demotion"])
    procedure = PortableProcedure(procedure_id(scope, found["key"]), scope, found["key"], offer)
    versions = whole(value.get("versions"), "versions", 1, MAX_PROCEDURE_VERSIONS)
    return ProcedureLine(procedure, versions, whole(value.get("outcomes"), "outcomes", 0, MAX_KEPT_OUTCOMES))


def parse_version(value: Mapping[str, Any], _namespace: str) -> VersionLine:
    found = checked(value["version"], "version", _VERSION)
    return VersionLine(PortableVersion(**found, embeddings=_EMBEDDINGS(value.get("embeddings"), "embeddings")))


def parse_outcome(value: Mapping[str, Any], _namespace: str) -> OutcomeLine:
    found = checked(value["outcome"], "outcome", _OUTCOME)
    return OutcomeLine(PortableOutcome(found.pop("version"), OutcomeReport(**found)))


def check_whole(one: PortableProcedure) -> None:
    """What no line alone can tell. InvalidArgument."""
    numbers = [each.version for each in one.versions]
    if numbers != sorted(set(numbers)) or numbers[-1] != one.offer.newest or one.offer.version not in numbers:
        raise InvalidArgument("versions must come oldest first, with the newest and the offered one among them")
    names = [each.report.outcome_id for each in one.outcomes if each.report.outcome_id]
    if len(set(names)) != len(names):
        raise InvalidArgument("one outcome_id stands twice in the outcomes of a procedure")
    if any(each.version > one.offer.newest for each in one.outcomes):
        raise InvalidArgument("an outcome of a version that never was")


def _count(value: Any, path: str) -> int:
    return whole(value, path, 0, MAX_VERSION)


def _tally(value: Any, path: str) -> Tally:
    return Tally(**checked(value, path, {"successes": _count, "failures": _count}))


def _total(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise InvalidArgument(f"{path} must be a finite number from 0")
    return float(value)


def _test(value: Any, path: str) -> Watch:
    return Watch(**checked(value, path, {"total": _total, "before": _tally}))


def _demotion(value: Any, path: str) -> Demotion:
    return Demotion(**checked(value, path, _DEMOTION))


def _outcome(value: Any, path: str) -> Outcome:
    if value not in (Outcome.SUCCESS.value, Outcome.FAILURE.value):
        raise InvalidArgument(f"{path} must be success or failure")
    return Outcome(value)


def _duration(value: Any, path: str) -> int:
    return whole(value, path, 0, MAX_TTL_US)


_EMBEDDINGS = list_of(vector, MAX_WINDOWS)
_DEMOTION: Mapping[str, Check] = {
    "version": version,
    "baseline_version": _count,
    "baseline": _tally,
    "expected_rate": ratio,
    "since": _tally,
    "time": time,
}
_PROCEDURE: Mapping[str, Check] = {
    "user_id": identifier,
    "agent_id": identifier,
    "key": fitting(MAX_ID_BYTES, least=1),
    "offered": version,
    "newest": version,
    "since": number,
    "demotion": optional(_demotion),
}
_VERSION: Mapping[str, Check] = {
    "version": version,
    "trigger": fitting(MAX_QUERY_BYTES, lines=True),
    "content": fitting(MAX_CONTENT_BYTES, least=1, lines=True),
    "metadata": metadata,
    "record": _tally,
    "create_time": time,
    "last_outcome_time": optional(time),
    "test": _test,
    "demotion": optional(_demotion),
}
_OUTCOME: Mapping[str, Check] = {
    "version": version,
    "outcome_id": identifier,
    "outcome": _outcome,
    "reason": fitting(MAX_REASON_BYTES, lines=True),
    "duration_us": optional(_duration),
    "time": time,
}
