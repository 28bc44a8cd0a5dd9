"""S12 on the disk of Redis: what was forgotten leaves the append-only file, and the receipt is true to what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memd.adapters.redis import RedisErasure, RedisSessions, RedisSettings
from memd.adapters.redis.erasure import BEYOND, WORDS, Rewrite
from memd.domain.model import Scope
from memd.limits import HOUR_US
from tests.contract.builders import POLICY, SESSION, event
from tests.servers.redis import SYNCED, RedisServer, cluster

CANARY = "canary-quetzal"
LONG = replace(POLICY, ttl_us=HOUR_US)
PLAIN = {**SYNCED, "rdbcompression": "no"}
"""A rewritten file begins with a snapshot, in which text that is still there must be seen."""
COUNTED = ("events", "sessions")
SOON_S = 0.05
NEVER_S = 3_600.0
WITHIN_S = 30.0
STUCK_US = 600_000_000
"""A pause of the rewriting child at each key: it ends when it is killed."""
USER = "+@read +@write +@scripting +@connection +time +info +config|get"
"""As in docs/redis.md."""


@contextlib.asynccontextmanager
async def opened(url: str, pause_s: float = SOON_S) -> AsyncIterator[tuple[RedisSessions, RedisErasure]]:
    sessions = await RedisSessions.open(RedisSettings(url, breaker_cool_down_s=SOON_S))
    erasure = RedisErasure(sessions.link, COUNTED, pause_s=pause_s)
    try:
        yield sessions, erasure
    finally:
        await erasure.close()
        await sessions.close()


async def said(sessions: RedisSessions, *scopes: Scope) -> None:
    for scope in scopes or (SESSION,):
        await sessions.append(scope, [event("e", content=CANARY)], LONG, None)


async def forgotten(sessions: RedisSessions, receipt: str = "f_1") -> dict[str, int]:
    scope = replace(SESSION, session_id="", agent_id="")
    return dict(await sessions.forget(scope, all_users=True, receipt_id=receipt))


def holds(server: RedisServer) -> bool:
    files = [path for path in server.directory.rglob("*.aof") if path.is_file()]
    with contextlib.suppress(FileNotFoundError):  # one that a rewrite has just replaced
        return any(CANARY.encode() in path.read_bytes() for path in files)
    return True


async def gone(servers: Sequence[RedisServer]) -> None:
    await until(lambda: not any(map(holds, servers)), "the text to leave the files")


async def until(done: Callable[[], bool], what: str) -> None:
    for _ in range(int(WITHIN_S / SOON_S)):
        if done():
            return
        await asyncio.sleep(SOON_S)
    raise AssertionError(f"waited {WITHIN_S:.0f} s for {what}")


def persistence(server: RedisServer, name: str) -> int:
    with server.client() as client:
        return int(client.info("persistence")[name])


async def test_the_text_leaves_the_append_only_file(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, PLAIN) as server:
        async with opened(server.url) as (sessions, erasure):
            await said(sessions)
            counts = await forgotten(sessions)
            assert holds(server), "a mark that cannot be seen shows nothing by its absence"
            assert await erasure.erase(counts) == (WORDS[Rewrite.ASKED], BEYOND)
            await gone([server])


async def test_a_rewrite_that_runs_is_followed_by_another(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, PLAIN) as server:
        async with opened(server.url) as (sessions, erasure):
            await said(sessions)
            server.send("CONFIG", "SET", "rdb-key-save-delay", STUCK_US)
            server.send("BGREWRITEAOF")
            assert persistence(server, "aof_rewrite_in_progress")
            assert await erasure.erase(await forgotten(sessions)) == (WORDS[Rewrite.LATER], BEYOND)
            server.send("CONFIG", "SET", "rdb-key-save-delay", 0)
            assert holds(server)
            kill_child(server)
            await gone([server])


def kill_child(server: RedisServer) -> None:
    assert server.process is not None
    pid = server.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


async def test_many_forgets_share_a_rewrite_and_the_last_one_is_owed_at_the_end(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, PLAIN) as server:
        async with opened(server.url, NEVER_S) as (sessions, erasure):
            for number in range(5):
                await said(sessions)
                words = await erasure.erase(await forgotten(sessions, f"f_{number}"))
                assert words[0] == WORDS[Rewrite.LATER if number else Rewrite.ASKED]
                await until(lambda: not persistence(server, "aof_rewrite_in_progress"), "the rewrite to end")
            assert holds(server)
        await gone([server])


async def test_a_user_who_may_not_ask_is_told_so(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, PLAIN) as server:
        server.send("ACL", "SETUSER", "memd", "on", ">secret", "~memd:*", *USER.split())
        async with opened(f"redis://memd:secret@127.0.0.1:{server.port}") as (sessions, erasure):
            await said(sessions)
            counts = await forgotten(sessions)
            assert await erasure.erase(counts) == (WORDS[Rewrite.REFUSED], BEYOND)
            assert holds(server)
            server.send("ACL", "SETUSER", "memd", "+bgrewriteaof")
            assert await erasure.erase(counts) == (WORDS[Rewrite.ASKED], BEYOND)
            await gone([server])


async def test_without_such_a_file_or_anything_that_went_nothing_is_asked(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path) as server:
        async with opened(server.url) as (sessions, erasure):
            assert await erasure.erase({"events": 0, "memories": 3}) == ()
            await said(sessions)
            assert await erasure.erase(await forgotten(sessions)) == (BEYOND,)
            assert not list(server.directory.rglob("*.aof"))


async def test_a_server_that_is_away_is_asked_when_it_is_back(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, PLAIN) as server:
        async with opened(server.url) as (sessions, erasure):
            await said(sessions)
            counts = await forgotten(sessions)
            server.kill()
            assert await erasure.erase(counts) == (WORDS[Rewrite.LATER], BEYOND)
            server.start()
            await gone([server])


async def test_every_primary_of_a_cluster_is_asked(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path, PLAIN) as formed:
        async with opened(formed.url) as (sessions, erasure):
            await said(sessions, *(replace(SESSION, user_id=f"u{i}", session_id=f"s{i}") for i in range(30)))
            primaries = formed.primaries()
            assert all(map(holds, primaries))
            assert await erasure.erase(await forgotten(sessions)) == (WORDS[Rewrite.ASKED], BEYOND)
            await gone(primaries)
