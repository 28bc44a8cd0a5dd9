"""The stores under the contract. An adapter joins by a name in ``ADAPTERS`` and a way to open it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Memory, Procedure
from memd.ports import (
    IndexChange,
    IndexRow,
    IndexSource,
    MemoryTruth,
    ProcedureTruth,
    SessionStore,
    SettingsStore,
    TaskStore,
)
from tests.contract.builders import MODEL

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


async def _open_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Embedded:
    return Embedded(tmp_path / "data")


Open = Callable[[pytest.FixtureRequest, Path], Awaitable[Stores]]
OpenIndexed = Callable[[pytest.FixtureRequest, Path], Awaitable[IndexedStores]]
INDEXED: dict[str, OpenIndexed] = {"sqlite": _open_sqlite}
ADAPTERS: dict[str, Open] = {**INDEXED}


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
