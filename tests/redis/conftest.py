"""Servers of the Redis tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.redis import BINARIES, MISSING, RedisServer, find


@pytest.fixture(params=sorted(BINARIES))
def program(request: pytest.FixtureRequest) -> str:
    """Each of the two server programs in turn, by name."""
    name: str = request.param
    return name


@pytest.fixture
def binary(program: str) -> Path:
    found = find(program)
    if found is None:
        pytest.skip(MISSING[program])
    return found


@pytest.fixture
def server(program: str, redis_servers: Callable[[str], RedisServer]) -> RedisServer:
    """A server that syncs every write, without keys."""
    running = redis_servers(program)
    running.send("FLUSHALL")
    return running
