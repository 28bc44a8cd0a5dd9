"""Fixtures for tests on real servers. A server that cannot be had is a skip that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers import postgres, redis


@pytest.fixture(scope="session")
def postgres_launchers() -> Iterator[Callable[[str], postgres.Launcher]]:
    """The launcher of one of ``postgres.VERSIONS``; its servers stop with the session."""
    launchers: dict[str, postgres.Launcher] = {}

    def launcher(name: str) -> postgres.Launcher:
        installation = postgres.find(name)
        if installation is None:
            pytest.skip(postgres.VERSIONS[name])
        if name not in launchers:
            launchers[name] = postgres.Launcher(installation)
        return launchers[name]

    yield launcher
    for started in launchers.values():
        started.close()


@pytest.fixture(params=sorted(postgres.VERSIONS))
def postgres_launcher(
    request: pytest.FixtureRequest, postgres_launchers: Callable[[str], postgres.Launcher]
) -> postgres.Launcher:
    """Each version in turn."""
    return postgres_launchers(request.param)


@pytest.fixture
def postgres_url(postgres_launcher: postgres.Launcher) -> Iterator[str]:
    """An empty database on the shared server of each version."""
    server = postgres_launcher.shared
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def postgres18(postgres_launchers: Callable[[str], postgres.Launcher]) -> postgres.Launcher:
    """The version with pgvector alone, for tests that take long."""
    return postgres_launchers("postgres18")


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], redis.RedisServer]]:
    """A server of one of ``redis.BINARIES`` that syncs every write; it stops with the session."""
    started: dict[str, redis.RedisServer] = {}

    def server(name: str) -> redis.RedisServer:
        binary = redis.find(name)
        if binary is None:
            pytest.skip(redis.MISSING[name])
        if name not in started:
            started[name] = redis.RedisServer(binary, tmp_path_factory.mktemp(name), redis.SYNCED)
            started[name].start()
        return started[name]

    yield server
    for one in started.values():
        one.kill()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisCluster]:
    """A cluster of whichever program there is; it stops with the session."""
    binary = redis.find("valkey") or redis.find("redis")
    if binary is None:
        pytest.skip("; ".join(redis.MISSING.values()))
    with redis.cluster(binary, tmp_path_factory.mktemp("cluster"), redis.SYNCED) as formed:
        yield formed
