"""The step ledger's rules, by themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memd.domain import steps
from memd.domain.errors import IdempotencyKeyReused, NotFound, StepTaken
from memd.domain.steps import Step, StepIntent, StepState

INTENT = StepIntent("t", "s", "key", b"\1" * 32, lease_us=100)


def begun(now_us: int = 1_000) -> Step:
    step, granted = steps.begin(None, INTENT, now_us)
    assert granted
    return step


def test_a_new_step_runs_under_a_lease() -> None:
    step = begun()
    assert (step.state, step.lease_expire_time, step.begin_time) == (StepState.RUN, 1_100, 1_000)
    assert step.fencing_token == 1_000


def test_a_live_lease_is_one_workers_alone() -> None:
    answer, granted = steps.begin(begun(), INTENT, 1_099)
    assert not granted
    assert (answer.state, answer.fencing_token) == (StepState.LEASED, 0), "the token is the holder's"
    with pytest.raises(StepTaken):
        steps.begin(begun(), replace(INTENT, in_doubt_token=1_000), 1_099)


def test_a_lease_that_is_over_is_doubt_until_somebody_takes_it_over() -> None:
    step = begun()
    answer, granted = steps.begin(step, INTENT, 1_100)
    assert (answer.state, granted) == (StepState.IN_DOUBT, False), "never RUN by itself"
    again, granted = steps.begin(step, replace(INTENT, in_doubt_token=answer.fencing_token), 1_100)
    assert (again.state, granted) == (StepState.RUN, True)
    assert again.fencing_token > step.fencing_token
    with pytest.raises(StepTaken):
        steps.begin(again, replace(INTENT, in_doubt_token=answer.fencing_token), 1_150)


def test_tokens_grow_while_the_clock_goes_back() -> None:
    step = begun(1_000)
    doubt = replace(INTENT, in_doubt_token=step.fencing_token)
    again, _ = steps.begin(replace(step, lease_expire_time=0), doubt, 500)
    assert again.fencing_token == 1_001


@pytest.mark.parametrize("late_us", [1_100, 5_000])
def test_a_holder_whose_lease_is_over_is_refused(late_us: int) -> None:
    step = begun()
    with pytest.raises(StepTaken):
        steps.complete(step, step.fencing_token, b"r", late_us)
    with pytest.raises(StepTaken):
        steps.fail(step, step.fencing_token, "why", False, late_us)
    with pytest.raises(StepTaken):
        steps.renew(step, step.fencing_token, 100, late_us)


def test_another_token_is_refused() -> None:
    for token in (1, 999, 1_001):
        with pytest.raises(StepTaken):
            steps.complete(begun(), token, b"r", 1_050)


def test_what_was_never_begun_is_not_found() -> None:
    with pytest.raises(NotFound):
        steps.complete(None, 1, b"", 0)


def test_completing_again_is_one_completion() -> None:
    done = steps.complete(begun(), 1_000, b"r", 1_050)
    assert steps.complete(done, 1_000, b"r", 9_999) == done
    with pytest.raises(StepTaken):
        steps.complete(done, 1_000, b"another", 1_060)
    answer, granted = steps.begin(done, INTENT, 9_999)
    assert (answer.state, answer.result, granted) == (StepState.COMPLETED, b"r", False)


def test_failed_for_good_or_free_to_run_again() -> None:
    failed = steps.fail(begun(), 1_000, "refused", False, 1_050)
    assert steps.begin(failed, INTENT, 9_999) == (failed, False)
    assert steps.fail(failed, 1_000, "refused", False, 9_999) == failed
    free = steps.fail(begun(), 1_000, "", True, 1_050)
    answer, granted = steps.begin(free, INTENT, 1_060)
    assert (answer.state, granted, answer.error_reason) == (StepState.RUN, True, "")


def test_renewing_moves_the_end_and_giving_up_is_doubt_at_once() -> None:
    renewed = steps.renew(begun(), 1_000, 500, 1_050)
    assert renewed.lease_expire_time == 1_550
    given_up = steps.renew(begun(), 1_000, 0, 1_050)
    assert steps.seen(given_up, 1_050).state is StepState.IN_DOUBT


@pytest.mark.parametrize("changed", [{"idempotency_key": "other"}, {"input_sha256": b""}])
def test_another_key_or_input_is_refused(changed: dict[str, str | bytes]) -> None:
    with pytest.raises(IdempotencyKeyReused):
        steps.begin(begun(), replace(INTENT, **changed), 1_050)  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.sampled_from(["begin", "renew", "complete", "free", "wait"]), st.integers(0, 3)), max_size=40)
)
def test_no_two_workers_ever_hold_a_live_lease_and_only_one_completes(actions: list[tuple[str, int]]) -> None:
    now, stored, tokens, completions = 1_000, None, [0, 0, 0, 0], 0
    for action, worker in actions:
        now += 150 if action == "wait" else 7
        token = tokens[worker]
        try:
            if action == "begin":
                doubt = steps.seen(stored, now).fencing_token if stored and steps.seen(stored, now) != stored else 0
                step, granted = steps.begin(stored, replace(INTENT, in_doubt_token=doubt), now)
                if granted:
                    assert step.fencing_token > max(tokens), "a new lease outranks all before"
                    tokens[worker], stored = step.fencing_token, step
            elif action == "renew":
                stored = steps.renew(stored, token, 100, now)
            elif action == "free":
                stored = steps.fail(stored, token, "", True, now)
            elif action == "complete":
                before = stored
                stored = steps.complete(stored, token, str(worker).encode(), now)
                completions += stored != before
        except (StepTaken, NotFound):
            continue
        if action in ("renew", "complete", "free"):
            assert token == max(tokens), "only the newest holder may change anything"
    assert completions <= 1
