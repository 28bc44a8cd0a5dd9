"""Sidecars on one database; each call of ``open_sidecar`` is another pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ManualClock
from tests.postgres.databases import borrow, give_back
from tests.replica.pod import Pod
from tests.replica.sidecar import Sidecar
from tests.servers.postgres import Launcher
from tests.servers.redis import RedisServer, find

OpenSidecar = Callable[..., Awaitable[Sidecar]]
OpenPod = Callable[..., Awaitable[Pod]]


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


@pytest.fixture
def redis_server(redis_servers: Callable[[str], RedisServer]) -> RedisServer:
    """An empty one."""
    server = redis_servers("valkey" if find("valkey") else "redis")
    server.send("FLUSHALL")
    return server


@pytest.fixture
async def open_pod(database_url: str, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[OpenPod]:
    """``await open_pod(name, clock, ...)``: a pod on the test's servers; what is still open is closed at the end."""
    opened: list[Pod] = []

    async def make(name: str, clock: ManualClock, **options: Any) -> Pod:
        opened.append(await Pod.open(database_url, redis_server.url, tmp_path / name, clock, name, **options))
        return opened[-1]

    yield make
    for pod in opened:
        await pod.close()
