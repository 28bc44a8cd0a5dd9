"""The step ledger's rules: pure functions from the stored step, the request and the time to the step as it is to be stored.

A step is begun under a lease before its side effect runs, and completed after it. While the lease is live nobody else may
run it; once the lease is over without a completion nobody knows whether the side effect happened, so the step is in doubt
until somebody who has found out takes it over. Fencing tokens follow Kleppmann, "How to do distributed locking" (2016):
each lease has a larger one than every lease before, so that a target can refuse a holder that slept through its lease.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum

from memd.domain.errors import IdempotencyKeyReused, NotFound, StepTaken


class StepState(Enum):
    RUN = "run"
    COMPLETED = "completed"
    IN_DOUBT = "in_doubt"
    FAILED = "failed"
    LEASED = "leased"
    RETRYABLE = "retryable"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a task. ``state`` is never LEASED or IN_DOUBT as stored: those are what ``seen`` makes of RUN."""

    task_id: str
    step_id: str
    idempotency_key: str
    input_sha256: bytes
    state: StepState
    fencing_token: int
    lease_expire_time: int
    begin_time: int
    complete_time: int | None = None
    result: bytes = b""
    error_reason: str = ""


@dataclass(frozen=True, slots=True)
class StepIntent:
    """What BeginStep asks: ``in_doubt_token`` is 0, or the token of the doubt its caller has cleared up."""

    task_id: str
    step_id: str
    idempotency_key: str
    input_sha256: bytes
    lease_us: int
    in_doubt_token: int = 0


def derived_key(task_id: str, step_id: str) -> str:
    """The idempotency key of a step whose caller gave none."""
    return "s_" + hashlib.sha256(f"{task_id}\0{step_id}".encode()).hexdigest()[:32]


def seen(step: Step, now_us: int) -> Step:
    """The step as it stands at ``now_us``: one that runs past its lease is in doubt."""
    if step.state is StepState.RUN and step.lease_expire_time <= now_us:
        return replace(step, state=StepState.IN_DOUBT)
    return step


def begin(found: Step | None, intent: StepIntent, now_us: int) -> tuple[Step, bool]:
    """The step as BeginStep answers it, and whether it is to be stored: then the answer is RUN.

    IdempotencyKeyReused for another key or input, StepTaken when the doubt is another one now.
    """
    if found is None:
        return _leased(_new(intent, now_us), intent, now_us), True
    if (found.idempotency_key, found.input_sha256) != (intent.idempotency_key, intent.input_sha256):
        raise IdempotencyKeyReused(
            "the step was begun under another key or with another input", field="idempotency_key"
        )
    step = seen(found, now_us)
    if step.state is StepState.IN_DOUBT and intent.in_doubt_token:
        if intent.in_doubt_token != step.fencing_token:
            raise _taken()
        return _leased(step, intent, now_us), True
    if step.state is StepState.RETRYABLE:
        return _leased(step, intent, now_us), True
    if step.state is StepState.RUN:
        if intent.in_doubt_token:
            raise _taken()
        return replace(step, state=StepState.LEASED, fencing_token=0), False
    return step, False


def renew(found: Step | None, token: int, lease_us: int, now_us: int) -> Step:
    """A running step with its lease ending ``lease_us`` from now; 0 gives the lease up."""
    step = _held(found, token, now_us)
    return replace(step, lease_expire_time=now_us + lease_us)


def complete(found: Step | None, token: int, result: bytes, now_us: int) -> Step:
    """A step that is done; the same again for a repeat."""
    if (
        found is not None
        and found.state is StepState.COMPLETED
        and (found.fencing_token, found.result) == (token, result)
    ):
        return found
    step = _held(found, token, now_us)
    return replace(step, state=StepState.COMPLETED, result=result, complete_time=now_us, lease_expire_time=0)


def fail(found: Step | None, token: int, reason: str, retryable: bool, now_us: int) -> Step:
    """A step that failed; the same again for a repeat."""
    state = StepState.RETRYABLE if retryable else StepState.FAILED
    if found is not None and (found.state, found.fencing_token) == (state, token):
        return found
    step = _held(found, token, now_us)
    return replace(step, state=state, error_reason=reason, complete_time=now_us, lease_expire_time=0)


def _new(intent: StepIntent, now_us: int) -> Step:
    return Step(
        intent.task_id, intent.step_id, intent.idempotency_key, intent.input_sha256, StepState.RUN, 0, 0, now_us
    )


def _leased(step: Step, intent: StepIntent, now_us: int) -> Step:
    """Under a new lease. Tokens are drawn from the clock, so that they also grow past a step that was forgotten."""
    return replace(
        step,
        state=StepState.RUN,
        fencing_token=max(step.fencing_token + 1, now_us),
        lease_expire_time=now_us + intent.lease_us,
        complete_time=None,
        error_reason="",
    )


def _held(found: Step | None, token: int, now_us: int) -> Step:
    """The step, if the lease of ``token`` is live."""
    if found is None:
        raise NotFound("there is no such step")
    step = seen(found, now_us)
    if step.state is not StepState.RUN or step.fencing_token != token:
        raise _taken()
    return step


def _taken() -> StepTaken:
    return StepTaken(
        "the lease of this step is over, or somebody else has it: begin the step again to see where it stands"
    )
