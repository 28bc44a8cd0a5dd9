"""What procedures and steps refuse, through a daemon, wherever the rows are."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from memd_client import Client, Outcome, StepState, errors

from memd.limits import MAX_STEP_RESULT_BYTES
from tests.daemon import Daemon

LEASE = timedelta(seconds=1)
WAIT_S = 30.0


@pytest.fixture
def daemon(either_daemon: Daemon) -> Daemon:
    """Once on embedded storage, once on Postgres."""
    return either_daemon


def test_an_outcome_of_a_procedure_that_is_not_there(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as memd:
        with pytest.raises(errors.NotFound):
            memd.report_outcome("nothing", 1, Outcome.SUCCESS)
        memd.put_procedure("tea", "boil")
        with pytest.raises(errors.NotFound):
            memd.report_outcome("tea", 2, Outcome.SUCCESS)


def test_an_outcome_reported_twice_counts_once(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as memd:
        memd.put_procedure("tea", "boil")
        for _ in range(3):
            told = memd.report_outcome("tea", 1, Outcome.SUCCESS, outcome_id="monday")
        assert (told.successes, told.failures) == (1, 0)
        with pytest.raises(errors.RequestIdReused):
            memd.report_outcome("tea", 1, Outcome.FAILURE, outcome_id="monday")
        assert (memd.get_procedure("tea").successes, memd.get_procedure("tea").failures) == (1, 0)


def test_a_result_over_the_limit_is_refused_and_the_step_goes_on(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as memd:
        step = memd.begin_step("task", "one")
        with pytest.raises(errors.InvalidArgument, match="result is larger than"):
            memd.complete_step(
                "task", "one", fencing_token=step.fencing_token, result=b"x" * (MAX_STEP_RESULT_BYTES + 1)
            )
        most = b"x" * MAX_STEP_RESULT_BYTES
        memd.complete_step("task", "one", fencing_token=step.fencing_token, result=most)
        again = memd.begin_step("task", "one")
        assert (again.state, again.result) == (StepState.COMPLETED, most)


def test_a_step_completed_by_someone_whose_lease_is_over(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as memd:
        late = memd.begin_step("task", "one", lease=LEASE)
        deadline_s = time.monotonic() + WAIT_S
        while (doubt := memd.begin_step("task", "one", lease=LEASE)).state is not StepState.IN_DOUBT:
            assert time.monotonic() < deadline_s, "the lease is never over"
            time.sleep(0.05)
        with pytest.raises(errors.StepTaken):
            memd.complete_step("task", "one", fencing_token=late.fencing_token, result=b"late")
        taken = memd.begin_step("task", "one", in_doubt_token=doubt.fencing_token)
        assert taken.state is StepState.RUN
        assert taken.fencing_token > late.fencing_token
        with pytest.raises(errors.StepTaken):
            memd.complete_step("task", "one", fencing_token=late.fencing_token, result=b"late")
        memd.complete_step("task", "one", fencing_token=taken.fencing_token, result=b"in time")
        assert memd.begin_step("task", "one").result == b"in time"
