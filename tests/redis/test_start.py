"""What a wrong setting says at start, and that a server which is down does not stop the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memd.adapters.redis import RedisSessions, RedisSettings
from memd.domain.errors import ConfigError, Unavailable
from memd.domain.model import Durability
from memd.limits import HOUR_US
from tests.contract.builders import POLICY, SESSION, event
from tests.servers.redis import RedisServer, certificates, cluster, free_port, sentinel, speaks_tls

LONG = replace(POLICY, ttl_us=HOUR_US)


@asynccontextmanager
async def opened(url: str, **settings: object) -> AsyncIterator[RedisSessions]:
    sessions = await RedisSessions.open(RedisSettings(url, **settings))  # type: ignore[arg-type]
    try:
        yield sessions
    finally:
        await sessions.close()


async def works(sessions: RedisSessions) -> None:
    await sessions.append(SESSION, [event("a")], LONG, None)
    working = await sessions.working(SESSION, LONG)
    assert [one.event_id for one in working.items] == ["a"]


async def reachable(sessions: RedisSessions) -> None:
    for _ in range(3_000):
        if sessions.describe().reachable:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is not used although it is back")


async def refusal(url: str, **settings: object) -> str:
    with pytest.raises(ConfigError) as refused:
        async with opened(url, **settings):
            pass
    assert "\n" not in refused.value.message
    return refused.value.message


async def test_passwords_and_users(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, {"requirepass": "p@ss"}, password="p@ss") as server:
        at = f"127.0.0.1:{server.port}"
        assert "refuses the user or password" in await refusal(server.url)
        said = await refusal(f"redis://:wrong@{at}")
        assert "refuses the user or password" in said
        assert "wrong" not in said
        async with opened(f"redis://:p%40ss@{at}") as sessions:
            await works(sessions)
        async with opened(server.url, password="p@ss") as sessions:
            await works(sessions)
        server.send("ACL", "SETUSER", "memd", "on", ">secret", "~memd:*", "+@all", "-@dangerous", "+info", "-config")
        async with opened(f"redis://memd:secret@{at}") as sessions:
            await works(sessions)
            facts = sessions.describe()
            assert facts.durability is Durability.UNKNOWN
            assert "CONFIG GET" in facts.warnings[0]
        assert "refuses the user or password" in await refusal(f"redis://memd:wrong@{at}")
        assert "refuses the user or password" in await refusal(f"redis://nobody:secret@{at}")


async def test_databases(server: RedisServer) -> None:
    assert "has no database 99" in await refusal(f"{server.url}/99")
    async with opened(f"{server.url}/15") as sessions:
        await works(sessions)
    assert server.send("DBSIZE") == 0


async def test_a_unix_socket(binary: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with RedisServer(binary, tmp_path, {"port": "0", "unixsocket": str(path)}):
        async with opened(f"unix://{path}") as sessions:
            await works(sessions)


async def test_tls(binary: Path, tmp_path: Path) -> None:
    if not speaks_tls(binary, tmp_path):
        pytest.skip(f"{binary.name} was built without TLS")
    made = certificates(tmp_path / "right")
    with RedisServer(binary, tmp_path / "server", made.options(port := free_port())):
        async with opened(f"rediss://localhost:{port}", ca_file=str(made.ca)) as sessions:
            await works(sessions)
        assert "certificate is refused" in await refusal(f"rediss://localhost:{port}"), "nobody we trust signed it"
        said = await refusal(f"rediss://127.0.0.1:{port}", ca_file=str(made.ca))
        assert "127.0.0.1" in said
        assert "certificate" in said, "it is for localhost"


async def test_no_such_file_of_certificates(tmp_path: Path) -> None:
    assert "ca_file" in await refusal("rediss://localhost:1", ca_file=str(tmp_path / "none"))


async def test_one_server_is_no_cluster_and_a_cluster_not_one_server(
    server: RedisServer, binary: Path, tmp_path: Path
) -> None:
    assert "no cluster" in await refusal(server.url.replace("redis://", "redis+cluster://"))
    with RedisServer(binary, tmp_path, {"cluster-enabled": "yes", "cluster-port": str(free_port())}) as alone:
        assert "redis+cluster://" in await refusal(alone.url)
        said = await refusal(alone.url.replace("redis://", "redis+cluster://"))
        assert "slots without a primary" in said


async def test_a_cluster_that_lost_a_third_is_an_outage(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path) as formed:
        async with opened(formed.url) as sessions:
            await works(sessions)
        formed.nodes[3].kill()
        formed.nodes[0].kill()
        formed.wait_broken()
        async with opened(formed.url, breaker_cool_down_s=0.05) as sessions:
            with pytest.raises(Unavailable):
                await sessions.recent(SESSION, POLICY, 3)
            formed.nodes[0].start()
            formed.wait_ok()
            await reachable(sessions)
            await works(sessions)


async def test_a_replica_and_a_sentinel_are_no_primary(binary: Path, tmp_path: Path) -> None:
    with sentinel(binary, tmp_path) as group:
        assert "is a replica" in await refusal(group.replica.url)
        assert "redis+sentinel://" in await refusal(group.sentinel.url)
        async with opened(group.url) as sessions:
            await works(sessions)
        assert "know no service other" in await refusal(group.url.replace("/memd", "/other"))


async def test_something_else_at_the_port() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        assert "does not speak Redis's protocol" in await refusal(f"redis://127.0.0.1:{port}")


async def test_a_server_that_is_down_is_served_without_until_it_comes(
    program: str, binary: Path, tmp_path: Path
) -> None:
    down = RedisServer(binary, tmp_path)
    async with opened(down.url, breaker_cool_down_s=0.05) as sessions:
        assert not sessions.describe().reachable
        with pytest.raises(Unavailable):
            await sessions.recent(SESSION, POLICY, 3)
        with down:
            await reachable(sessions)
            await works(sessions)
            assert program in sessions.describe().server.lower()


async def test_a_server_that_hangs_at_start(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path) as server:
        server.hang()
        async with opened(server.url, connect_timeout_s=0.2, breaker_cool_down_s=0.05) as sessions:
            assert not sessions.describe().reachable
            server.resume()
            await reachable(sessions)
            await works(sessions)


async def test_an_unknown_host_may_come_yet() -> None:
    async with opened("redis://no-such-host.invalid") as sessions:
        assert not sessions.describe().reachable


async def test_a_pool_of_one_connection_serves_everybody(server: RedisServer) -> None:
    async with opened(server.url, pool=1) as sessions:
        await asyncio.gather(*(sessions.append(SESSION, [event(f"e{i}")], LONG, None) for i in range(100)))
        assert (await sessions.sessions(SESSION, size=1, cursor="")).items[0].event_count == 100
        assert int(server.send("INFO", "clients")["connected_clients"]) <= 2
