"""WatchMemories where memories are on Postgres and sessions on Redis: a watcher at one sidecar, writers at another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from memd_client import AsyncClient, Client, Position, errors

from memd.metrics import Metrics
from memd.ports import Head
from memd.rpc.calls import Calls
from memd.rpc.credentials import as_local_owner
from memd.rpc.memory_servicer import MemoryServicer
from memd.rpc.server import SERVICES, Health, main_server
from memd.service.watch import Bell, Interest, Watched, WatchService
from tests.daemon import Daemon
from tests.postgres.databases import borrow, give_back
from tests.replica.sidecar import Sidecar
from tests.servers.postgres import Launcher, Postgres
from tests.servers.redis import RedisServer
from tests.test_watch import WAIT_S, Listener

STALL_S = 0.3
BIG = "x" * 60_000


@pytest.fixture
def server(postgres18: Launcher) -> Postgres:
    return postgres18.shared


@pytest.fixture
def database(server: Postgres) -> Iterator[str]:
    name = server.create_database()
    yield name
    server.drop_database(name)


@pytest.fixture
def pods(
    server: Postgres, database: str, redis_servers: Callable[[str], RedisServer], tmp_path: Path
) -> Iterator[tuple[Daemon, Daemon]]:
    environment = {"MEMD_POSTGRES_URL": server.url(database), "MEMD_REDIS_URL": redis_servers("redis").url}
    with Daemon(tmp_path / "a", environment=environment) as one, Daemon(tmp_path / "b", environment=environment) as two:
        yield one, two


def test_a_watcher_beside_one_sidecar_is_told_what_another_writes_in_order(pods: tuple[Daemon, Daemon]) -> None:
    one, two = pods
    with Client(one.address, user_id="ada") as watcher, Client(two.address, user_id="ada") as writer:
        listener = Listener(watcher, after=Position(0))
        writer.remember("tea", memory_id="drink")
        assert listener.next() == ("drink", "tea")
        for number in range(20):
            writer.remember(f"fact {number}", memory_id=f"m{number}")
        assert [listener.next()[0] for _ in range(20)] == [f"m{number}" for number in range(20)]
        writer.scoped(user_id="bob").remember("not for ada", memory_id="hidden")
        writer.forget("drink")
        assert listener.next() == ("drink", None)
        listener.close()


def test_it_goes_on_where_it_was_when_its_daemon_is_killed(pods: tuple[Daemon, Daemon]) -> None:
    one, two = pods
    with (
        Client(one.address, user_id="ada", timeout_s=WAIT_S) as watcher,
        Client(two.address, user_id="ada", timeout_s=WAIT_S) as writer,
    ):
        listener = Listener(watcher, after=Position(0))
        for number in range(6):
            writer.remember(f"fact {number}", memory_id=f"m{number}")
            if number % 2:
                one.kill()
                writer.remember(f"meanwhile {number}", memory_id=f"n{number}")
                one.start()
        told: dict[str, None] = {}  # a change may be told twice
        while len(told) < 9:
            told[listener.next()[0]] = None
        assert list(told) == ["m0", "m1", "n1", "m2", "m3", "n3", "m4", "m5", "n5"]
        listener.close()


def test_a_position_that_was_trimmed_says_to_list_anew(
    pods: tuple[Daemon, Daemon], server: Postgres, database: str
) -> None:
    one, two = pods
    with Client(one.address, user_id="ada") as watcher, Client(two.address, user_id="ada") as writer:
        for number in range(3):
            writer.remember(f"fact {number}", memory_id=f"m{number}")
        seq = writer.stats().namespace.seq
        server.send(f"DELETE FROM memd.change_log WHERE seq < {seq}", database=database)
        with pytest.raises(errors.PositionLost, match="list the memories anew"):
            next(watcher.watch(after=Position(0)))
        listener = Listener(watcher, after=Position(seq - 1))
        assert listener.next()[0] == "m2"
        with pytest.raises(errors.PositionLost):
            next(watcher.watch(after=Position(seq + 1_000)))
        listener.close()


class _Ending(WatchService):
    """Tells when a watch has ended."""

    ended: asyncio.Event

    async def watch(self, interest: Interest, after: Head | None) -> AsyncGenerator[Watched, None]:
        try:
            async for change in super().watch(interest, after):
                yield change
        finally:
            self.ended.set()


@asynccontextmanager
async def served(sidecar: Sidecar, bell: Bell) -> AsyncIterator[tuple[str, _Ending]]:
    """Watches of a sidecar over gRPC, which cuts slow readers soon."""
    watch = _Ending(sidecar.postgres.change_log, bell, sidecar.follower)
    watch.ended = asyncio.Event()
    unused: Any = None
    servicer = MemoryServicer(unused, unused, unused, unused, watch, Metrics())
    handlers = Calls({SERVICES["MemoryService"]: servicer}, as_local_owner, Metrics(), stall_s=STALL_S)
    serving = main_server(handlers, Health(), reflect=False)
    port = serving.add_insecure_port("127.0.0.1:0")
    await serving.start()
    try:
        yield f"127.0.0.1:{port}", watch
    finally:
        await serving.stop(None)


async def test_a_reader_that_is_too_slow_is_cut_and_goes_on_from_where_it_was(
    postgres18: Launcher, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await borrow(server)
    sidecar = await Sidecar.open(server.url(name), tmp_path / "pod")
    bell, written = Bell(), 0

    async def write() -> None:
        nonlocal written
        await sidecar.remember("n", f"m{written:05}", content=BIG)
        written += 1
        bell.ring(["n"])

    try:
        async with (
            served(sidecar, bell) as (address, watch),
            AsyncClient(address, namespace="n", user_id="u") as client,
        ):
            await write()
            slow = client.watch(after=Position(0))
            told = [(await anext(slow)).memory_id]
            while not watch.ended.is_set():
                await write()
            more, error = await _until_it_ends(slow)
            told += more
            assert isinstance(error, errors.LimitExceeded)
            assert "read nothing" in error.message
            assert len(told) < written, "all of it fitted into the connection"
            again = client.watch(after=slow.position)
            told += [(await anext(again)).memory_id for _ in range(written - len(told))]
            assert told == [f"m{number:05}" for number in range(written)]
            again.close()
    finally:
        await sidecar.close()
        await give_back(server, name)


async def _until_it_ends(watch: Any) -> tuple[list[str], errors.MemdError]:
    told = []
    try:
        async for change in watch:
            told.append(change.memory_id)
    except errors.MemdError as error:
        return told, error
    raise AssertionError("it ended without an error")
