"""The retention job: what the policies of namespaces let go of goes, a few at a time, each namespace in its turn.

Nothing is remembered between runs but where to go on, and each commit takes only what is still as it was found: killed
anywhere, run twice or by two daemons at once, it comes to the same.
"""

from __future__ import annotations

from dataclasses import replace

from memd.domain.errors import ConfirmationNeeded
from memd.domain.retention import RetentionPolicy, Surplus, asks_too_much
from memd.limits import (
    MAX_NAMESPACES_LOADED,
    RETENTION_LEASE_US,
    RETENTION_NAMESPACES,
    RETENTION_ROUNDS,
    RETENTION_ROWS,
)
from memd.ports import Leases, Retained, Retention, SettingsStore
from memd.service.jobs import Ran

JOB = "retention"
WRITER = "memd"
_EVERYWHERE = ""
"""Namespace of the lease: one daemon does all of them."""


async def check_surplus(
    retention: Retention, counts: SettingsStore, namespace: str, policy: RetentionPolicy, advice: str
) -> None:
    """Refuse with ConfirmationNeeded, which says how many of how many would go and gives the advice, a policy that takes more
    than half of the memories there are."""
    surplus = (await retention.surplus(namespace, policy, 0)).count
    memories = (await counts.counts(namespace))["memories"]
    if asks_too_much(surplus, memories):
        raise ConfirmationNeeded(
            f"this retention policy would delete {surplus:,} of {memories:,} memories: {advice}; a dry run of the job"
            " retention names them",
            metadata={"would_delete": str(surplus), "memories": str(memories)},
        )


class RetentionService:
    def __init__(self, retention: Retention, leases: Leases, holder: str) -> None:
        self._retention = retention
        self._leases = leases
        self._holder = holder
        self._after = ""
        self._settled: dict[str, int] = {}
        """Change number at which a namespace had not too many: they are counted again when it has another."""

    async def run_once(self) -> Ran:
        """At most RETENTION_ROUNDS pages of namespaces, of each at most RETENTION_ROWS memories; ends early when all of them
        had their turn and nothing was left. ``examined`` counts what was too much, ``changed`` what went."""
        gone, waiting = 0, dict[str, int]()
        for _ in range(RETENTION_ROUNDS):
            page = await self._retention.policies(self._after, RETENTION_NAMESPACES)
            if page and not await self._held():
                break
            for one in page:
                self._after = one.namespace  # those behind it come first, should this one fail
                found, went = await self._take(one)
                gone += went
                waiting[one.namespace] = found - went
            if len(page) < RETENTION_NAMESPACES:
                self._after = ""
                if not any(waiting.values()):
                    break
        return Ran(gone + sum(waiting.values()), gone)

    async def due(self, namespace: str, policy: RetentionPolicy, limit: int) -> Ran:
        """What a run would take of the namespace under ``policy``: how many, and the first ``limit`` of them."""
        surplus = await self._retention.surplus(namespace, policy, limit)
        return Ran(surplus.count, 0, tuple(one.memory_id for one in surplus.oldest))

    async def _held(self) -> bool:
        return await self._leases.claim(_EVERYWHERE, JOB, self._holder, RETENTION_LEASE_US) is not None

    async def _take(self, one: Retained) -> tuple[int, int]:
        surplus = await self._surplus(one)
        if not surplus.oldest:
            return 0, 0
        return surplus.count, await self._retention.retire(one.namespace, surplus.oldest, writer=WRITER)

    async def _surplus(self, one: Retained) -> Surplus:
        policy = one.policy
        if self._settled.get(one.namespace) == one.seq:
            policy = replace(policy, max_count=None)
        if not policy.bounds:
            return Surplus()
        surplus = await self._retention.surplus(one.namespace, policy, RETENTION_ROWS)
        if not surplus.count:
            self._settle(one)
        return surplus

    def _settle(self, one: Retained) -> None:
        if len(self._settled) >= MAX_NAMESPACES_LOADED:
            self._settled.clear()
        self._settled[one.namespace] = one.seq
