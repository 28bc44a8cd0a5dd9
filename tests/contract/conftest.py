"""The stores under the contract. An adapter joins by a name in ``ADAPTERS`` and a way to open it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.rows.memory import index_row
from memd.adapters.rows.procedure import procedure_index_row
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Durability, Memory, Procedure
from memd.ports import (
    IndexChange,
    IndexRow,
    IndexSource,
    MemoryTruth,
    ProcedureTruth,
    ReplicaProcedure,
    SessionStore,
    SettingsStore,
    TaskStore,
)
from tests.contract.builders import MODEL
from tests.postgres.databases import made_database
from tests.servers.postgres import Postgres

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
    memories: MemoryTruth
    procedures: ProcedureTruth
    settings: SettingsStore
    tasks: TaskStore

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
        self.memories = stores.memories
        self.index = stores.memories
        self.procedures = stores.procedures
        self.settings = stores.settings
        self.tasks = stores.tasks

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
    """Memories, procedures and settings on Postgres."""

    def __init__(self, server: Postgres, database: str) -> None:
        super().__init__()
        self._server = server
        self._database = database

    async def start(self) -> Served:
        settings = PostgresSettings(self._server.url(self._database))
        stores = await PostgresStores.open(settings, model=MODEL, clock=self.clock)
        self._stores = stores
        self.durability = stores.facts.durability
        self.memories = stores.memories
        self.procedures = stores.procedures
        self.settings = stores.settings
        return self

    async def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        return await self._stores.memories.rows(namespace, memory_ids)

    async def fetch_procedures(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        return await self._stores.procedures.rows(namespace, procedure_ids)

    async def entries(self, namespace: str, kind: str) -> list[IndexRow]:
        rows: list[IndexRow] = []
        async for batch in self._stores.changes.snapshot(namespace):
            if kind == "memory":
                rows += [index_row(one.memory, b"".join(one.embeddings)) for one in batch.memories]
            else:
                rows += [_procedure_row(one) for one in batch.procedures]
        return rows

    async def reopen(self) -> None:
        await self._stores.close()
        await self.start()

    async def close(self) -> None:
        await self._stores.close()
        await asyncio.to_thread(self._server.drop_database, self._database)


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
    return await Served(server, await made_database(server)).start()


Open = Callable[[pytest.FixtureRequest, Path], Awaitable[Stores]]
OpenIndexed = Callable[[pytest.FixtureRequest, Path], Awaitable[IndexedStores]]
INDEXED: dict[str, OpenIndexed] = {"sqlite": _open_sqlite}
ADAPTERS: dict[str, Open] = {
    **INDEXED,
    "postgres15": partial(_open_postgres, "postgres15"),
    "postgres18": partial(_open_postgres, "postgres18"),
}


@pytest.fixture(params=sorted(ADAPTERS))
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    opened = await ADAPTERS[request.param](request, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=sorted(INDEXED))
async def indexed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IndexedStores]:
    """Those of the stores that feed an index: for tests of what it is told."""
    opened = await INDEXED[request.param](request, tmp_path)
    yield opened
    await opened.close()
