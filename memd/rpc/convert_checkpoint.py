"""Checkpoints and steps."""

from __future__ import annotations

from memd_client._proto.v1 import checkpoint_service_pb2 as cs

from memd.domain.model import Checkpoint
from memd.domain.steps import Step, StepState
from memd.rpc.convert_common import timestamp


def checkpoint(value: Checkpoint) -> cs.Checkpoint:
    return cs.Checkpoint(
        task_id=value.task_id,
        version=value.version,
        state=value.state,
        size_bytes=value.size_bytes,
        sha256=value.sha256,
        create_time=timestamp(value.create_time),
        expire_time=timestamp(value.expire_time),
    )


_STEP_STATES = {
    StepState.RUN: cs.STEP_STATE_RUN,
    StepState.COMPLETED: cs.STEP_STATE_COMPLETED,
    StepState.IN_DOUBT: cs.STEP_STATE_IN_DOUBT,
    StepState.FAILED: cs.STEP_STATE_FAILED,
    StepState.LEASED: cs.STEP_STATE_LEASED,
    StepState.RETRYABLE: cs.STEP_STATE_RETRYABLE,
}


def step(value: Step) -> cs.Step:
    return cs.Step(
        task_id=value.task_id,
        step_id=value.step_id,
        idempotency_key=value.idempotency_key,
        state=_STEP_STATES[value.state],
        result=value.result,
        fencing_token=value.fencing_token,
        lease_expire_time=timestamp(value.lease_expire_time) if value.lease_expire_time else None,
        begin_time=timestamp(value.begin_time),
        complete_time=timestamp(value.complete_time) if value.complete_time is not None else None,
        error_reason=value.error_reason,
    )
