"""Resumable tasks against a real daemon: what runs, what does not run again, and what is said of a step in doubt."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from memd_client import (
    AsyncClient,
    Client,
    Doubt,
    Happened,
    NotDone,
    ResumableTask,
    StepFailed,
    StepInDoubt,
    StepState,
    errors,
)

from tests.daemon import Daemon

SHORT = timedelta(seconds=1)
INPUT = hashlib.sha256(b"[[], {}]").digest()
"""Of a step without arguments."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def memd(served: Daemon) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


@pytest.fixture
def task(memd: Client, request: pytest.FixtureRequest) -> Iterator[ResumableTask]:
    """A task of the test's own."""
    with memd.task(request.node.name, lease=SHORT) as opened:
        yield opened


class Effect:
    """Counts itself."""

    def __init__(self, result: Any = "done") -> None:
        self.result = result
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.result


def crash() -> None:
    raise ZeroDivisionError


def test_a_completed_step_returns_what_it_returned(memd: Client, task: ResumableTask) -> None:
    effect = Effect({"id": 7, "list": (1, 2)})
    first = task.step("send", effect, "ada", 3)
    assert first == {"id": 7, "list": [1, 2]}, "as it reads back from JSON, from the first run on"
    with memd.task(task.task_id) as again:
        assert again.step("send", effect, "ada", 3) == first
    assert effect.calls == [("ada", 3)]


def test_a_step_with_other_arguments_is_refused(task: ResumableTask) -> None:
    effect = Effect()
    task.step("send", effect, "ada")
    with pytest.raises(errors.IdempotencyKeyReused):
        task.step("send", effect, "bob")
    with pytest.raises(errors.InvalidArgument, match="JSON"):
        task.step("other", effect, object())
    assert effect.calls == [("ada",)]


def test_the_fencing_token_and_the_key_reach_the_function_that_asks(task: ResumableTask) -> None:
    def send(to: str, *, fencing_token: int, idempotency_key: str) -> list[Any]:
        return [to, fencing_token, idempotency_key]

    to, token, key = task.step("send", send, "ada")
    assert (to, token > 0, key.startswith("s_")) == ("ada", True, True)
    named = task.with_options(idempotency_key="order-42")
    assert named.step("pay", send, "bob")[2] == "order-42"
    assert task.step("bound", functools.partial(send, "eve"))[0] == "eve"


def test_an_exception_leaves_the_step_in_doubt_at_once(task: ResumableTask) -> None:
    with pytest.raises(ZeroDivisionError):
        task.step("send", crash)
    effect = Effect()
    begun = time.monotonic()
    with pytest.raises(StepInDoubt) as doubt:
        task.step("send", effect)
    assert time.monotonic() - begun < SHORT.total_seconds(), "no lease was waited for"
    assert (doubt.value.step.step_id, doubt.value.step.state) == ("send", StepState.IN_DOUBT)
    assert effect.calls == []


@pytest.mark.parametrize(("verdict", "result", "calls"), [(Doubt.RETRY, "done", 1), (Happened("it did"), "it did", 0)])
def test_who_verifies_decides(task: ResumableTask, verdict: Any, result: str, calls: int) -> None:
    with pytest.raises(ZeroDivisionError):
        task.step("send", crash)
    effect = Effect()
    assert task.with_options(on_doubt=lambda step: verdict).step("send", effect) == result
    assert task.step("send", effect) == result, "and it is settled"
    assert len(effect.calls) == calls


def test_not_done_runs_again_and_failed_does_not(task: ResumableTask) -> None:
    def not_now() -> None:
        raise NotDone

    def never() -> None:
        raise StepFailed("the address does not exist")

    with pytest.raises(NotDone):
        task.step("later", not_now)
    assert task.step("later", Effect("now")) == "now"
    with pytest.raises(StepFailed):
        task.step("refused", never)
    effect = Effect()
    with pytest.raises(StepFailed, match="the address does not exist"):
        task.step("refused", effect)
    assert effect.calls == []


def test_the_lease_is_renewed_while_the_function_runs(memd: Client, task: ResumableTask) -> None:
    def slow() -> str:
        time.sleep(2.5 * SHORT.total_seconds())
        assert memd.begin_step(task.task_id, "slow", input_sha256=INPUT).state is StepState.LEASED
        return "slept"

    assert task.step("slow", slow) == "slept"


