"""A connection for questions that come many times a second, each one statement over all namespaces: as ``memd_keeper`` all
the time, so that a question is one round trip and no transaction has to be begun for it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from memd.adapters.postgres.connection import Connections, close_quietly, connect
from memd.adapters.postgres.errors import CONNECTION_ERRORS, is_lost
from memd.adapters.postgres.schema import KEEPER
from memd.domain.errors import ShuttingDown
from memd.limits import POSTGRES_STATEMENT_CACHE


class Lookout:
    """One question at a time; opened by the first one, and again when it was lost. Not for use behind a pooler, where a
    session is nobody's own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._closed = False

    async def rows(self, sql: str, *bindings: Any) -> list[asyncpg.Record]:
        """Asked once more when the connection turns out to be gone: nobody may have noticed yet. Raises asyncpg's errors,
        TimeoutError when those before it take too long."""
        async with asyncio.timeout(self._connections.settings.timeout_s):
            await self._turn.acquire()
        try:
            try:
                return await self._ask(sql, bindings)
            except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
                if not is_lost(error) or isinstance(error, TimeoutError):
                    raise
            return await self._ask(sql, bindings)
        finally:
            self._turn.release()

    async def _ask(self, sql: str, bindings: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await self._open()
        try:
            return list(await connection.fetch(sql, *bindings))
        except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            if is_lost(error):
                self._connection = None
                connection.terminate()
            raise

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._closed:
            raise ShuttingDown("the stores are closed")
        if self._connection is None or self._connection.is_closed():
            settings = self._connections.settings
            session = {
                "default_transaction_read_only": "on",
                "statement_timeout": str(int(settings.timeout_s * 1e3)),
                # the same few statements for ever, whose plans do not depend on what is asked for
                "plan_cache_mode": "force_generic_plan",
                "jit": "off",
            }
            connection = await connect(settings, cache=POSTGRES_STATEMENT_CACHE, session=session)
            try:
                # not as it connects: a standby that is asked first may not have heard of the role yet
                await connection.execute(f"SET ROLE {KEEPER}")
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def close(self) -> None:
        """Closing again does nothing."""
        self._closed = True
        async with self._turn:
            connection, self._connection = self._connection, None
        if connection is not None:
            await close_quietly(connection)
