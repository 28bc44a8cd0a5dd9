"""Background jobs, and what is known of them since the start: when each ran, what it did, what it left, how it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from memd.domain.errors import MemdError, Unavailable
from memd.domain.jobs import JobReport
from memd.domain.model import NamespaceSettings
from memd.limits import SECOND_US
from memd.ports import Clock


@dataclass(frozen=True, slots=True)
class Ran:
    """``examined``: sessions that were due and rows that were to go; ``changed``: those of them that were gone on in;
    ``ids``: the first of what a dry run found, where it names them. ``more``: the step came to its bound, not to the end."""

    examined: int
    changed: int
    ids: tuple[str, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Settings of a dry run: what ``changes`` sets, and what is named in ``reset`` unset."""

    changes: NamespaceSettings = field(default=NamespaceSettings())
    reset: frozenset[str] = frozenset()


Step: TypeAlias = Callable[[], Awaitable[Ran]]
"""One bounded step, over all namespaces."""
DryRun: TypeAlias = Callable[[str, WhatIf], Awaitable[Ran]]
"""What a step would do, in a namespace where the job tells them apart."""


@dataclass(frozen=True, slots=True)
class Job:
    """``waiting``: how much is to be done, up to a bound, where that can be told without a step. ``refusal``: why it is not
    run here, or "". ``again_s``: after a step that left more to do the next one comes so soon; None: as always."""

    name: str
    period_s: float
    step: Step
    dry_run: DryRun | None = None
    waiting: Callable[[], Awaitable[int]] | None = None
    refusal: str = ""
    again_s: float | None = None


class JobBoard:
    """On the event loop alone."""

    def __init__(self, clock: Clock, jobs: Sequence[Job]) -> None:
        """``jobs``: in the order in which they are run together. Those that are refused are not told of."""
        self._clock = clock
        self.jobs = {job.name: job for job in jobs}
        self._reports = {job.name: JobReport(job.name) for job in jobs if not job.refusal}

    @property
    def known(self) -> tuple[JobReport, ...]:
        """What the runs left, as they told; on any thread."""
        return tuple(self._reports.copy().values())

    async def reports(self) -> tuple[JobReport, ...]:
        """What is to be done now, where that can be told."""
        return tuple([await self._report(name) for name in self._reports])

    async def _report(self, name: str) -> JobReport:
        waiting = self.jobs[name].waiting
        if waiting is None:
            return self._reports[name]
        try:
            count = await waiting()
        except Unavailable:  # the store is away: how the others are doing can be told all the same
            count = 0
        return replace(self._reports[name], waiting=count)

    async def regular(self, job: Job) -> None:
        """Steps until one leaves nothing to do; to be taken again ``period_s`` after its end."""
        self._reports[job.name] = replace(self._reports[job.name], next_us=None)
        try:
            while True:
                ran = await self.step(job)
                if not ran.more or job.again_s is None:
                    break
                await asyncio.sleep(job.again_s)
        finally:
            next_us = self._clock.now_us() + int(job.period_s * SECOND_US)
            self._reports[job.name] = replace(self._reports[job.name], next_us=next_us)

    async def step(self, job: Job) -> Ran:
        """A step; what comes of it is taken down, and what it raises is raised."""
        with _Run(self._clock) as run:
            run.ran = await job.step()
        self._reports[job.name] = run.added_to(self._reports[job.name])
        if run.error is not None:
            raise run.error
        assert run.ran is not None
        return run.ran


class _Run:
    """One run of a job, as a context manager that keeps the error. A cancelled run counts as none, and goes on up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_us, self._start_s = clock.now_us(), clock.monotonic_s()
        self._duration_us = 0
        self.ran: Ran | None = None
        self.error: Exception | None = None

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        self._duration_us = int((self._clock.monotonic_s() - self._start_s) * SECOND_US)
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None

    def added_to(self, known: JobReport) -> JobReport:
        spent_us = known.spent_us + self._duration_us
        known = replace(known, runs=known.runs + 1, spent_us=spent_us)
        known = replace(known, last_us=self._start_us, last_duration_us=self._duration_us)
        if self.ran is None:
            return replace(known, failures=known.failures + 1, last_error=_reason(self.error))
        waiting = self.ran.examined - self.ran.changed
        return replace(known, done=known.done + self.ran.changed, waiting=waiting, last_error="")


def _reason(error: Exception | None) -> str:
    return error.reason if isinstance(error, MemdError) else type(error).__name__
