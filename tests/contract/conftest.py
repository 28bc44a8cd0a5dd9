"""The stores under the contract. An adapter joins by a name in ``ADAPTERS`` and a way to open it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.redis import RedisCheckpoints, RedisLink, RedisSessionMarks, RedisSessions, RedisSettings
from memd.adapters.replica import ReplicatedTransfers
from memd.adapters.rows.memory import replica_index_row
from memd.adapters.rows.procedure import procedure_index_row
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Durability, Memory, Procedure
from memd.limits import REPLICA_WAIT_S
from memd.ports import (
    ChangeLog,
    IndexChange,
    IndexRow,
    IndexSource,
    MemoryTruth,
    ProcedureTruth,
    ReplicaProcedure,
    Retention,
    SessionMarks,
    SessionStore,
    SettingsStore,
    StepLedger,
    TaskStore,
    Transfers,
)
from tests.contract.builders import MODEL
from tests.postgres.databases import borrow, give_back
from tests.replica.sidecar import Sidecar
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisCluster, RedisServer

START_US = 1_700_000_000_000_000


class ManualClock:
    """Stands still until told to go on; every look at the wall clock is a microsecond later."""

    def __init__(self) -> None:
        self.wall_us = START_US
        self.monotonic = 0.0

    def now_us(self) -> int:
        self.wall_us += 1
        return self.wall_us

    def monotonic_s(self) -> float:
        return self.monotonic

    def advance(self, us: int) -> None:
        self.wall_us += us
        self.monotonic += us / 1e6


class Stores(ABC):
    """What the contract is about: the ports, what is stored, and a restart."""

    sessions: SessionStore
    marks: SessionMarks
    memories: MemoryTruth
    procedures: ProcedureTruth
    settings: SettingsStore
    tasks: TaskStore
    steps: StepLedger
    retention: Retention
    change_log: ChangeLog
    transfers: Transfers
    step_modules: tuple[str, ...] = ("memd.adapters.sqlite.steps", "memd.adapters.postgres.steps")
    """Where the bound on steps is looked up."""

    durability = Durability.SYNCED
    """What the servers of the tests promise of a commit."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.changes: list[IndexChange] = []
        """What the index was told, where the stores tell one."""

    @abstractmethod
    async def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        """The rows that exist, in the order asked."""

    @abstractmethod
    async def fetch_procedures(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]: ...

    @abstractmethod
    async def entries(self, namespace: str, kind: str) -> list[IndexRow]:
        """What an index of the namespace would hold."""

    @abstractmethod
    async def reopen(self) -> None:
        """As after a restart of the daemon."""

    @abstractmethod
    async def close(self) -> None: ...


class IndexedStores(Stores):
    """Stores that feed an index."""

    index: IndexSource


