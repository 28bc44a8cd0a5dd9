"""Procedures with the record of their outcomes."""

from __future__ import annotations

from memd_client._proto.v1 import procedure_service_pb2 as ps

from memd.domain.model import Procedure
from memd.domain.record import success_lower_bound
from memd.rpc.convert_common import optional_timestamp, scope_message, struct, timestamp


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
    )
