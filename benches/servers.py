"""Real servers for benchmarks: the launchers of the tests, with servers that sync what they acknowledge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers.postgres import VERSIONS, Launcher
from tests.servers.postgres import find as find_postgres
from tests.servers.redis import BINARIES, MISSING, RedisServer
from tests.servers.redis import find as find_redis

POSTGRES = "postgres18"


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[Mapping[str, str]]:
    """One Redis (or Valkey) that syncs every write and one Postgres; the environment of a daemon that is to use them."""
    installation = find_postgres(POSTGRES)
    program = next((found for name in sorted(BINARIES) if (found := find_redis(name))), None)
    if installation is None or program is None:
        raise SystemExit(VERSIONS[POSTGRES] if installation is None else "; ".join(MISSING.values()))
    launcher = Launcher(installation)
    try:
        server = launcher.server()
        (directory / "redis").mkdir()
        with RedisServer(program, directory / "redis", {"appendonly": "yes", "appendfsync": "always"}) as redis:
            yield {"MEMD_POSTGRES_URL": server.url(server.create_database()), "MEMD_REDIS_URL": redis.url}
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