class Embedded(IndexedStores):
    def __init__(self, data_dir: Path) -> None:
        super().__init__()
        self._data_dir = data_dir
        self._start()

    def _start(self) -> None:
        stores = SqliteStores.open(self._data_dir, model=MODEL, clock=self.clock, sink=self.changes.extend)
        self._stores = stores
        self.sessions = stores.sessions
        self.marks = stores.marks
        self.memories = stores.memories
        self.index = stores.memories
        self.procedures = stores.procedures
        self.settings = stores.settings
        self.tasks = stores.tasks
        self.steps = stores.steps
        self.retention = stores.retention
        self.change_log = stores.change_log
        self.transfers = stores.transfers

    async def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        return self._stores.memories.fetch(namespace, memory_ids)

    async def fetch_procedures(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        return self._stores.procedures.fetch(namespace, procedure_ids)

    async def entries(self, namespace: str, kind: str) -> list[IndexRow]:
        return [row for batch in self.index.load(namespace, kind)[1] for row in batch]

    async def reopen(self) -> None:
        self._stores.close()
        self._start()

    async def close(self) -> None:
        self._stores.close()


class Served(Stores):
    """Everything on Postgres."""

    def __init__(self, server: Postgres, database: str) -> None:
        super().__init__()
        self._server = server
        self._database = database

    async def start(self) -> Served:
        settings = PostgresSettings(self._server.url(self._database))
        stores = await PostgresStores.open(settings, model=MODEL, clock=self.clock)
        self._stores = stores
        self.durability = stores.facts.durability
        self.sessions = stores.sessions
        self.marks = stores.marks
        self.memories = stores.memories
        self.procedures = stores.procedures
        self.settings = stores.settings
        self.tasks = stores.tasks
        self.steps = stores.steps
        self.retention = stores.retention
        self.change_log = stores.change_log
        self.transfers = stores.transfers
        return self

    async def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        return await self._stores.memories.rows(namespace, memory_ids)

    async def fetch_procedures(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        return await self._stores.procedures.rows(namespace, procedure_ids)

    async def entries(self, namespace: str, kind: str) -> list[IndexRow]:
        rows: list[IndexRow] = []
        async for batch in self._stores.changes.snapshot(namespace):
            if kind == "memory":
                rows += [replica_index_row(one) for one in batch.memories]
            else:
                rows += [_procedure_row(one) for one in batch.procedures]
        return rows

    async def reopen(self) -> None:
        await self._stores.close()
        await self.start()

    async def close(self) -> None:
        await self._stores.close()
        await give_back(self._server, self._database)


class Replicated(IndexedStores):
    """As a sidecar: written to Postgres, read from the replica."""

    def __init__(self, server: Postgres, database: str, data_dir: Path) -> None:
        super().__init__()
        self._server = server
        self._database = database
        self._data_dir = data_dir

    async def start(self) -> Replicated:
        sidecar = await Sidecar.open(
            self._server.url(self._database),
            self._data_dir,
            clock=self.clock,
            server_clock=self.clock,
            sink=self.changes.extend,
        )
        self._sidecar = sidecar
        for namespace in ("n", "m"):  # in use, as the index that follows it is
            await sidecar.follower.follow(namespace, 0, REPLICA_WAIT_S)
        self.durability = sidecar.postgres.facts.durability
        self.memories = sidecar.memories
        self.procedures = sidecar.procedures
        self.settings = sidecar.settings
        self.sessions = sidecar.postgres.sessions
        self.marks = sidecar.postgres.marks
        self.tasks = sidecar.postgres.tasks
        self.steps = sidecar.postgres.steps
        self.retention = sidecar.postgres.retention
        self.change_log = sidecar.postgres.change_log
        self.transfers = ReplicatedTransfers(sidecar.postgres.transfers, sidecar.follower)
        self.index = sidecar.local.memories
        return self

    async def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        await self._sidecar.poll()
        return self._sidecar.memories.fetch(namespace, memory_ids)

    async def fetch_procedures(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        await self._sidecar.poll()
        return self._sidecar.procedures.fetch(namespace, procedure_ids)

    async def entries(self, namespace: str, kind: str) -> list[IndexRow]:
        await self._sidecar.poll()
        return [row for batch in self.index.load(namespace, kind)[1] for row in batch]

    async def reopen(self) -> None:
        await self._sidecar.close()
        await self.start()

    async def close(self) -> None:
        await self._sidecar.close()
        await give_back(self._server, self._database)


class WithRedis(Embedded):
    """Sessions and checkpoints on Redis, the rest embedded."""

    def __init__(self, data_dir: Path, url: str) -> None:
        self._redis = RedisSettings(url)
        super().__init__(data_dir)

    async def start(self) -> WithRedis:
        self._link = await RedisLink.open(self._redis, self.clock)
        self.sessions = sessions = RedisSessions(self._link)
        self.marks = RedisSessionMarks(sessions)
        self.tasks = RedisCheckpoints(self._link)
        return self

    async def reopen(self) -> None:
        await self._link.close()
        await super().reopen()
        await self.start()

    async def close(self) -> None:
        await self._link.close()
        await super().close()


def _procedure_row(one: ReplicaProcedure) -> IndexRow:
    procedure, scope = one.procedure, one.procedure.scope
    return procedure_index_row(
        procedure.procedure_id,
        procedure.version,
        procedure.key,
        procedure.trigger,
        b"".join(one.embeddings),
        scope.user_id,
        scope.agent_id,
    )


async def _open_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Embedded:
    return Embedded(tmp_path / "data")


async def _open_postgres(version: str, request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    server: Postgres = request.getfixturevalue("postgres_launchers")(version).shared
    return await Served(server, await borrow(server)).start()


async def _open_replicated(request: pytest.FixtureRequest, tmp_path: Path) -> Replicated:
    server: Postgres = request.getfixturevalue("postgres_launchers")("postgres18").shared
    return await Replicated(server, await borrow(server), tmp_path / "data").start()


async def _open_redis(program: str, request: pytest.FixtureRequest, tmp_path: Path) -> WithRedis:
    server: RedisServer = request.getfixturevalue("redis_servers")(program)
    await asyncio.to_thread(server.send, "FLUSHALL")
    return await WithRedis(tmp_path / "data", server.url).start()


async def _open_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> WithRedis:
    formed: RedisCluster = request.getfixturevalue("redis_cluster")
    for primary in formed.primaries():
        await asyncio.to_thread(primary.send, "FLUSHALL")
    return await WithRedis(tmp_path / "data", formed.url).start()


PORTS = frozenset({"memories", "procedures", "sessions", "settings", "tasks"})
SESSIONS_AND_TASKS = frozenset({"sessions", "tasks"})
FEED = frozenset({"feed"})
"""Tells its index each of its own commits by itself, not what a change log says of several."""


@dataclass(frozen=True)
class Adapter:
    """``ports``: which of PORTS it implements; tests that need others do not run on it. ``indexed``: it feeds an index."""

    open: Callable[[pytest.FixtureRequest, Path], Awaitable[Stores]]
    ports: frozenset[str] = PORTS
    indexed: bool = False


ADAPTERS = {
    "sqlite": Adapter(_open_sqlite, PORTS | FEED, indexed=True),
    "replicated": Adapter(_open_replicated, indexed=True),
    "postgres15": Adapter(partial(_open_postgres, "postgres15")),
    "postgres18": Adapter(partial(_open_postgres, "postgres18")),
    "redis": Adapter(partial(_open_redis, "redis"), SESSIONS_AND_TASKS),
    "valkey": Adapter(partial(_open_redis, "valkey"), SESSIONS_AND_TASKS),
    "redis cluster": Adapter(_open_cluster, SESSIONS_AND_TASKS),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ports(name, ...): the ports of the stores that a test of the contract needs")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the contract runs on each adapter that has the ports it names."""
    marker = metafunc.definition.get_closest_marker("ports")
    needed = frozenset(marker.args) if marker else PORTS
    names = [name for name, adapter in sorted(ADAPTERS.items()) if needed <= adapter.ports]
    if "stores" in metafunc.fixturenames:
        metafunc.parametrize("stores", names, indirect=True)
    if "indexed" in metafunc.fixturenames:
        metafunc.parametrize("indexed", [name for name in names if ADAPTERS[name].indexed], indirect=True)


@pytest.fixture
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    opened = await ADAPTERS[request.param].open(request, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def indexed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IndexedStores]:
    """Those of the stores that feed an index: for tests of what it is told."""
    opened = await ADAPTERS[request.param].open(request, tmp_path)
    assert isinstance(opened, IndexedStores)
    yield opened
    await opened.close()
