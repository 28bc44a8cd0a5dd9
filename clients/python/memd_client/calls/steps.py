"""Calls of the step ledger."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from memd_client import parse, wire
from memd_client import types as t
from memd_client._proto.v1 import checkpoint_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id

_call = partial(Call, "CheckpointService")


def begin_step(
    scope: t.Scope,
    task_id: str,
    step_id: str,
    *,
    idempotency_key: str = "",
    input_sha256: bytes = b"",
    lease: timedelta | None = None,
    in_doubt_token: int = 0,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Step]:
    """Make the intent of a step durable and learn whether to run it: only when ``state`` is RUN.

    ``lease`` (None: a minute) is how long it is yours. IN_DOUBT: find out whether the side effect happened, then begin again
    with its ``fencing_token`` as ``in_doubt_token``. IdempotencyKeyReused for another key or input than the step had.
    """
    request = pb.BeginStepRequest(
        scope=wire.scope(scope),
        task_id=task_id,
        step_id=step_id,
        idempotency_key=idempotency_key,
        input_sha256=input_sha256,
        lease=wire.duration(lease),
        in_doubt_token=in_doubt_token,
        request_id=new_request_id(request_id),
    )
    return _call("BeginStep", request, _step, timeout_s)


def renew_step(
    scope: t.Scope,
    task_id: str,
    step_id: str,
    *,
    fencing_token: int,
    lease: timedelta | None = None,
    give_up: bool = False,
    timeout_s: float | None = None,
) -> Call[t.Step]:
    """Extend the lease of a running step from now; ``give_up`` ends it: the step is in doubt at once. StepTaken when the
    lease is over or somebody else's, here and in the next two."""
    request = pb.RenewStepRequest(
        scope=wire.scope(scope),
        task_id=task_id,
        step_id=step_id,
        fencing_token=fencing_token,
        lease=wire.duration(lease),
        give_up=give_up,
    )
    return _call("RenewStep", request, _step, timeout_s)


def complete_step(
    scope: t.Scope, task_id: str, step_id: str, *, fencing_token: int, result: bytes, timeout_s: float | None = None
) -> Call[t.Step]:
    """Store the result of a step, to be returned to whoever begins it again."""
    request = pb.CompleteStepRequest(
        scope=wire.scope(scope), task_id=task_id, step_id=step_id, fencing_token=fencing_token, result=result
    )
    return _call("CompleteStep", request, _step, timeout_s)


def fail_step(
    scope: t.Scope,
    task_id: str,
    step_id: str,
    *,
    fencing_token: int,
    error_reason: str = "",
    retryable: bool = False,
    timeout_s: float | None = None,
) -> Call[t.Step]:
    """Record that a step failed for good; ``retryable``: before its side effect, so that it may run again."""
    request = pb.FailStepRequest(
        scope=wire.scope(scope),
        task_id=task_id,
        step_id=step_id,
        fencing_token=fencing_token,
        error_reason=error_reason,
        retryable=retryable,
    )
    return _call("FailStep", request, _step, timeout_s)


def list_steps_page(
    scope: t.Scope, task_id: str, *, page_size: int = 0, page_token: str = "", timeout_s: float | None = None
) -> Call[t.Page[t.Step]]:
    """Steps of a task in the order they were first begun, with their results and without fencing tokens."""
    request = pb.ListStepsRequest(scope=wire.scope(scope), task_id=task_id, page_size=page_size, page_token=page_token)

    def page(m: pb.ListStepsResponse) -> t.Page[t.Step]:
        return t.Page(tuple(map(parse.step, m.steps)), m.next_page_token)

    return _call("ListSteps", request, page, timeout_s)


def _step(
    m: pb.BeginStepResponse | pb.RenewStepResponse | pb.CompleteStepResponse | pb.FailStepResponse,
) -> t.Step:
    return parse.step(m.step, parse.receipt(m.receipt))
