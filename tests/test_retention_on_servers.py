"""Retention and pruning with the truth on servers: two sidecars, one of them killed in the middle of both jobs, again and
again. What a policy keeps is there on either, the rest goes oldest first, and in the end all of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from memd_client import Client

from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.size import scaled
from tests.servers.postgres import UNSAFE, Launcher, Postgres
from tests.servers.redis import SYNCED, RedisServer, find
from tests.test_retention import EACH, NAMESPACES, VERSIONS, Kept, listed, run_jobs
from tests.test_sessions_leave_memories_on_servers import until

KILLS = scaled(10)
LONGEST_S = 0.3
"""About what both jobs take."""


@dataclass(frozen=True)
class Fleet:
    """Two sidecars on a Redis and a Postgres."""

    daemons: tuple[Daemon, Daemon]
    postgres: Postgres
    database: str

    def let_leases_end(self) -> None:
        """As when their time is over: a daemon that fell keeps a job from the others for up to a minute."""
        self.postgres.send("UPDATE memd.lease SET expire_time = 0", database=self.database)


@pytest.fixture
def fleet(postgres18: Launcher, tmp_path: Path) -> Iterator[Fleet]:
    binary = find("valkey") or find("redis")
    if binary is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    with ExitStack() as stack:
        postgres = postgres18.server(UNSAFE)
        stack.callback(postgres.kill)
        database = postgres.create_database()
        redis = stack.enter_context(RedisServer(binary, tmp_path / "redis", SYNCED))
        environment = {
            **CLIENTS_ONLY,
            "MEMD_CHECKPOINTS_HISTORY": str(VERSIONS),
            "MEMD_POSTGRES_URL": postgres.url(database),
            "MEMD_REDIS_URL": redis.url,
        }
        one, other = (
            stack.enter_context(Daemon(tmp_path / name, environment=environment)) for name in ("one", "other")
        )
        yield Fleet((one, other), postgres, database)


def test_killed_in_the_middle(fleet: Fleet) -> None:
    dice = random.Random(6)
    with Client(fleet.daemons[0].address) as client:
        kept = [Kept(client, namespace, EACH * (KILLS + 2)) for namespace in NAMESPACES]
    for kill in range(KILLS):
        history = VERSIONS - kill % (VERSIONS - 1) - 1
        killed, asked = fleet.daemons[kill % 2], fleet.daemons[kill // 2 % 2]
        with Client(killed.address) as client:
            for one in kept:
                one.lower(client, history)
        fleet.let_leases_end()
        working = threading.Thread(target=run_jobs, args=(killed.address,))
        working.start()
        time.sleep(dice.random() * LONGEST_S)
        killed.kill()
        working.join()
        killed.start()
        _check(kept, asked, 1 if kill >= VERSIONS - 2 else history)
    fleet.let_leases_end()
    run_jobs(fleet.daemons[0].address)
    for daemon in fleet.daemons:
        _check(kept, daemon, 1)
        with Client(daemon.address) as client:
            for one in kept:
                until(partial(_at_most, one, client, one.least), "what is too much does not go")


def _check(kept: list[Kept], daemon: Daemon, history: int) -> None:
    """A sidecar may hear a moment later of what went."""
    with Client(daemon.address) as client:
        for one in kept:
            until(partial(_at_most, one, client, one.most), "what is gone is still here")
            one.check(client, history)


def _at_most(kept: Kept, client: Client, count: int) -> bool:
    return len(listed(kept.of(client))) <= count
