"""Servers of the Redis tests: one of each kind a session, emptied for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.redis import MISSING, SYNCED, RedisServer, find


def binary_or_skip(name: str) -> Path:
    found = find(name)
    if found is None:
        pytest.skip(MISSING[name])
    return found


@pytest.fixture(scope="session", params=["redis", "valkey"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Each of the two server programs in turn."""
    return binary_or_skip(request.param)


@pytest.fixture(scope="session")
def shared_server(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(binary, tmp_path_factory.mktemp("redis"), SYNCED) as running:
        yield running


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """A server that syncs every write, without keys."""
    shared_server.send("FLUSHALL")
    return shared_server
