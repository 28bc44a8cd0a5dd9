"""Real servers for benchmarks: the launchers of the tests, with servers that sync what they acknowledge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.postgres import VERSIONS, Launcher, Postgres
from tests.servers.postgres import find as find_postgres
from tests.servers.redis import BINARIES, MISSING, RedisServer
from tests.servers.redis import find as find_redis

POSTGRES = "postgres18"


@dataclass
class Pair:
    """A Postgres and the standby that has everything it acknowledges; ``environment`` of a daemon that is to use them and
    a Redis that syncs every write: its URL names both, so that it finds whichever is primary."""

    primary: Postgres
    standby: Postgres
    redis: RedisServer
    environment: Mapping[str, str]

    def pids(self) -> Mapping[str, list[int]]:
        """Of each server, the process that has started its others."""
        running = {"postgres": self.primary.process, "standby": self.standby.process, "redis": self.redis.process}
        return {name: [process.pid] for name, process in running.items() if process is not None}

    def fail_over(self) -> None:
        """The primary is killed and stays away; the standby is promoted."""
        self.primary.kill()
        self.standby.promote()


@contextlib.contextmanager
def database(settings: Mapping[str, str]) -> Iterator[str]:
    """The URL of an empty database on a Postgres of its own with pgvector."""
    installation = find_postgres(POSTGRES)
    if installation is None:
        raise SystemExit(VERSIONS[POSTGRES])
    launcher = Launcher(installation)
    try:
        server = launcher.server(settings)
        yield server.url(server.create_database())
    finally:
        launcher.close()


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[Mapping[str, str]]:
    """One Redis (or Valkey) that syncs every write and one Postgres; the environment of a daemon that is to use them."""
    with _launched(directory) as (launcher, redis):
        server = launcher.server()
        yield {"MEMD_POSTGRES_URL": server.url(server.create_database()), "MEMD_REDIS_URL": redis.url}


@contextlib.contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """As ``servers``, with a synchronous standby."""
    with _launched(directory) as (launcher, redis):
        primary = launcher.server()
        database = primary.create_database()
        standby = launcher.standby(primary, synchronous=True)
        both = primary.url(database).replace(f":{primary.port}", f":{primary.port},127.0.0.1:{standby.port}")
        yield Pair(primary, standby, redis, {"MEMD_POSTGRES_URL": both, "MEMD_REDIS_URL": redis.url})


@contextlib.contextmanager
def _launched(directory: Path) -> Iterator[tuple[Launcher, RedisServer]]:
    installation = find_postgres(POSTGRES)
    program = next((found for name in sorted(BINARIES) if (found := find_redis(name))), None)
    if installation is None or program is None:
        raise SystemExit(VERSIONS[POSTGRES] if installation is None else "; ".join(MISSING.values()))
    launcher = Launcher(installation)
    try:
        (directory / "redis").mkdir()
        with RedisServer(program, directory / "redis", {"appendonly": "yes", "appendfsync": "always"}) as redis:
            yield launcher, redis
    finally:
        launcher.close()


@contextlib.contextmanager
def backend(kind: str, directory: Path) -> Iterator[Mapping[str, str]]:
    """As ``servers`` for "servers"; nothing to say for "sqlite"."""
    if kind == "sqlite":
        yield {}
        return
    with servers(directory) as environment:
        yield environment
