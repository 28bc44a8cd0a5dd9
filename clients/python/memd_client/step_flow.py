"""How one step of a task is run, without I/O: a generator that yields what is to be done and is sent what came of it.

Both clients drive it, so that the order of intent, side effect and record is written down once. What it guarantees:

- The function runs only after BeginStep answered RUN, so after the intent is durable.
- A completed step returns its stored result and does not run.
- A step that is in doubt runs again only if ``on_doubt`` says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias

from memd_client.calls import steps
from memd_client.calls.call import Call
from memd_client.enums import StepState
from memd_client.errors import InvalidArgument, MemdError, StepTaken
from memd_client.types import Scope, Step

DEFAULT_LEASE = timedelta(seconds=15)
"""Renewed while the function runs: this is how long a crashed worker's step stays unknown to be in doubt."""
MIN_WAIT_S = 0.02
MAX_WAIT_S = 1.0
"""Between two looks at a step that somebody else runs: the daemon's clock may not be ours."""
MAX_REASON = 200
"""Characters of why a step failed that go to the ledger."""


class Doubt(Enum):
    """What to do with a step that was begun and never completed."""

    RETRY = "retry"
    """The side effect did not happen, or may happen twice: run it."""
    STOP = "stop"
    """Nobody knows: raise StepInDoubt, and ask again next time."""


@dataclass(frozen=True, slots=True)
class Happened:
    """The side effect did happen: complete the step with this result, without running it."""

    result: Any = None


Verdict: TypeAlias = "Doubt | Happened"
OnDoubt: TypeAlias = Callable[[Step], Any]
"""Returns a Verdict; may be a coroutine function where the client is asynchronous."""


class StepInDoubt(MemdError):
    """The step was begun and never completed, and ``on_doubt`` did not say what to do. ``step`` tells which."""

    reason = "STEP_IN_DOUBT"

    def __init__(self, step: Step) -> None:
        super().__init__(
            f"step {step.step_id!r} of task {step.task_id!r} may or may not have had its effect: verify, and pass on_doubt"
        )
        self.step = step


class StepFailed(MemdError):
    """The step failed for good, now or in an earlier run: raise it in a step's function to record that."""

    reason = "STEP_FAILED"


class NotDone(Exception):
    """Raised by a step's function to say that its side effect certainly did not happen: the step may simply run again."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """``idempotency_key`` "" is derived from task and step; ``on_doubt`` None raises StepInDoubt."""

    on_doubt: OnDoubt | None = None
    idempotency_key: str = ""
    lease: timedelta = DEFAULT_LEASE


@dataclass(frozen=True, slots=True)
class Wait:
    """Sleep for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Call ``on_doubt`` and send its Verdict."""

    on_doubt: OnDoubt
    step: Step


@dataclass(frozen=True, slots=True)
class Run:
    """Call the function, renewing the lease by ``renew`` every ``every_s`` meanwhile; send its result."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    renew: Call[Step]
    every_s: float


