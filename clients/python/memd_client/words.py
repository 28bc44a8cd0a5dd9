"""The contract's enums, each tied to its Python one."""

from __future__ import annotations

from memd_client import enums
from memd_client._proto.v1 import checkpoint_service_pb2, common_pb2, memory_service_pb2, procedure_service_pb2
from memd_client.wire import Words

TIER = Words(enums.Tier, common_pb2.Tier.items(), "TIER")
TIER_STATE = Words(enums.TierState, memory_service_pb2.TierStatus.State.items(), "STATE")
EVENT_KIND = Words(enums.EventKind, common_pb2.EventKind.items(), "EVENT_KIND")
OUTCOME = Words(enums.Outcome, common_pb2.Outcome.items(), "OUTCOME")
SOURCE_KIND = Words(enums.SourceKind, common_pb2.SourceKind.items(), "SOURCE_KIND")
DURABILITY = Words(enums.Durability, common_pb2.Durability.items(), "DURABILITY")
OVERFLOW = Words(enums.Overflow, memory_service_pb2.ObserveRequest.Overflow.items(), "OVERFLOW")
STEP_STATE = Words(enums.StepState, checkpoint_service_pb2.StepState.items(), "STEP_STATE")
OFFER_REASON = Words(enums.OfferReason, procedure_service_pb2.OfferReason.items(), "OFFER_REASON")
