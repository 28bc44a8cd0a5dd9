"""A Postgres that can be lost, with a standby that has everything it acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.postgres.cutting import Cutter
from tests.servers.postgres import Launcher, Postgres


class Pair:
    """A primary, and a synchronous standby; ``line`` leads to who is primary."""

    def __init__(self, launcher: Launcher, line: Cutter, primary: Postgres, standby: Postgres) -> None:
        self._launcher = launcher
        self.line = line
        self.primary = primary
        self.standby = standby

    @classmethod
    @asynccontextmanager
    async def start(cls, launcher: Launcher) -> AsyncIterator[Pair]:
        primary = await asyncio.to_thread(launcher.server)
        standby = await asyncio.to_thread(launcher.standby, primary, synchronous=True)
        async with Cutter(primary.url()) as line:
            pair = cls(launcher, line, primary, standby)
            yield pair
        for server in (pair.primary, pair.standby):
            await asyncio.to_thread(server.kill)

    async def fail_over(self) -> None:
        """The primary is lost, its standby takes over and gets a standby of its own."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.standby.promote)
        self.primary = self.standby
        self.line.lead_to(self.primary.url())
        self.standby = await asyncio.to_thread(self._launcher.standby, self.primary, synchronous=True)
