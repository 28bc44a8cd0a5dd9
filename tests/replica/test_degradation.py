"""Postgres gone: reads go on for a while and say how old they are, writes say so, and all comes back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from memd.adapters.replica.follower import BEHIND
from memd.domain.errors import ReplicaStale, Unavailable
from memd.limits import REPLICA_WAIT_S
from tests.postgres.databases import borrow
from tests.replica.conftest import OpenSidecar
from tests.replica.sidecar import MAX_STALE_S
from tests.servers.postgres import UNSAFE, Launcher, Postgres

N = "n"


class JumpingClock:
    """The machine's clocks, and a jump."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_us(self) -> int:
        return time.time_ns() // 1_000 + int(self.ahead_s * 1e6)

    def monotonic_s(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def server(postgres18: Launcher) -> Iterator[Postgres]:
    """One to break."""
    made = postgres18.server(UNSAFE)
    yield made
    made.kill()


async def test_reads_go_on_until_max_stale_and_come_back(server: Postgres, open_at: OpenSidecar) -> None:
    clock = JumpingClock()
    url = server.url(await borrow(server))
    a = await open_at(url, "a", clock=clock, timeout_s=1.0, connect_timeout_s=1.0)
    await a.remember(N, "m")
    assert not (await a.follower.follow(N, 0, 0.0)).reason
    await asyncio.to_thread(server.stop)
    await a.poll()
    clock.ahead_s += MAX_STALE_S / 2
    found = await a.follower.follow(N, 0, REPLICA_WAIT_S)
    assert found.reason == BEHIND
    assert found.staleness_us >= MAX_STALE_S / 2 * 1e6
    assert a.found(N)[0] == {"m"}
    with pytest.raises(Unavailable):
        await a.remember(N, "lost")
    clock.ahead_s += MAX_STALE_S
    with pytest.raises(ReplicaStale):
        await a.follower.follow(N, 0, REPLICA_WAIT_S)
    with pytest.raises(ReplicaStale):
        await a.follower.follow("never seen", 0, REPLICA_WAIT_S)
    await asyncio.to_thread(server.start)
    await a.poll()
    assert not (await a.follower.follow(N, 0, REPLICA_WAIT_S)).reason
    await a.remember(N, "again")
    assert a.found(N)[0] == {"m", "again"}


async def test_a_restart_knows_how_old_the_replica_is(server: Postgres, open_at: OpenSidecar) -> None:
    clock = JumpingClock()
    url = server.url(await borrow(server))
    a = await open_at(url, "a", clock=clock, timeout_s=1.0, connect_timeout_s=1.0)
    await a.remember(N, "m")
    await a.poll()
    before_us = await a.local.replica.current_us()
    assert 0 <= clock.now_us() - before_us < 60_000_000
