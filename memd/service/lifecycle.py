"""What time does to the stock: expired rows go, a bounded number at a time. Its jobs can be run by hand as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from memd.domain.errors import InvalidArgument, WrongState
from memd.limits import SWEEP_ROWS
from memd.ports import MemoryStore, SessionStore, StepLedger, TaskStore
from memd.service.consolidation import Consolidator

JOBS = ("promote", "digest", "sweep")
"""In the order in which they are run together: nothing goes before it was consolidated."""


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


@dataclass(frozen=True, slots=True)
class Ran:
    """``examined``: sessions that were due and rows that went; ``changed``: those of them that were gone on in."""

    examined: int
    changed: int


class LifecycleService:
    """One bounded step of a job, now, beside the regular ones. Jobs go over all namespaces."""

    def __init__(self, sweeper: ExpirySweeper, consolidator: Consolidator | None) -> None:
        """``consolidator`` None: consolidation is switched off."""
        self._sweeper = sweeper
        self._consolidator = consolidator

    async def run(self, job: str, *, dry_run: bool) -> Ran:
        """A step of ``job``, of all there are when "". InvalidArgument for another name and for a dry run of the sweep,
        WrongState for a job that is switched off."""
        if job not in ("", *JOBS):
            raise InvalidArgument(f"job must be one of {', '.join(JOBS)}, or empty for all", field="job")
        if dry_run and job in ("", "sweep"):
            raise InvalidArgument("only promote and digest have a dry run: name one of them", field="dry_run")
        if self._consolidator is None and job in ("promote", "digest"):
            raise WrongState(f"{job} is switched off (consolidation.enabled)")
        ran = [await self._run(name, dry_run) for name in ([job] if job else JOBS)]
        return Ran(sum(one.examined for one in ran), sum(one.changed for one in ran))

    async def _run(self, job: str, dry_run: bool) -> Ran:
        if job == "sweep":
            went = await self._sweeper.run_once()
            return Ran(went, went)
        if self._consolidator is None:
            return Ran(0, 0)
        due = len((await self._consolidator.due(job)).sessions)
        if dry_run:
            return Ran(due, 0)
        step = self._consolidator.promote_once if job == "promote" else self._consolidator.digest_once
        changed = await step()
        return Ran(max(due, changed), changed)
