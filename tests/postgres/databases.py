"""Databases of memd on a test's server, quickly: one is made the real way, lent, emptied and lent again.

CREATE DATABASE takes a quarter of a second, which would be most of the time of a test; emptying takes a hundredth.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from memd.adapters.postgres import PostgresSettings, PostgresStores
from tests.contract.builders import MODEL
from tests.servers.postgres import Postgres

_free: defaultdict[int, list[str]] = defaultdict(list)
"""Empty databases of each server, by port."""
# Deleting from few rows is much quicker than TRUNCATE, which makes new files for every table and index.
_EMPTY = (
    "DO $$ DECLARE name text; BEGIN FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relname <> 'meta'"
    " AND relnamespace = 'memd'::regnamespace LOOP EXECUTE format('DELETE FROM memd.%I', name); END LOOP; END $$"
)


async def made_database(server: Postgres) -> str:
    """The name of a database that holds the newest schema, frozen to MODEL, and nothing else."""
    if not _free[server.port]:
        name = await asyncio.to_thread(server.create_database)
        stores = await PostgresStores.open(PostgresSettings(server.url(name)), model=MODEL)
        await stores.close()
        return name
    return _free[server.port].pop()


async def give_back(server: Postgres, name: str) -> None:
    """Empty it for the next test. Nobody may be using it."""
    await asyncio.to_thread(server.send, _EMPTY, database=name)
    _free[server.port].append(name)
