"""R8: a restart is bounded: it reads saved indexes and what changed since, not every row, after a stop as after SIGKILL.

How long it takes is measured by ``python -m benches.cold_start``; timing decides nothing here. What is shown: a stop leaves
a file, each kind of start gives the same complete answers from it, and without it. That a large namespace is answered by
an exact scan while it loads is in ``tests/index/test_index.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memd_client import Client, NewMemory

from memd.adapters.index_files import DIRECTORY
from memd.limits import INDEX_SAVE_MIN_ROWS
from tests.daemon import Daemon

MEMORIES = INDEX_SAVE_MIN_ROWS + 100
BATCH = 100
PLACES = ("harbour", "mill", "bakery", "chapel", "orchard", "quarry", "lighthouse")
TIMEOUT_S = 120.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    with daemon, Client(daemon.address, user_id="ada", timeout_s=TIMEOUT_S) as client:
        for start in range(0, MEMORIES, BATCH):
            texts = [f"{n} was seen at the {PLACES[n % len(PLACES)]}" for n in range(start, start + BATCH)]
            client.remember([NewMemory(text, memory_id=f"m{start + n}") for n, text in enumerate(texts)])
        yield daemon


def answers(daemon: Daemon) -> list[tuple[str, float]]:
    """What it finds, complete."""
    with Client(daemon.address, user_id="ada", timeout_s=TIMEOUT_S) as client:
        replies = [client.recall(f"who was at the {place}?", limit=20, trim_ratio=0.0) for place in PLACES]
        assert client.verify().ok
    assert {status.reason for reply in replies for status in reply.tier_status} == {"", "NO_SESSION"}
    return [(hit.memory.memory_id, round(hit.score, 5)) for reply in replies for hit in reply.memories]


def files(daemon: Daemon) -> list[Path]:
    return sorted((daemon.data_dir / DIRECTORY).glob("*.index"))


def test_every_start_gives_the_same_complete_answers(daemon: Daemon) -> None:
    before = answers(daemon)
    assert len(before) == 20 * len(PLACES)

    daemon.terminate()
    saved = files(daemon)
    assert len(saved) == 1
    daemon.start()
    assert answers(daemon) == before
    assert files(daemon) == saved, "it was read and not written again"

    daemon.kill()
    daemon.start()
    assert answers(daemon) == before
    assert files(daemon) == saved

    with Client(daemon.address, user_id="ada", timeout_s=TIMEOUT_S) as client:
        client.remember([NewMemory("who was at the lighthouse? it was Ada herself", memory_id="late")])
    daemon.kill()
    daemon.start()
    after = answers(daemon)
    assert "late" in {memory_id for memory_id, _ in after}
    daemon.terminate()
    for path in files(daemon):
        path.unlink()
    daemon.start()
    assert answers(daemon) == after
