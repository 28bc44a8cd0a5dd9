"""Databases of memd on a test's server, quickly: copies of one that was made the real way."""

from __future__ import annotations

import asyncio

from memd.adapters.postgres import PostgresSettings, PostgresStores
from tests.contract.builders import MODEL
from tests.servers.postgres import Postgres

_made: dict[int, str] = {}
"""The template of each server, by port."""


async def made_database(server: Postgres) -> str:
    """The name of a new database that holds the newest schema and nothing else."""
    if server.port not in _made:
        template = await asyncio.to_thread(server.create_database)
        stores = await PostgresStores.open(PostgresSettings(server.url(template)), model=MODEL)
        await stores.close()
        _made[server.port] = template
    return await asyncio.to_thread(server.create_database, _made[server.port])