Command: TypeAlias = "Call[Step] | Wait | Ask | Run"
Flow: TypeAlias = Generator[Command, Any, Any]


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of one task and what it is to do."""

    scope: Scope
    task_id: str
    step_id: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: StepOptions = field(default_factory=StepOptions)

    def flow(self) -> Flow:
        """Returns the step's result, as it reads back from JSON: the same in the first run as in every later one."""
        step = yield from self._granted()
        if step.state is StepState.FAILED:
            raise StepFailed(f"step {self.step_id!r} of task {self.task_id!r} failed: {step.error_reason}")
        if step.state is not StepState.COMPLETED:
            result = yield from self._run(step)
            step = yield from self._complete(step, result)
        return json.loads(step.result)

    def _granted(self) -> Flow:
        """The step once it is completed, failed, or ours to run."""
        while True:
            step = yield self._begin()
            if step.state is StepState.LEASED:
                yield Wait(_until(step.lease_expire_time))
            elif step.state is StepState.IN_DOUBT:
                step = yield from self._settled(step)
                if step is not None:
                    return step
            else:
                return step

    def _settled(self, step: Step) -> Flow:
        """What became of a step in doubt; None when somebody else was quicker."""
        verdict = (yield Ask(self.options.on_doubt, step)) if self.options.on_doubt else Doubt.STOP
        if verdict is Doubt.STOP:
            raise StepInDoubt(step)
        try:
            mine = yield self._begin(step.fencing_token)
        except StepTaken:
            return None
        if isinstance(verdict, Happened):
            return (yield from self._complete(mine, verdict.result))
        return mine

    def _run(self, step: Step) -> Flow:
        """The function's result. What it raises decides what the ledger says, and is raised on in any case."""
        asked = {"fencing_token": step.fencing_token, "idempotency_key": step.idempotency_key}
        kwargs = self.kwargs | {name: value for name, value in asked.items() if _takes(self.function, name)}
        renew = steps.renew_step(*self._name, fencing_token=step.fencing_token, lease=self.options.lease)
        try:
            return (yield Run(self.function, self.args, kwargs, renew, self.options.lease.total_seconds() / 3))
        except GeneratorExit:
            raise
        except NotDone:
            yield from _noted(steps.fail_step(*self._name, fencing_token=step.fencing_token, retryable=True))
            raise
        except StepFailed as error:
            reason = error.message[:MAX_REASON]
            yield from _noted(steps.fail_step(*self._name, fencing_token=step.fencing_token, error_reason=reason))
            raise
        except BaseException:  # a crash in the middle: in doubt at once, not only when the lease runs out
            yield from _noted(self._give_up(step))
            raise

    def _complete(self, step: Step, result: Any) -> Flow:
        """The step with its result stored. A holder that slept through its lease, and whose step nobody took since, takes
        the doubt back: it knows that the effect happened."""
        try:
            body = json.dumps(result, ensure_ascii=False).encode()
        except (TypeError, ValueError) as exc:
            yield from _noted(self._give_up(step))
            raise InvalidArgument(f"a step's result must be JSON: {exc}", field="result") from exc
        try:
            return (yield self._completed(step, body))
        except StepTaken:
            doubt = yield self._begin()
            if (doubt.state, doubt.fencing_token) != (StepState.IN_DOUBT, step.fencing_token):
                raise
            mine = yield self._begin(doubt.fencing_token)
            return (yield self._completed(mine, body))

    def _begin(self, in_doubt_token: int = 0) -> Call[Step]:
        return steps.begin_step(
            *self._name,
            idempotency_key=self.options.idempotency_key,
            input_sha256=self._input_sha256,
            lease=self.options.lease,
            in_doubt_token=in_doubt_token,
        )

    def _completed(self, step: Step, body: bytes) -> Call[Step]:
        return steps.complete_step(*self._name, fencing_token=step.fencing_token, result=body)

    def _give_up(self, step: Step) -> Call[Step]:
        return steps.renew_step(*self._name, fencing_token=step.fencing_token, give_up=True)

    @property
    def _name(self) -> tuple[Scope, str, str]:
        return self.scope, self.task_id, self.step_id

    @property
    def _input_sha256(self) -> bytes:
        try:
            body = json.dumps([self.args, self.kwargs], sort_keys=True, ensure_ascii=False)
        except (TypeError, ValueError) as exc:
            raise InvalidArgument(
                f"a step's arguments must be JSON, so that they can be compared: {exc}; bind others with functools.partial"
            ) from exc
        return hashlib.sha256(body.encode()).digest()


def _noted(call: Call[Step]) -> Flow:
    """Tell the ledger, if it can be told: what is raised already matters more."""
    with contextlib.suppress(MemdError):
        yield call


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _until(lease_expire_time: datetime | None) -> float:
    left = (lease_expire_time - datetime.now(UTC)).total_seconds() if lease_expire_time else 0.0
    return min(max(left, MIN_WAIT_S), MAX_WAIT_S)
