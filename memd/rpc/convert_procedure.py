"""Procedures with the record of their outcomes."""

from __future__ import annotations

from memd_client._proto.v1 import procedure_service_pb2 as ps

from memd.domain.learning import Demotion
from memd.domain.model import OutcomeReport, Procedure
from memd.domain.record import success_lower_bound
from memd.rpc.convert_common import TO_OUTCOME, duration, optional_timestamp, scope_message, struct, timestamp


def procedure(value: Procedure, relevance: float = 0.0) -> ps.Procedure:
    """``relevance`` is the cosine with a query, in Recall only."""
    return ps.Procedure(
        key=value.key,
        version=value.version,
        trigger=value.trigger,
        content=value.content,
        metadata=struct(value.metadata),
        scope=scope_message(value.scope),
        successes=value.successes,
        failures=value.failures,
        success_lower_bound=success_lower_bound(value.successes, value.failures),
        create_time=timestamp(value.create_time),
        last_outcome_time=optional_timestamp(value.last_outcome_time),
        relevance=relevance,
        offer=_offer(value),
        demotion=_demotion(value.demotion),
    )


def outcome_report(value: OutcomeReport) -> ps.OutcomeReport:
    return ps.OutcomeReport(
        outcome=TO_OUTCOME[value.outcome],
        outcome_id=value.outcome_id,
        reason=value.reason,
        duration=None if value.duration_us is None else duration(value.duration_us),
        report_time=timestamp(value.time),
    )


def _offer(value: Procedure) -> ps.Offer:
    offer = value.offer
    reason = ps.OFFER_REASON_NEWEST
    if offer.demotion:
        same = offer.demotion.version == offer.version
        reason = ps.OFFER_REASON_NO_BETTER if same else ps.OFFER_REASON_FORMER
    return ps.Offer(
        version=offer.version,
        newest_version=offer.newest,
        reason=reason,
        since=timestamp(offer.since),
        demotion=_demotion(offer.demotion),
    )


def _demotion(value: Demotion | None) -> ps.Demotion | None:
    if value is None:
        return None
    return ps.Demotion(
        version=value.version,
        baseline_version=value.baseline_version,
        baseline_successes=value.baseline.successes,
        baseline_failures=value.baseline.failures,
        expected_rate=value.expected_rate,
        successes=value.since.successes,
        failures=value.since.failures,
        demote_time=timestamp(value.time),
    )
