"""The stores under the contract. An adapter joins by a name in ``ADAPTERS`` and a way to open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memd.adapters.sqlite import SqliteStores
from memd.ports import IndexChange, MemoryStore, ProcedureStore, SessionStore, SettingsStore, StepLedger, TaskStore
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


class Stores:
    """What the contract is about: the ports, what the index was told, and a restart."""

    sessions: SessionStore
    memories: MemoryStore
    procedures: ProcedureStore
    settings: SettingsStore
    tasks: TaskStore
    steps: StepLedger
    step_modules: tuple[str, ...] = ("memd.adapters.sqlite.steps",)
    """Where the adapter's bound on steps is looked up."""

    def __init__(self, open_stores: Callable[[Callable[..., None], ManualClock], SqliteStores]) -> None:
        self._open = open_stores
        self.clock = ManualClock()
        self.changes: list[IndexChange] = []
        self._start()

    def _start(self) -> None:
        self._stores = self._open(self.changes.extend, self.clock)
        self.sessions = self._stores.sessions
        self.memories = self._stores.memories
        self.procedures = self._stores.procedures
        self.settings = self._stores.settings
        self.tasks = self._stores.tasks
        self.steps = self._stores.steps

    def reopen(self) -> None:
        """As after a restart of the daemon."""
        self.close()
        self._start()

    def close(self) -> None:
        self._stores.close()


def _open_sqlite(tmp_path: Path) -> Stores:
    return Stores(lambda sink, clock: SqliteStores.open(tmp_path / "data", model=MODEL, clock=clock, sink=sink))


ADAPTERS = {"sqlite": _open_sqlite}


@pytest.fixture(params=sorted(ADAPTERS))
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    opened = ADAPTERS[request.param](tmp_path)
    yield opened
    opened.close()
