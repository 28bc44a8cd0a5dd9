"""S12 with the truth on servers: what was forgotten leaves the files of Redis, of Postgres and of the sidecars' replicas, as
far as the receipt claims: what it says is out of reach is named there, and nothing else holds the text.

In Postgres VACUUM lets go of the end of a table that has nothing left; inside a table that goes on, freed space is used
again in its own time or let go of by VACUUM FULL. Its write-ahead log is out of reach until it is recycled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from memd_client import Client, NewMemory

from tests.daemon import Daemon
from tests.servers.postgres import Launcher, Postgres
from tests.servers.redis import SYNCED, RedisServer, find

PLAIN = {**SYNCED, "rdbcompression": "no"}
"""A rewritten file begins with a snapshot, in which text that is still there must be seen."""
WITHIN_S = 60.0
POLL_S = 0.2
PARTS = ("fact", "changed", "meta", "turn", "how", "state")


@dataclass(frozen=True)
class Fleet:
    """Two daemons on a Redis and a Postgres; ``database`` is the directory of its tables."""

    one: Daemon
    other: Daemon
    redis: RedisServer
    postgres: Postgres
    name: str
    database: Path

    def checkpoint(self) -> None:
        self.postgres.send("CHECKPOINT", database=self.name)


@pytest.fixture
def fleet(postgres18: Launcher, tmp_path: Path) -> Iterator[Fleet]:
    binary = find("valkey") or find("redis")
    if binary is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    postgres = postgres18.server()
    try:
        name = postgres.create_database()
        ((oid,),) = postgres.send("SELECT oid FROM pg_database WHERE datname = $1", name)
        with RedisServer(binary, tmp_path / "redis", PLAIN) as redis:
            environment = {"MEMD_POSTGRES_URL": postgres.url(name), "MEMD_REDIS_URL": redis.url}
            with (
                Daemon(tmp_path / "one", environment=environment) as one,
                Daemon(tmp_path / "other", environment=environment) as other,
            ):
                yield Fleet(one, other, redis, postgres, name, postgres.directory / "base" / str(oid))
    finally:
        postgres.kill()


def mark(user: str, part: str) -> str:
    return f"canary-{user}-{part}-quetzal"


def store(client: Client, user: str) -> None:
    own = client.scoped(user_id=user, session_id=f"session-{user}")
    fact = own.remember(
        [NewMemory(f"{mark(user, 'fact')} keeps bees", metadata={"note": mark(user, "meta")})]
    ).memories[0]
    own.update(fact.memory_id, content=f"{mark(user, 'changed')} sold the bees")
    own.observe(f"{mark(user, 'turn')} about the bees", role="user")
    own.put_procedure(f"how-{user}", content=f"{mark(user, 'how')} open the hive slowly", trigger="bees")
    own.save_checkpoint(f"task-{user}", mark(user, "state").encode())


def remains(directories: tuple[Path, ...], user: str) -> set[str]:
    """Parts of the user's that are still in a file."""
    found = set()
    for path in (p for directory in directories for p in directory.rglob("*") if p.is_file()):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # replaced or recycled meanwhile
            continue
        found |= {part for part in PARTS if mark(user, part).encode() in content}
    return found


def wait_until_gone(directories: tuple[Path, ...], user: str, each_time: Callable[[], None] = lambda: None) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while left := remains(directories, user):
        assert time.monotonic() < deadline_s, left
        time.sleep(POLL_S)
        each_time()


def test_forgotten_text_leaves_the_files_of_servers_and_sidecars(fleet: Fleet) -> None:
    local = (fleet.one.data_dir, fleet.other.data_dir)
    with Client(fleet.one.address, timeout_s=30) as a, Client(fleet.other.address, timeout_s=30) as b:
        store(a, "ada")
        b.scoped(user_id="ada").recall("bees", min_seq=a.stats().namespace.seq)
        fleet.checkpoint()
        everywhere = (fleet.redis.directory, fleet.database, *local)
        assert remains(everywhere, "ada") == set(PARTS)
        assert remains((fleet.redis.directory,), "ada") == {"turn"}
        assert remains((fleet.other.data_dir,), "ada") >= {"changed"}
        receipt = a.scoped(user_id="ada").forget(everything=True, task_ids=["task-ada"])
        assert receipt.counts["events"] == 1
        told = "; ".join(receipt.out_of_reach)
        for words in ("BGREWRITEAOF", "snapshots (RDB)", "VACUUM was asked for", "write-ahead log", "backups"):
            assert words in told
        wait_until_gone((fleet.redis.directory, *local), "ada")
        # nothing is left in any table: VACUUM, which memd asked for, cuts them off
        wait_until_gone((fleet.database,), "ada", fleet.checkpoint)


def test_inside_tables_that_go_on_the_text_is_free_space(fleet: Fleet) -> None:
    with Client(fleet.one.address, timeout_s=30) as a:
        store(a, "ada")
        store(a, "bob")
        a.scoped(user_id="ada").forget(everything=True, task_ids=["task-ada"])
        wait_until_gone((fleet.redis.directory, fleet.one.data_dir), "ada")
        fleet.postgres.send("VACUUM FULL", database=fleet.name)
        wait_until_gone((fleet.database,), "ada", fleet.checkpoint)
        assert remains((fleet.redis.directory, fleet.database), "bob") == set(PARTS), "what stays is untouched"
