"""What the link makes of connections that go away under it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.settings import RedisSettings
from memd.domain.errors import Unavailable
from tests.servers.redis import RedisServer, cluster

TURNS = 12
"""Of the event loop, in which a command has gone out and its reply is awaited."""
BACK_LOOKS = 2_000


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_connection_closed_at_any_moment_of_a_command_is_a_lost_one(
    binary: Path, tmp_path: Path, repeatable: bool
) -> None:
    with RedisServer(binary, tmp_path) as server:
        link = await RedisLink.open(RedisSettings(server.url))
        try:
            assert await link.command("SET", "k", "v")
            pool: Any = link._client
            connections = pool.connection_pool._available_connections
            outcomes = [await cut_after(link, connections[-1], turns, repeatable) for turns in range(TURNS)]
        finally:
            await link.close()
    assert b"v" in outcomes
    if not repeatable:
        assert Unavailable in outcomes, "no cut was felt"


async def cut_after(link: RedisLink, connection: Any, turns: int, repeatable: bool) -> object:
    asking = asyncio.ensure_future(link.command("GET", "k", repeatable=repeatable))
    for _ in range(turns):
        await asyncio.sleep(0)
    await connection.disconnect(nowait=True)
    try:
        return await asking
    except Unavailable:
        return Unavailable


async def test_so_is_one_of_a_cluster(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path) as formed:
        link = await RedisLink.open(RedisSettings(formed.url, breaker_cool_down_s=0.05))
        try:
            assert await link.command("SET", "k", "v")
            asked: Any = link._client
            for turns in range(TURNS):
                node = asked.get_node_from_key("k")
                assert await cut_after(link, node._free[-1], turns, True) in (b"v", Unavailable)
                await back(link)
        finally:
            await link.close()


async def back(link: RedisLink) -> None:
    for _ in range(BACK_LOOKS):
        if link.describe().reachable:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come back by itself")


async def test_an_error_of_ours_is_not_taken_for_a_lost_connection(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path) as server:
        link = await RedisLink.open(RedisSettings(server.url))
        try:
            with pytest.raises(AttributeError):
                await link.on_primaries(no_such_command)
            assert link.describe().reachable
        finally:
            await link.close()


async def no_such_command(client: Any, target: Any) -> Any:
    return await client.no_such_command(**target)