def test_a_holder_that_slept_past_its_lease_takes_its_own_doubt_back(memd: Client, task: ResumableTask) -> None:
    def sleepy(*, fencing_token: int) -> str:
        memd.renew_step(task.task_id, "sleepy", fencing_token=fencing_token, give_up=True)
        return "it happened all the same"

    assert task.step("sleepy", sleepy) == "it happened all the same"


def test_a_holder_whose_step_was_taken_over_hears_of_it(memd: Client, task: ResumableTask) -> None:
    def overtaken(*, fencing_token: int) -> str:
        memd.renew_step(task.task_id, "s", fencing_token=fencing_token, give_up=True)
        with memd.task(task.task_id, on_doubt=lambda step: Doubt.RETRY) as other:
            assert other.step("s", Effect("theirs")) == "theirs"
        return "mine"

    with pytest.raises(errors.StepTaken):
        task.step("s", overtaken)
    assert task.step("s", Effect("nobody's")) == "theirs"


def test_a_result_that_is_no_json_is_refused_and_leaves_doubt(task: ResumableTask) -> None:
    with pytest.raises(errors.InvalidArgument, match="JSON"):
        task.step("s", Effect(object()))
    with pytest.raises(StepInDoubt):
        task.step("s", Effect())


def test_the_state_is_checkpointed_by_compare_and_set(memd: Client, task: ResumableTask) -> None:
    assert task.state == b""
    task.save(b"half way")
    with memd.task(task.task_id) as again:
        assert again.state == b"half way"
        again.save(b"further")
    with pytest.raises(errors.VersionConflict):
        task.save(b"lost")


def test_steps_are_listed_without_tokens(memd: Client, task: ResumableTask) -> None:
    for name in ("b", "a"):
        task.step(name, Effect(name))
    found = list(memd.list_steps(task.task_id, page_size=1))
    assert [(one.step_id, one.result, one.fencing_token) for one in found] == [("b", b'"b"', 0), ("a", b'"a"', 0)]


def test_bad_input(memd: Client, task: ResumableTask) -> None:
    name = task.task_id
    with pytest.raises(errors.InvalidArgument, match="lease"):
        memd.begin_step(name, "s", lease=timedelta(0))
    with pytest.raises(errors.InvalidArgument, match="lease"):
        memd.begin_step(name, "s", lease=timedelta(days=1))
    with pytest.raises(errors.InvalidArgument, match="input_sha256"):
        memd.begin_step(name, "s", input_sha256=b"short")
    with pytest.raises(errors.InvalidArgument, match="fencing_token"):
        memd.complete_step(name, "s", fencing_token=0, result=b"")
    with pytest.raises(errors.NotFound):
        memd.complete_step(name, "s", fencing_token=1, result=b"")
    step = memd.begin_step(name, "s")
    with pytest.raises(errors.InvalidArgument, match="result"):
        memd.complete_step(name, "s", fencing_token=step.fencing_token, result=bytes(1024 * 1024 + 1))
    with pytest.raises(errors.StepTaken):
        memd.complete_step(name, "s", fencing_token=step.fencing_token + 1, result=b"")


async def test_the_asynchronous_task(served: Daemon) -> None:
    async def send(to: str, *, fencing_token: int) -> list[Any]:
        await asyncio.sleep(0)
        return [to, fencing_token > 0]

    async def verify(step: Any) -> Any:
        await asyncio.sleep(0)
        return Happened("verified")

    async with AsyncClient(served.address) as memd, memd.task("async", on_doubt=verify, lease=SHORT) as task:
        assert await task.step("send", send, to="ada") == ["ada", True]
        assert await task.step("send", send, to="ada") == ["ada", True]
        assert await task.step("plain", lambda: 1) == 1
        hanging = asyncio.ensure_future(task.step("hang", asyncio.sleep, 60))
        await asyncio.sleep(0.2)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert await task.step("hang", asyncio.sleep, 60) == "verified", "a cancelled step is in doubt at once"
        await task.save(b"state")
        assert task.state == b"state"


def test_steps_outlive_the_daemon_and_the_checkpoint(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(daemon.address) as memd:
        with memd.task("t") as task:
            task.save(b"state")
            task.step("send", Effect("sent"))
        daemon.kill()
        daemon.start()
        memd.delete_checkpoint("t")
        effect = Effect()
        with memd.task("t") as task:
            assert task.state == b""
            assert task.step("send", effect) == "sent"
        assert effect.calls == []
        receipt = memd.forget(everything=True, task_ids=["t"])
        assert receipt.counts["steps"] == 1
        assert list(memd.list_steps("t")) == []
