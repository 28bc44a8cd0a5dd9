"""A sweep takes what it was allowed, whatever plan the server finds for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from tests.contract.builders import MODEL, POLICY, SESSION, event
from tests.contract.conftest import ManualClock
from tests.postgres.databases import borrow, give_back
from tests.servers.postgres import Launcher

BOUND = 5
ONLY_NESTED_LOOPS = ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize")
"""Without these the planner asks a subquery again for every row of the other side."""


@pytest.fixture
async def loops(postgres_launcher: Launcher) -> AsyncIterator[tuple[PostgresStores, ManualClock]]:
    server = await asyncio.to_thread(lambda: postgres_launcher.shared)
    name, clock = await borrow(server), ManualClock()
    for method in ONLY_NESTED_LOOPS:
        await asyncio.to_thread(server.send, f'ALTER DATABASE "{name}" SET enable_{method} = off')
    stores = await PostgresStores.open(PostgresSettings(server.url(name)), model=MODEL, clock=clock)
    yield stores, clock
    await stores.close()
    await asyncio.to_thread(server.send, f'ALTER DATABASE "{name}" RESET ALL')
    await give_back(server, name)


async def test_of_sessions(loops: tuple[PostgresStores, ManualClock]) -> None:
    stores, clock = loops
    for i in range(4):
        scope = replace(SESSION, session_id=f"s{i}")
        await stores.sessions.append(scope, [event(c) for c in "abc"], POLICY, None)
    clock.advance(POLICY.ttl_us)
    swept = []
    while n := await stores.sessions.sweep(BOUND):
        swept.append(n)
    assert sum(swept) == 4 * 3 + 4
    assert max(swept) <= 2 * BOUND


async def test_of_checkpoints(loops: tuple[PostgresStores, ManualClock]) -> None:
    stores, clock = loops
    for task in "abcd":
        for version in range(3):
            await stores.tasks.save("n", task, b"x", expected_version=version, ttl_us=1_000_000, keep=9, request=None)
    clock.advance(1_000_000)
    swept = []
    while n := await stores.tasks.sweep(BOUND):
        swept.append(n)
    assert sum(swept) == 4 * 3
    assert max(swept) <= BOUND
