"""Databases of memd on a test's server, quickly: one that was used before is emptied and used again."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from memd.adapters.postgres import PostgresSettings, PostgresStores
from tests.contract.builders import MODEL
from tests.servers.postgres import Postgres

_free: dict[int, list[str]] = defaultdict(list)
"""By the port of their server."""
_EMPTY = (
    "DO $$ DECLARE name text; BEGIN FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'memd'"
    " AND tablename <> 'meta' LOOP EXECUTE format('DELETE FROM memd.%I', name); END LOOP; END $$"
)


async def borrow(server: Postgres) -> str:
    """The name of a database with the newest schema and no rows."""
    if _free[server.port]:
        return _free[server.port].pop()
    name = await asyncio.to_thread(server.create_database)
    stores = await PostgresStores.open(PostgresSettings(server.url(name)), model=MODEL)
    await stores.close()
    return name


async def give_back(server: Postgres, name: str) -> None:
    """Nobody is connected to it any more, and its schema and model are as they were."""
    await asyncio.to_thread(server.send, _EMPTY, database=name)
    _free[server.port].append(name)
