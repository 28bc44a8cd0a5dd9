"""A tier that answers from a local copy of what is true elsewhere: how current the copy is, it says."""

from __future__ import annotations

from dataclasses import replace

from memd.domain.model import TierName
from memd.limits import REPLICA_WAIT_S
from memd.ports import Replica, Tier, TierAnswer, TierAsk


class ReplicatedTier:
    """``tier``'s answer, after the wait that ``min_seq`` or a first use of the namespace demands. DEGRADED with the
    staleness where the copy is behind; ReplicaStale, the tier's own failure, where it is too old."""

    def __init__(self, tier: Tier, replica: Replica) -> None:
        self._tier = tier
        self._replica = replica

    @property
    def name(self) -> TierName:
        return self._tier.name

    async def recall(self, ask: TierAsk) -> TierAnswer:
        wait_s = ask.patience_s if ask.min_seq else min(ask.patience_s, REPLICA_WAIT_S)
        fresh = await self._replica.follow(ask.scope.namespace, ask.min_seq, wait_s)
        answer = await self._tier.recall(ask)
        if not fresh.reason:
            return answer
        return replace(answer, state="DEGRADED", reason=answer.reason or fresh.reason, staleness_us=fresh.staleness_us)
