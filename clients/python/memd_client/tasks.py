"""Tasks that resume where they fell: ``Client.task`` and ``AsyncClient.task``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from memd_client.calls import checkpoints
from memd_client.calls.call import Call
from memd_client.errors import MemdError, NotFound
from memd_client.step_flow import Ask, Command, Flow, Run, StepOptions, StepRun, Wait
from memd_client.types import Checkpoint, Scope

R = TypeVar("R")


class Sender(Protocol):
    """What the synchronous client does with a call."""

    def __call__(self, call: Call[R], /) -> R: ...


class AsyncSender(Protocol):
    """What the asynchronous client does with a call."""

    async def __call__(self, call: Call[R], /) -> R: ...


Send = TypeVar("Send")


class _Task(Generic[Send]):
    """A task's name, its options, and the checkpoint it was last seen with."""

    def __init__(self, send: Send, scope: Scope, task_id: str, options: StepOptions) -> None:
        self._send = send
        self._scope = scope
        self._options = options
        self._version = 0
        self.task_id = task_id
        self.state = b""
        """The newest checkpoint's state; empty before the first ``save``."""

    def _load(self) -> Call[Checkpoint]:
        return checkpoints.load_checkpoint(self._scope, self.task_id)

    def _save(self, state: bytes) -> Call[Checkpoint]:
        return checkpoints.save_checkpoint(self._scope, self.task_id, state, expected_version=self._version)

    def _saved(self, checkpoint: Checkpoint, state: bytes) -> None:
        self.state, self._version = state, checkpoint.version

    def _flow(self, step_id: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow:
        return StepRun(self._scope, self.task_id, step_id, function, args, kwargs, self._options).flow()


class ResumableTask(_Task[Sender]):
    """A task of steps, each of which has its effect once.

        with client.task("invoice-42", on_doubt=ask_the_mail_server) as task:
            total = task.step("sum", add_up, [1, 2, 3])
            task.step("send_email", send, to="ada@example.org", total=total)

    Run again after a crash, completed steps return what they returned, and the first that is not completed goes on. A step
    that had begun is in doubt: ``on_doubt`` says RETRY, STOP or Happened(result). A function that has a parameter
    ``fencing_token`` or ``idempotency_key`` is given it, to be handed on to the target. Arguments and results are JSON.
    """

    def with_options(self, **options: Any) -> ResumableTask:
        """The same task with other ``on_doubt``, ``idempotency_key`` or ``lease``, for one step."""
        return ResumableTask(self._send, self._scope, self.task_id, replace(self._options, **options))

    def step(self, step_id: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The result of ``function(*args, **kwargs)``, from now or from an earlier run. Waits while another worker runs it.

        Raises what the function raises (NotDone: the effect did not happen, the step may run again; StepFailed: it failed
        for good; anything else leaves it in doubt), StepInDoubt, StepFailed, IdempotencyKeyReused for other arguments than
        in the earlier run, StepTaken when somebody else took the step over while it ran.
        """
        return _drive(self._flow(step_id, function, args, kwargs), self._do)

    def save(self, state: bytes) -> None:
        """Checkpoint the task's state; VersionConflict when another worker saved since."""
        self._saved(self._send(self._save(state)), state)

    def __enter__(self) -> Self:
        with contextlib.suppress(NotFound):
            checkpoint = self._send(self._load())
            self._saved(checkpoint, checkpoint.state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def _do(self, command: Command) -> Any:
        match command:
            case Wait(seconds):
                return time.sleep(seconds)
            case Ask(on_doubt, step):
                return on_doubt(step)
            case Run():
                return self._run(command)
            case _:
                return self._send(command)

    def _run(self, run: Run) -> Any:
        done = threading.Event()

        def renewing() -> None:
            while not done.wait(run.every_s):
                with contextlib.suppress(MemdError):  # what matters is told by CompleteStep
                    self._send(run.renew)

        thread = threading.Thread(target=renewing, name="memd-renew-step", daemon=True)
        thread.start()
        try:
            return run.function(*run.args, **run.kwargs)
        finally:
            done.set()


class AsyncResumableTask(_Task[AsyncSender]):
    """``ResumableTask`` for asyncio: ``async with client.task("id") as task: await task.step("send", send, to=...)``.

    Functions and ``on_doubt`` may be coroutine functions or plain ones; plain ones block the event loop while they run.
    """

    def with_options(self, **options: Any) -> AsyncResumableTask:
        """As ``ResumableTask.with_options``."""
        return AsyncResumableTask(self._send, self._scope, self.task_id, replace(self._options, **options))

    async def step(self, step_id: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``ResumableTask.step``."""
        flow = self._flow(step_id, function, args, kwargs)
        resume = _sending(flow, None)
        while True:
            try:
                command = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = _sending(flow, await self._do(command))
            except BaseException as error:  # noqa: BLE001 - the flow decides what it means, and raises it on
                resume = _throwing(flow, error)

    async def save(self, state: bytes) -> None:
        """As ``ResumableTask.save``."""
        self._saved(await self._send(self._save(state)), state)

    async def __aenter__(self) -> Self:
        with contextlib.suppress(NotFound):
            checkpoint = await self._send(self._load())
            self._saved(checkpoint, checkpoint.state)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def _do(self, command: Command) -> Any:
        match command:
            case Wait(seconds):
                return await asyncio.sleep(seconds)
            case Ask(on_doubt, step):
                return await _maybe(on_doubt(step))
            case Run():
                return await self._run(command)
            case _:
                return await self._send(command)

    async def _run(self, run: Run) -> Any:
        async def renewing() -> None:
            while True:
                await asyncio.sleep(run.every_s)
                with contextlib.suppress(MemdError):  # what matters is told by CompleteStep
                    await self._send(run.renew)

        task = asyncio.create_task(renewing())
        try:
            return await _maybe(run.function(*run.args, **run.kwargs))
        finally:
            task.cancel()


def _drive(flow: Flow, do: Callable[[Command], Any]) -> Any:
    """Run a flow to its end: each command is done, its result sent back or its error raised in the flow."""
    resume = _sending(flow, None)
    while True:
        try:
            command = resume()
        except StopIteration as end:
            return end.value
        try:
            resume = _sending(flow, do(command))
        except BaseException as error:  # noqa: BLE001 - the flow decides what it means, and raises it on
            resume = _throwing(flow, error)


def _sending(flow: Flow, value: Any) -> Callable[[], Command]:
    return lambda: flow.send(value)


def _throwing(flow: Flow, error: BaseException) -> Callable[[], Command]:
    return lambda: flow.throw(error)


async def _maybe(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
