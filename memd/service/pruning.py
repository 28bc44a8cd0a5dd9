"""The checkpoints job: versions beyond what a namespace keeps of a checkpoint go.

Every save takes those of its own task; this is for tasks that nobody saved since a namespace was told to keep fewer. Steps
are not its: a task's ledger goes as a whole, by its TTL, in the sweep.
"""

from __future__ import annotations

from memd.limits import CHECKPOINT_PAGES, CHECKPOINT_TASKS, CHECKPOINTS_LEASE_US
from memd.ports import Leases, SettingsStore, TaskStore
from memd.service.jobs import Ran

JOB = "checkpoints"
_EVERYWHERE = ""
"""Namespace of the lease: one daemon does all of them."""


class CheckpointPruner:
    def __init__(self, tasks: TaskStore, settings: SettingsStore, history: int, leases: Leases, holder: str) -> None:
        """``history``: kept versions where a namespace has not said otherwise."""
        self._tasks = tasks
        self._settings = settings
        self._history = history
        self._leases = leases
        self._holder = holder
        self._cursor = ""

    async def run_once(self) -> Ran:
        """Go on with the walk over all tasks, for at most CHECKPOINT_PAGES pages and to its end."""
        if await self._leases.claim(_EVERYWHERE, JOB, self._holder, CHECKPOINTS_LEASE_US) is None:
            return Ran(0, 0)
        gone = 0
        for _ in range(CHECKPOINT_PAGES):
            gone += await self._page(delete=True)
            if not self._cursor:
                break
        return Ran(gone, gone)

    async def due(self) -> int:
        """How many versions the next page of the walk has too many."""
        cursor = self._cursor
        try:
            return await self._page(delete=False)
        finally:
            self._cursor = cursor

    async def _page(self, *, delete: bool) -> int:
        page = await self._tasks.histories(size=CHECKPOINT_TASKS, cursor=self._cursor)
        self._cursor = page.next_cursor
        kept = {name: await self._kept(name) for name in {one.namespace for one in page.items}}
        excess = 0
        for one in page.items:
            keep = kept[one.namespace]
            if one.versions > keep:
                excess += await self._tasks.prune(one.namespace, one.task_id, keep) if delete else one.versions - keep
        return excess

    async def _kept(self, namespace: str) -> int:
        return (await self._settings.settings(namespace)).checkpoint_history or self._history
