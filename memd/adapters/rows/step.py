"""Steps as rows, and what a holder of one may change, by the same rules in every store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from memd.domain import steps as rules
from memd.domain.model import Written
from memd.domain.steps import Step, StepState

STEP_COLUMNS = (
    "step_id, idempotency_key, input_sha256, state, fencing_token, lease_expire_time, begin_time, complete_time,"
    " result, error_reason"
)


def encode_step(step: Step) -> tuple[Any, ...]:
    """The values of STEP_COLUMNS."""
    return (
        step.step_id,
        step.idempotency_key,
        step.input_sha256,
        step.state.value,
        step.fencing_token,
        step.lease_expire_time,
        step.begin_time,
        step.complete_time,
        step.result,
        step.error_reason,
    )


def decode_step(task_id: str, found: Sequence[Any]) -> Step:
    """From STEP_COLUMNS."""
    step_id, key, input_sha256, state, token, lease, begun, completed, result, reason = found
    return Step(
        task_id=task_id,
        step_id=step_id,
        idempotency_key=key,
        input_sha256=input_sha256,
        state=StepState(state),
        fencing_token=token,
        lease_expire_time=lease,
        begin_time=begun,
        complete_time=completed,
        result=result,
        error_reason=reason,
    )


class HeldSteps(ABC):
    """The changes of ``memd.ports.StepLedger`` that take a fencing token."""

    async def renew(
        self, namespace: str, task_id: str, step_id: str, *, token: int, lease_us: int, ttl_us: int
    ) -> Written[Step]:
        return await self._change(
            namespace, task_id, step_id, ttl_us, lambda found, now_us: rules.renew(found, token, lease_us, now_us)
        )

    async def complete(
        self, namespace: str, task_id: str, step_id: str, *, token: int, result: bytes, ttl_us: int
    ) -> Written[Step]:
        return await self._change(
            namespace, task_id, step_id, ttl_us, lambda found, now_us: rules.complete(found, token, result, now_us)
        )

    async def fail(
        self, namespace: str, task_id: str, step_id: str, *, token: int, reason: str, retryable: bool, ttl_us: int
    ) -> Written[Step]:
        return await self._change(
            namespace,
            task_id,
            step_id,
            ttl_us,
            lambda found, now_us: rules.fail(found, token, reason, retryable, now_us),
        )

    @abstractmethod
    async def _change(
        self, namespace: str, task_id: str, step_id: str, ttl_us: int, change: Callable[[Step | None, int], Step]
    ) -> Written[Step]:
        """In one transaction: find the step, ask ``change(found, now_us)`` what it becomes, store that."""
