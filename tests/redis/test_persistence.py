"""What is said about a server's persistence is what it guarantees."""

from __future__ import annotations

from pathlib import Path

import pytest

from memd.adapters.redis import RedisSessions, RedisSettings
from memd.domain.model import Durability
from tests.contract.builders import POLICY, SESSION, event, request
from tests.servers.redis import SYNCED, RedisServer

EVERYSEC = {"appendonly": "yes", "appendfsync": "everysec"}


@pytest.mark.parametrize(
    ("options", "durability", "says"),
    [
        (SYNCED, Durability.SYNCED, ""),
        (EVERYSEC, Durability.SERVER_MEMORY, "the last second"),
        ({**EVERYSEC, "appendfsync": "no"}, Durability.SERVER_MEMORY, "half a minute"),
        ({}, Durability.SERVER_MEMORY, "a restart loses every session"),
        ({"save": "60 1"}, Durability.SERVER_MEMORY, "since its last snapshot"),
        ({**SYNCED, "no-appendfsync-on-rewrite": "yes"}, Durability.SERVER_MEMORY, "while it rewrites"),
        ({**SYNCED, "maxmemory-policy": "allkeys-lru"}, Durability.SYNCED, "may drop any session"),
        ({**SYNCED, "maxmemory-policy": "volatile-ttl"}, Durability.SYNCED, "may drop any session"),
    ],
    ids=["always", "everysec", "never", "nothing", "snapshots", "not on rewrite", "evicts all", "evicts with ttl"],
)
async def test_every_kind(
    binary: Path,
    tmp_path: Path,
    options: dict[str, str],
    durability: Durability,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer(binary, tmp_path, options) as server:
        sessions = await RedisSessions.open(RedisSettings(server.url))
        try:
            assert (await sessions.append(SESSION, [event("a")], POLICY, None)).durability is durability
            facts = sessions.describe()
            assert (facts.durability, facts.reachable, facts.mode) == (durability, True, "standalone")
            assert says in " ".join(facts.warnings)
            assert bool(facts.warnings) == bool(says)
            assert says in caplog.text
        finally:
            await sessions.close()


async def test_a_server_that_comes_back_as_another_one_is_asked_again(binary: Path, tmp_path: Path) -> None:
    server = RedisServer(binary, tmp_path, SYNCED)
    with server:
        sessions = await RedisSessions.open(RedisSettings(server.url))
        try:
            written = await sessions.append(SESSION, [event("a")], POLICY, None)
            assert written.durability is Durability.SYNCED
            server.options = {"appendonly": "no"}
            server.restart()
            written = await sessions.append(SESSION, [event("b")], POLICY, request("r"))
            assert written.durability is Durability.SERVER_MEMORY
        finally:
            await sessions.close()


async def test_settings_changed_while_it_runs_are_seen_by_the_next_look(server: RedisServer) -> None:
    sessions = await RedisSessions.open(RedisSettings(server.url))
    try:
        server.send("CONFIG", "SET", "appendfsync", "everysec")
        assert (await sessions.link.look()).durability is Durability.SERVER_MEMORY
        assert (await sessions.append(SESSION, [event("a")], POLICY, None)).durability is Durability.SERVER_MEMORY
    finally:
        server.send("CONFIG", "SET", "appendfsync", "always")
        await sessions.close()
