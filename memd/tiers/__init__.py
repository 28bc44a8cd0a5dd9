"""What each tier contributes to a Recall: one policy a file."""

from __future__ import annotations

from collections.abc import Mapping

from memd.domain.model import TierName
from memd.domain.settings import TierSettings
from memd.ports import Embedder, MemoryStore, NamespaceIndex, ProcedureStore, SessionStore, Tier, TokenCounter
from memd.tiers.episodic import EpisodicTier
from memd.tiers.procedural import ProceduralTier
from memd.tiers.semantic import SemanticTier
from memd.tiers.shared import QueryOnce, RecentOnce
from memd.tiers.working import WorkingTier


def build_tiers(
    settings: Mapping[TierName, TierSettings],
    *,
    sessions: SessionStore,
    memories: MemoryStore,
    procedures: ProcedureStore,
    index: NamespaceIndex,
    embedder: Embedder,
    counter: TokenCounter,
) -> tuple[Tier, ...]:
    """The four tiers over their stores; what two of them need of one Recall is done once."""
    recent, query = RecentOnce(sessions), QueryOnce(embedder)
    return (
        WorkingTier(recent, settings[TierName.WORKING]),
        EpisodicTier(recent, settings[TierName.EPISODIC], counter),
        SemanticTier(query, index, memories, settings[TierName.SEMANTIC], counter),
        ProceduralTier(query, index, procedures, settings[TierName.PROCEDURAL], counter),
    )
