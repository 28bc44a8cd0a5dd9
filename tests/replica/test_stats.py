"""GetStats of a daemon on servers: what is where, what a write there is worth, and how far its copy is."""

from __future__ import annotations

from pathlib import Path

import pytest
from memd_client import Client
from memd_client.enums import Durability

from tests.daemon import Daemon
from tests.servers.postgres import Launcher
from tests.servers.redis import RedisServer, find


def test_each_port_names_its_store_and_the_replica_its_position(postgres18: Launcher, tmp_path: Path) -> None:
    binary = find("valkey") or find("redis")
    if binary is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    postgres = postgres18.server()
    try:
        with RedisServer(binary, tmp_path / "redis") as redis:
            environment = {"MEMD_POSTGRES_URL": postgres.url(postgres.create_database()), "MEMD_REDIS_URL": redis.url}
            with (
                Daemon(tmp_path / "pod", environment=environment) as daemon,
                Client(daemon.address, user_id="ada") as a,
            ):
                observed = a.scoped(session_id="s").observe("hello", role="user")
                remembered = a.remember("Ada prefers trains").receipt
                stats = a.stats()
                ports = {one.port: one for one in stats.ports}
                assert ports["sessions"].store == "redis"
                assert ports["sessions"].durability is observed.receipt.durability is Durability.SERVER_MEMORY
                assert ports["memories"].store == ports["tasks"].store == "postgres"
                assert ports["memories"].durability is remembered.durability
                assert stats.replica is not None
                assert stats.replica.seq == remembered.seq
                assert stats.replica.reachable
    finally:
        postgres.kill()
