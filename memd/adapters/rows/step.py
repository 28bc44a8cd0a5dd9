"""Steps as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
