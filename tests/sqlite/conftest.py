"""SQLite stores, plain or on a file system that fails on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memd.adapters.sqlite import SqliteStores
from tests import faultvfs
from tests.contract.builders import MODEL
from tests.contract.conftest import ManualClock

Open = Callable[..., SqliteStores]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_stores(tmp_path: Path, clock: ManualClock) -> Iterator[Open]:
    """Opens ``tmp_path / "data"``; whatever is open at the end is closed."""
    opened: list[SqliteStores] = []

    def open_(**options: Any) -> SqliteStores:
        given: dict[str, Any] = {"model": MODEL, "clock": clock, "sink": lambda changes: None, **options}
        stores = SqliteStores.open(given.pop("data_dir", tmp_path / "data"), **given)
        opened.append(stores)
        return stores

    yield open_
    for stores in opened:
        stores.close()


@pytest.fixture
def faults(open_stores: Open) -> Iterator[faultvfs.Faults]:
    """Counts the calls of databases opened with ``vfs=faultvfs.NAME``; set ``fault`` to make some fail."""
    vfs = faultvfs.install()
    yield vfs.faults
    vfs.faults.fault = None
