"""Sidecars on one database; each call of ``open_sidecar`` is another pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.databases import borrow, give_back
from tests.replica.sidecar import Sidecar
from tests.servers.postgres import Launcher

OpenSidecar = Callable[..., Awaitable[Sidecar]]


@pytest.fixture
async def database_url(postgres18: Launcher) -> AsyncIterator[str]:
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await borrow(server)
    yield server.url(name)
    await give_back(server, name)


@pytest.fixture
async def open_at(tmp_path: Path) -> AsyncIterator[OpenSidecar]:
    """``await open_at(url, name, ...)``: the pod ``name`` keeps its data from one time to the next."""
    opened: list[Sidecar] = []

    async def make(url: str, name: str, **options: Any) -> Sidecar:
        sidecar = await Sidecar.open(url, tmp_path / name, **options)
        opened.append(sidecar)
        return sidecar

    yield make
    for sidecar in opened:
        await sidecar.close()


@pytest.fixture
def open_sidecar(database_url: str, open_at: OpenSidecar) -> OpenSidecar:
    """As ``open_at``, on the test's database."""

    async def make(name: str, **options: Any) -> Sidecar:
        return await open_at(database_url, name, **options)

    return make
