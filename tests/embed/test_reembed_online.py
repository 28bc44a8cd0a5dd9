"""Another embedding model under a daemon that serves: found before, during and after, whatever is written meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from memd_client import Client

from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.size import scaled

FP32, INT8 = "all-MiniLM-L6-v2/fp32", "all-MiniLM-L6-v2/int8-a1"
NOTES = 200
SOON_S = 120.0
KILLS = scaled(5)


@pytest.fixture
def daemon(models_root: Path, tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path, environment={"MEMD_MODEL_DIR": str(models_root), **CLIENTS_ONLY})
    try:
        yield made
    finally:
        made.close()


def fill(client: Client, count: int = NOTES) -> None:
    for start in range(0, count, 50):
        client.remember(
            [f"note {n}: the ferry to island {n} leaves from pier {n % 7}" for n in range(start, start + 50)]
        )
    client.remember("Ada prefers trains to planes")
    client.put_procedure("deploy", "blue and green", trigger="deploying the service")


def travels(client: Client) -> float:
    """How near the one memory is that answers."""
    found = client.recall("how does she like to travel?").memories[0]
    assert found.memory.content == "Ada prefers trains to planes"
    return found.relevance


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)


def vectors(daemon: Daemon, table: str = "embedding") -> dict[str, bytes]:
    with closing(apsw.Connection(str(daemon.data_dir / "memd.db"), flags=apsw.SQLITE_OPEN_READONLY)) as database:
        sql = f"SELECT content, vectors FROM memory JOIN {table} ON memory_pk = pk"
        return dict(database.execute(sql).fetchall())


def test_it_serves_before_during_and_after(daemon: Daemon) -> None:
    daemon.start()
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        before = travels(client)
        old = vectors(daemon)
        phases = set()
        for step, progress in enumerate(client.reembed(FP32)):
            phases.add(progress.phase)
            assert progress.embedding_model == FP32
            travels(client)
            client.remember(f"written meanwhile {step}")
        assert progress.phase == "done"
        assert "embedding" in phases
        stats = client.stats()
        assert (stats.embedding_model, stats.reembedding) == (FP32, None)
        assert 0 < abs(travels(client) - before) < 0.1
        assert client.recall("we go live with the service").procedures
        assert client.verify().ok
        new = vectors(daemon)
        assert all(new[content] != vector for content, vector in old.items())
        until(lambda: not vectors(daemon, "embedding_next"))
        after = travels(client)
    daemon.restart()
    with Client(daemon.address) as client:
        assert client.stats().embedding_model == FP32, "the store says which model, where the configuration does not"
        assert travels(client) == after
        assert client.verify().ok
