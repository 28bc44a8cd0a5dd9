"""What time does to the stock: expired rows go, a bounded number at a time. Its jobs can be run by hand as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from memd.domain.errors import InvalidArgument, WrongState
from memd.domain.jobs import JobReport
from memd.domain.retention import policy_of
from memd.limits import (
    CHECKPOINTS_INTERVAL_S,
    COMPACT_INTERVAL_S,
    DIGEST_AGAIN_S,
    DIGEST_INTERVAL_S,
    MERGE_INTERVAL_S,
    PROMOTE_AGAIN_S,
    PROMOTE_INTERVAL_S,
    RETENTION_INTERVAL_S,
    RETENTION_SAMPLE,
    SWEEP_AGAIN_S,
    SWEEP_INTERVAL_S,
    SWEEP_ROWS,
)
from memd.ports import MemoryStore, SessionStore, SettingsStore, StepLedger, TaskStore
from memd.service.admin import merged
from memd.service.compaction import Compactor
from memd.service.consolidation import Consolidator
from memd.service.jobs import Job, JobBoard, Ran, WhatIf
from memd.service.merging import JOB as MERGE
from memd.service.merging import NearDuplicates
from memd.service.pruning import CheckpointPruner
from memd.service.retention import RetentionService


class ExpirySweeper:
    """Expired rows are invisible at once; this gives their bytes back. Run it every half minute."""

    def __init__(
        self,
        sessions: SessionStore,
        memories: MemoryStore,
        tasks: TaskStore,
        steps: StepLedger,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``before`` comes first in every run and must not raise: what is made of expired sessions before they go."""
        self._stores = (sessions, memories, tasks, steps)
        self._before = before

    async def run_once(self) -> int:
        """Sweep every store once, at most SWEEP_ROWS rows each; how many went. More are there while it is not 0."""
        if self._before is not None:
            await self._before()
        return sum([await store.sweep(SWEEP_ROWS) for store in self._stores])


class LifecycleService:
    """One bounded step of a job, now, beside the regular ones. Jobs go over all namespaces."""

    def __init__(self, board: JobBoard) -> None:
        self._board = board

    async def reports(self) -> tuple[JobReport, ...]:
        """Of the jobs that are run here."""
        return await self._board.reports()

    async def run(self, name: str, *, dry_run: bool, namespace: str = "", what_if: WhatIf | None = None) -> Ran:
        """A step of a job, of all there are when "". InvalidArgument for another name and for one without a dry run,
        WrongState for a job that is not run here. ``namespace`` and ``what_if`` are the dry run's."""
        jobs = self._board.jobs
        if name not in ("", *jobs):
            raise InvalidArgument(f"job must be one of {', '.join(jobs)}, or empty for all", field="job")
        if what_if is not None and not (dry_run and name == "retention"):
            raise InvalidArgument("settings go with a dry run of retention", field="settings")
        if dry_run:
            return await self._dry_run(name, namespace, what_if or WhatIf())
        if name:
            return await self._step(_here(jobs[name]))
        ran = [await self._step(job) for job in jobs.values() if not job.refusal]
        return Ran(sum(one.examined for one in ran), sum(one.changed for one in ran))

    async def _step(self, job: Job) -> Ran:
        due = 0 if job.waiting is None else await job.waiting()
        ran = await self._board.step(job)
        return Ran(max(due, ran.examined), ran.changed)

    async def _dry_run(self, name: str, namespace: str, what_if: WhatIf) -> Ran:
        known = [job.name for job in self._board.jobs.values() if job.dry_run is not None]
        if name not in known:
            raise InvalidArgument(f"only {', '.join(known)} have a dry run: name one of them", field="dry_run")
        dry_run = _here(self._board.jobs[name]).dry_run
        assert dry_run is not None
        return await dry_run(namespace, what_if)


def _here(job: Job) -> Job:
    if job.refusal:
        raise WrongState(job.refusal)
    return job


# -- the jobs


def consolidation(consolidator: Consolidator | None) -> tuple[Job, ...]:
    """``consolidator`` None: consolidation is switched off."""
    if consolidator is None:
        return tuple(_switched_off(name) for name in ("promote", "digest"))
    steps = (
        ("promote", PROMOTE_INTERVAL_S, PROMOTE_AGAIN_S, consolidator.promote_once),
        ("digest", DIGEST_INTERVAL_S, DIGEST_AGAIN_S, consolidator.digest_once),
    )
    return tuple(_consolidation(consolidator, *one) for one in steps)


def _consolidation(
    consolidator: Consolidator, name: str, period_s: float, again_s: float, step: Callable[[], Awaitable[int]]
) -> Job:
    async def run() -> Ran:
        done = await step()
        return Ran(done, done, more=consolidator.more(name))

    async def due() -> int:
        return await consolidator.waiting(name)

    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        return Ran(await due(), 0)

    return Job(name, period_s, run, dry_run, due, again_s=again_s)


def _switched_off(name: str) -> Job:
    async def nothing() -> Ran:
        return Ran(0, 0)

    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        return await nothing()

    return Job(name, 0.0, nothing, dry_run, refusal=f"{name} is switched off (consolidation.enabled)")


def merge(duplicates: NearDuplicates | None) -> Job:
    """None: consolidation is switched off."""
    if duplicates is None:
        return _switched_off(MERGE)

    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        return await duplicates.due(namespace)

    return Job(MERGE, MERGE_INTERVAL_S, duplicates.run_once, dry_run)


def sweep(sweeper: ExpirySweeper) -> Job:
    async def run() -> Ran:
        swept = await sweeper.run_once()
        return Ran(swept, swept, more=swept >= SWEEP_ROWS)

    return Job("sweep", SWEEP_INTERVAL_S, run, again_s=SWEEP_AGAIN_S)


def checkpoints(pruner: CheckpointPruner) -> Job:
    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        return Ran(await pruner.due(), 0)

    return Job("checkpoints", CHECKPOINTS_INTERVAL_S, pruner.run_once, dry_run)


def compact(compactor: Compactor) -> Job:
    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        return Ran(await compactor.due(), 0)

    return Job("compact", COMPACT_INTERVAL_S, compactor.run_once, dry_run)


def retention(service: RetentionService, settings: SettingsStore) -> Job:
    async def dry_run(namespace: str, what_if: WhatIf) -> Ran:
        wanted = merged(await settings.settings(namespace), what_if.changes, what_if.reset)
        return await service.due(namespace, policy_of(wanted), RETENTION_SAMPLE)

    return Job("retention", RETENTION_INTERVAL_S, service.run_once, dry_run)
