"""The step ledger: what a task's steps did, so that none of their side effects is silently run twice."""

from __future__ import annotations

from dataclasses import replace

from memd.domain.model import Page, RequestKey, Written
from memd.domain.steps import Step, StepIntent, derived_key
from memd.limits import DEFAULT_LEASE_US
from memd.ports import StepLedger


class StepService:
    def __init__(self, ledger: StepLedger, ttl_us: int) -> None:
        self._ledger = ledger
        self._ttl_us = ttl_us

    async def begin(self, namespace: str, intent: StepIntent, request: RequestKey | None = None) -> Written[Step]:
        """An intent without a key gets one that is derived from task and step, one without a lease the default."""
        complete = replace(
            intent,
            idempotency_key=intent.idempotency_key or derived_key(intent.task_id, intent.step_id),
            lease_us=intent.lease_us or DEFAULT_LEASE_US,
        )
        return await self._ledger.begin(namespace, complete, ttl_us=self._ttl_us, request=request)

    async def renew(
        self, namespace: str, task_id: str, step_id: str, *, token: int, lease_us: int = 0, give_up: bool = False
    ) -> Written[Step]:
        lease_us = 0 if give_up else lease_us or DEFAULT_LEASE_US
        return await self._ledger.renew(
            namespace, task_id, step_id, token=token, lease_us=lease_us, ttl_us=self._ttl_us
        )

    async def complete(self, namespace: str, task_id: str, step_id: str, *, token: int, result: bytes) -> Written[Step]:
        return await self._ledger.complete(namespace, task_id, step_id, token=token, result=result, ttl_us=self._ttl_us)

    async def fail(
        self, namespace: str, task_id: str, step_id: str, *, token: int, reason: str, retryable: bool
    ) -> Written[Step]:
        return await self._ledger.fail(
            namespace, task_id, step_id, token=token, reason=reason, retryable=retryable, ttl_us=self._ttl_us
        )

    async def list(self, namespace: str, task_id: str, *, size: int, cursor: str = "") -> Page[Step]:
        """Of a task nobody knows there are none."""
        return await self._ledger.page(namespace, task_id, size=size, cursor=cursor)
