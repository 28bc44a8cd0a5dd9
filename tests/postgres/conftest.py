"""Daemons' stores on one database: each call of ``open_stores`` is another daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from tests.contract.builders import MODEL
from tests.postgres.databases import borrow, give_back
from tests.servers.postgres import Launcher

OpenStores = Callable[..., Awaitable[PostgresStores]]


@pytest.fixture
async def database_url(postgres_launcher: Launcher) -> AsyncIterator[str]:
    """A database with the newest schema, on each version of Postgres."""
    server = await asyncio.to_thread(lambda: postgres_launcher.shared)
    name = await borrow(server)
    yield server.url(name)
    await give_back(server, name)


@pytest.fixture
async def open_at() -> AsyncIterator[OpenStores]:
    """``await open_at(url, pool=..., model=..., clock=...)``: stores that are closed at the end."""
    opened: list[PostgresStores] = []

    async def make(url: str, **options: Any) -> PostgresStores:
        given = {name: options.pop(name) for name in ("pool", "timeout_s", "connect_timeout_s") if name in options}
        stores = await PostgresStores.open(PostgresSettings(url, **given), **{"model": MODEL, **options})
        opened.append(stores)
        return stores

    yield make
    for stores in opened:
        await stores.close()


@pytest.fixture
def open_stores(database_url: str, open_at: OpenStores) -> OpenStores:
    """As ``open_at``, on the test's database."""

    async def make(**options: Any) -> PostgresStores:
        return await open_at(database_url, **options)

    return make
