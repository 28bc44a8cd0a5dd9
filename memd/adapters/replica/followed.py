"""One namespace of the replica: how far it is, how far it should be, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from memd.ports import Head


@dataclass(slots=True, eq=False)
class Followed:
    namespace: str
    applied: Head | None
    """How far the rows here are; None: not all of them are here."""
    fresh_s: float
    """Everything that was committed before this monotonic time is here."""
    owed: int = 0
    """The newest change this daemon answered for."""
    wanted: int = 0
    """Somebody waits for this change."""
    goal: int = 0
    goal_asked_s: float = float("-inf")
    """At this time ``goal`` was the newest change there was."""
    hinted: bool = False
    flight: asyncio.Future[None] | None = None

    def has(self, seq: int) -> bool:
        """Whether the rows here are at ``seq`` and at what this daemon wrote."""
        return self.applied is not None and self.applied.seq >= max(seq, self.owed)

    def arrived(self, head: Head) -> None:
        self.applied = head
        if head.seq >= self.goal:
            self.fresh_s = max(self.fresh_s, self.goal_asked_s)
