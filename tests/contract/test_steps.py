"""StepLedger: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.domain.errors import IdempotencyKeyReused, LimitExceeded, NotFound, RequestIdReused, StepTaken
from memd.domain.model import RequestKey, Written
from memd.domain.steps import Step, StepIntent, StepState
from memd.limits import MAX_STEPS_PER_TASK
from tests.contract.builders import request
from tests.contract.conftest import Stores

LEASE_US = 1_000_000
TTL_US = 100_000_000


def intent(step_id: str = "s", task_id: str = "t", *, doubt: int = 0, key: str = "", data: bytes = b"") -> StepIntent:
    return StepIntent(task_id, step_id, key or f"key of {step_id}", data, LEASE_US, doubt)


async def begin(stores: Stores, asked: StepIntent, key: RequestKey | None = None) -> Written[Step]:
    return await stores.steps.begin("n", asked, ttl_us=TTL_US, request=key)


async def complete(stores: Stores, step: Step, result: bytes = b"done") -> Step:
    written = await stores.steps.complete(
        "n", step.task_id, step.step_id, token=step.fencing_token, result=result, ttl_us=TTL_US
    )
    return written.value


async def listed(stores: Stores, size: int = 100) -> list[Step]:
    found: list[Step] = []
    cursor = ""
    while True:
        page = await stores.steps.page("n", "t", size=size, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if not cursor:
            return found


class TestBegin:
    async def test_the_intent_outlives_a_restart(self, stores: Stores) -> None:
        step = (await begin(stores, intent())).value
        assert step.state is StepState.RUN
        await stores.reopen()
        assert (await begin(stores, intent())).value.state is StepState.LEASED
        stores.clock.advance(LEASE_US)
        doubt = (await begin(stores, intent())).value
        assert (doubt.state, doubt.fencing_token) == (StepState.IN_DOUBT, step.fencing_token)

    async def test_exactly_one_of_many_workers_gets_the_lease(self, stores: Stores) -> None:
        answers = await asyncio.gather(*(begin(stores, intent()) for _ in range(16)))
        states = sorted(answer.value.state.value for answer in answers)
        assert states == ["leased"] * 15 + ["run"]
        stores.clock.advance(LEASE_US)
        doubt = (await begin(stores, intent())).value.fencing_token
        tries = [begin(stores, intent(doubt=doubt)) for _ in range(16)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(one, Written) for one in results) == 1
        assert sum(isinstance(one, StepTaken) for one in results) == 15

    async def test_a_repeated_request_gets_its_lease_again_while_nobody_else_has_it(self, stores: Stores) -> None:
        first = await begin(stores, intent(), request("r"))
        assert await begin(stores, intent(), request("r")) == replace(first, replayed=True)
        stores.clock.advance(LEASE_US)
        assert (await begin(stores, intent(), request("r"))).value.state is StepState.IN_DOUBT
        await begin(stores, intent(doubt=first.value.fencing_token))
        assert (await begin(stores, intent(), request("r"))).value.state is StepState.LEASED
        with pytest.raises(RequestIdReused):
            await begin(stores, intent(), request("r", body="another"))

    async def test_a_key_is_one_step_with_one_input(self, stores: Stores) -> None:
        await begin(stores, intent(key="k", data=b"a"))
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, intent(key="k", data=b"b"))
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, intent(key="other", data=b"a"))
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, intent("s2", key="k", data=b"a"))
        await begin(stores, intent("s2", "another task", key="k", data=b"a"))

    async def test_tasks_and_namespaces_are_apart(self, stores: Stores) -> None:
        await begin(stores, intent())
        other = await stores.steps.begin("m", intent(), ttl_us=TTL_US, request=None)
        assert other.value.state is StepState.RUN
        assert (await begin(stores, intent(task_id="t%"))).value.state is StepState.RUN

    async def test_a_task_has_a_bound(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        assert MAX_STEPS_PER_TASK == 10_000
        for module in stores.step_modules:
            monkeypatch.setattr(f"{module}.MAX_STEPS_PER_TASK", 3)
        for number in range(3):
            await begin(stores, intent(f"{number}"))
        with pytest.raises(LimitExceeded):
            await begin(stores, intent("one too many"))
        assert (await begin(stores, intent("1"))).value.state is StepState.LEASED


class TestOutcome:
    async def test_a_completed_step_answers_with_its_result(self, stores: Stores) -> None:
        step = (await begin(stores, intent())).value
        await complete(stores, step, b"\0result\xff")
        await stores.reopen()
        answer = (await begin(stores, intent())).value
        assert (answer.state, answer.result) == (StepState.COMPLETED, b"\0result\xff")
        await complete(stores, step, b"\0result\xff")
        with pytest.raises(StepTaken):
            await complete(stores, step, b"another")

    async def test_a_holder_who_slept_is_refused(self, stores: Stores) -> None:
        step = (await begin(stores, intent())).value
        stores.clock.advance(LEASE_US)
        with pytest.raises(StepTaken):
            await complete(stores, step)
        mine = (await begin(stores, intent(doubt=step.fencing_token))).value
        with pytest.raises(StepTaken):
            await complete(stores, step)
        await complete(stores, mine)

    async def test_renewing_keeps_the_lease_and_giving_up_ends_it(self, stores: Stores) -> None:
        step = (await begin(stores, intent())).value
        for _ in range(3):
            stores.clock.advance(LEASE_US - 1_000)
            await stores.steps.renew("n", "t", "s", token=step.fencing_token, lease_us=LEASE_US, ttl_us=TTL_US)
        assert (await begin(stores, intent())).value.state is StepState.LEASED
        given_up = await stores.steps.renew("n", "t", "s", token=step.fencing_token, lease_us=0, ttl_us=TTL_US)
        assert given_up.value.state is StepState.IN_DOUBT
        assert (await begin(stores, intent())).value.state is StepState.IN_DOUBT

    async def test_failing(self, stores: Stores) -> None:
        step = (await begin(stores, intent())).value
        args = {"token": step.fencing_token, "ttl_us": TTL_US}
        await stores.steps.fail("n", "t", "s", reason="not now", retryable=True, **args)
        again = (await begin(stores, intent())).value
        assert again.state is StepState.RUN
        assert again.fencing_token > step.fencing_token
        args["token"] = again.fencing_token
        await stores.steps.fail("n", "t", "s", reason="never", retryable=False, **args)
        answer = (await begin(stores, intent())).value
        assert (answer.state, answer.error_reason) == (StepState.FAILED, "never")

    async def test_an_unknown_step_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await stores.steps.complete("n", "t", "s", token=1, result=b"", ttl_us=TTL_US)


class TestList:
    async def test_in_the_order_of_begin_without_tokens(self, stores: Stores) -> None:
        for name in ("b", "a", "c"):
            step = (await begin(stores, intent(name))).value
            await complete(stores, step, name.encode())
        for size in (1, 2, 100):
            found = await listed(stores, size)
            assert [(one.step_id, one.result, one.fencing_token) for one in found] == [
                ("b", b"b", 0),
                ("a", b"a", 0),
                ("c", b"c", 0),
            ]

    async def test_a_page_ends_where_the_results_would_not_fit_a_message(self, stores: Stores) -> None:
        for number in range(5):
            step = (await begin(stores, intent(f"{number}"))).value
            await complete(stores, step, bytes(1024 * 1024))
        page = await stores.steps.page("n", "t", size=100, cursor="")
        assert (len(page.items), bool(page.next_cursor)) == (3, True)
        assert len(await listed(stores)) == 5


class TestEnd:
    async def test_steps_of_a_task_expire_together(self, stores: Stores) -> None:
        await complete(stores, (await begin(stores, intent("first"))).value)
        stores.clock.advance(TTL_US - 1_000)
        await begin(stores, intent("second"))
        stores.clock.advance(TTL_US - 1_000)
        assert [one.step_id for one in await listed(stores)] == ["first", "second"], "one change renews them all"
        stores.clock.advance(1_000)
        assert await listed(stores) == []
        assert (await begin(stores, intent("second"))).value.state is StepState.RUN
        assert [one.step_id for one in await listed(stores)] == ["second"]

    async def test_the_sweep_takes_what_expired(self, stores: Stores) -> None:
        for number in range(3):
            await begin(stores, intent(f"{number}"))
        stores.clock.advance(TTL_US)
        await begin(stores, intent(task_id="live"))
        assert await stores.steps.sweep(2) == 2
        assert await stores.steps.sweep(2) == 1
        assert await stores.steps.sweep(2) == 0
        assert (await stores.steps.count("n", [], all_tasks=True)) == {"steps": 1}

    async def test_forget_is_idempotent_per_receipt(self, stores: Stores) -> None:
        for task_id in ("t", "u", "v"):
            await begin(stores, intent(task_id=task_id))
        assert await stores.steps.count("n", ["t", "u"], all_tasks=False) == {"steps": 2}
        assert await stores.steps.forget("n", ["t", "u"], all_tasks=False, receipt_id="f1") == {"steps": 2}
        fresh = (await begin(stores, intent())).value
        assert fresh.state is StepState.RUN
        assert await stores.steps.forget("n", ["t", "u"], all_tasks=False, receipt_id="f1") == {"steps": 2}
        assert len(await listed(stores)) == 1, "what was begun after the receipt stays"
        assert await stores.steps.forget("n", [], all_tasks=True, receipt_id="f2") == {"steps": 2}

    async def test_a_forgotten_steps_token_is_outranked(self, stores: Stores) -> None:
        old = (await begin(stores, intent())).value
        await stores.steps.forget("n", ["t"], all_tasks=False, receipt_id="f")
        assert (await begin(stores, intent())).value.fencing_token > old.fencing_token
        with pytest.raises(StepTaken):
            await complete(stores, old)
