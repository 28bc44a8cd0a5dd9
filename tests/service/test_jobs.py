"""Regular runs of a job: they go on while there is more to do, and what is told of them is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from memd.domain.errors import StoreBusy
from memd.domain.model import Scope
from memd.limits import DAY_US, SWEEP_ROWS
from memd.service import lifecycle
from memd.service.jobs import Job, JobBoard, Ran
from tests.service.conftest import House, SettableClock
from tests.service.writing import say


def board(steps: Iterator[Ran | Exception], again_s: float | None = 0.0) -> tuple[JobBoard, Job]:
    async def step() -> Ran:
        ran = next(steps)
        if isinstance(ran, Exception):
            raise ran
        return ran

    job = Job("digest", 1.0, step, again_s=again_s)
    return JobBoard(SettableClock(), [job]), job


async def test_steps_follow_each_other_while_there_is_more() -> None:
    steps = iter([Ran(64, 64, more=True), Ran(64, 64, more=True), Ran(9, 7), Ran(2, 2)])
    jobs, job = board(steps)
    await jobs.regular(job)
    (report,) = jobs.known
    assert (report.runs, report.done, report.waiting) == (3, 135, 2)
    assert report.next_us is not None
    assert report.spent_us >= report.last_duration_us
    assert next(steps) == Ran(2, 2), "the next one's"


async def test_a_job_that_is_not_to_go_on_does_not() -> None:
    jobs, job = board(iter([Ran(64, 64, more=True)]), again_s=None)
    await jobs.regular(job)
    assert jobs.known[0].runs == 1


async def test_an_error_ends_them_and_is_told_by_its_reason() -> None:
    jobs, job = board(iter([Ran(64, 64, more=True), StoreBusy("secret words"), Ran(0, 0)]))
    with pytest.raises(StoreBusy):
        await jobs.regular(job)
    (report,) = jobs.known
    assert (report.runs, report.failures, report.done) == (2, 1, 64)
    assert report.last_error == StoreBusy("").reason
    assert report.next_us is not None
    await jobs.regular(job)
    assert (jobs.known[0].failures, jobs.known[0].last_error) == (1, "")


async def test_while_it_runs_nobody_says_when_it_runs_next() -> None:
    end = asyncio.Event()

    async def step() -> Ran:
        await end.wait()
        return Ran(0, 0)

    job = Job("sweep", 1.0, step)
    jobs = JobBoard(SettableClock(), [job])
    running = asyncio.ensure_future(jobs.regular(job))
    await asyncio.sleep(0)
    assert jobs.known[0].next_us is None
    end.set()
    await running
    assert jobs.known[0].next_us is not None


async def test_what_expires_faster_than_a_sweep_takes_is_swept_on(house: House) -> None:
    sessions, events = 10, SWEEP_ROWS // 9
    for n in range(sessions):
        await say(house, *[f"event {k}" for k in range(events)], scope=Scope("ns", "ada", "", f"s{n}"))
    house.clock.advance(3 * DAY_US)
    job = lifecycle.sweep(house.sweeper)
    jobs = JobBoard(house.clock, [replace(job, again_s=0.0)])
    await jobs.regular(jobs.jobs["sweep"])
    assert jobs.known[0].runs == 2
    assert jobs.known[0].done >= sessions * (events + 1)
