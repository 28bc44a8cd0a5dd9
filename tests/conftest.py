"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.no_fork_handlers  # noqa: F401
from tests.daemon import Daemon

pytest_plugins = ["tests.servers.fixtures", "tests.reliability.backends"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A real daemon on an empty data directory, serving at ``daemon.address``."""
    running = Daemon(tmp_path / "daemon")
    try:
        running.start()
        yield running
    finally:
        running.close()
