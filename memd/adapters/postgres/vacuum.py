"""VACUUM after a Forget, behind its reply: the server may then use the space of what was deleted for something else."""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from memd.adapters.postgres.connection import Connections
from memd.adapters.postgres.detached import Detached
from memd.adapters.postgres.errors import CONNECTION_ERRORS
from memd.domain.errors import MemdError
from memd.limits import MAX_BULK_DEADLINE_S

_GATHER_S = 0.2
"""Forgets of as much time share one VACUUM."""
_log = logging.getLogger(__name__)


class Vacuum:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._detached = Detached()
        self._wanted: set[str] = set()
        self._running = False
        self.failed = 0
        """How often it could not be done; autovacuum does it in its own time."""

    def ask(self, tables: set[str]) -> None:
        self._wanted |= tables
        if not self._running:
            self._running = True
            self._detached.start(self._run())

    async def _run(self) -> None:
        try:
            while self._wanted:
                await asyncio.sleep(_GATHER_S)
                tables, self._wanted = sorted(self._wanted), set()
                await self._vacuum(tables)
        finally:
            self._running = False

    async def _vacuum(self, tables: list[str]) -> None:
        names = ", ".join(f"memd.{table}" for table in tables)
        try:
            async with self._connections.own() as connection:
                await connection.execute(f"VACUUM (SKIP_LOCKED) {names}", timeout=MAX_BULK_DEADLINE_S)
        except (MemdError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            self.failed += 1
            _log.warning("a VACUUM after a Forget failed: %s", type(error).__name__)

    async def close(self) -> None:
        await self._detached.join()
