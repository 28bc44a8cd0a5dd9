"""A daemon for tests that hold wherever the rows are: on embedded storage, and on Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.servers.postgres import Launcher


@pytest.fixture(params=["sqlite", "postgres"])
def either_daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """Serving, on an empty store; its data goes with it."""
    if request.param == "sqlite":
        with Daemon(tmp_path / "daemon") as running:
            yield running
        return
    launcher: Launcher = request.getfixturevalue("postgres18")
    server = launcher.shared
    database = server.create_database()
    with Daemon(tmp_path / "daemon", environment={"MEMD_POSTGRES_URL": server.url(database)}) as running:
        yield running
    server.drop_database(database)
