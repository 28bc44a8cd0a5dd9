"""The compact job: a file much of which is free gets shorter, in steps that no writer notices.

A part stays free for the next rows: taking all of it would only make the file longer again. Postgres does this by itself
(autovacuum), and Redis has no file of rows: what is compacted is the local SQLite file, be it the truth or a replica.
"""

from __future__ import annotations

import asyncio

from memd.limits import (
    COMPACT_LEFT,
    COMPACT_MIN_BYTES,
    COMPACT_PAUSE_S,
    COMPACT_SHARE,
    COMPACT_STEP_BYTES,
    COMPACT_STEPS,
)
from memd.ports import Compaction, Space
from memd.service.jobs import Ran

JOB = "compact"


class Compactor:
    def __init__(self, file: Compaction) -> None:
        self._file = file
        self._begun = False
        """Over COMPACT_SHARE it begins, and goes on through several runs until COMPACT_LEFT."""

    async def run_once(self) -> Ran:
        """At most COMPACT_STEPS steps. ``examined`` counts the bytes there were to give back, ``changed`` those that were."""
        due = await self.due()
        self._begun = due > 0
        given = 0
        for _ in range(COMPACT_STEPS):
            if given >= due:
                break
            given += await self._file.give_back(min(COMPACT_STEP_BYTES, due - given))
            await asyncio.sleep(COMPACT_PAUSE_S)
        self._begun = self._begun and given < due
        return Ran(max(due, given), given)

    async def due(self) -> int:
        """Bytes a run, or several, would give back."""
        space = await self._file.space()
        if not self._begun and not _worth_it(space):
            return 0
        return max(0, space.free_bytes - int(COMPACT_LEFT * space.bytes))


def _worth_it(space: Space) -> bool:
    return space.free_bytes >= COMPACT_MIN_BYTES and space.free_bytes >= COMPACT_SHARE * space.bytes
