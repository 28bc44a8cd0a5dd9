"""The reserve of the write-ahead log: there when there is room, refilled after it was emptied, gone with the daemon."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from memd.adapters.sqlite import log_file
from memd.adapters.sqlite.log_file import RESERVE_BYTES
from memd.domain.visibility import EVERYTHING
from memd.ports import ForgetPlan
from tests.contract.builders import POLICY, SESSION, draft, event
from tests.sqlite.conftest import Open


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def size_reaches(path: Path, wanted: int) -> None:
    for _ in range(200):
        if size(path) == wanted:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"the log has {size(path)} bytes")


async def test_it_is_made_at_the_start_and_again_after_an_erasure(open_stores: Open, tmp_path: Path) -> None:
    log = tmp_path / "data" / "memd.db-wal"
    stores = open_stores()
    await size_reaches(log, RESERVE_BYTES)
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("m")], fence=fence, writer="w", request=None)
    inode = log.stat().st_ino
    await stores.memories.forget(ForgetPlan(SESSION, EVERYTHING, memory_ids=("m",)), writer="w", request=None)
    for _ in range(200):
        if stores.stats().erased:
            break
        await asyncio.sleep(0.02)
    await size_reaches(log, RESERVE_BYTES)
    assert log.stat().st_ino == inode
    assert log.read_bytes() == bytes(RESERVE_BYTES), "nothing but zeros until the next write"
    await stores.sessions.append(SESSION, [event("after")], POLICY, None)
    assert log.stat().st_size == RESERVE_BYTES, "commits overwrite"
    stores.close()
    assert not log.exists()


async def test_a_crash_with_a_reserve_is_recovered(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    await size_reaches(tmp_path / "data" / "memd.db-wal", RESERVE_BYTES)
    for i in range(20):
        await stores.sessions.append(SESSION, [event(f"e{i}")], POLICY, None)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("memd.db", "memd.db-wal"):
        shutil.copy(tmp_path / "data" / name, crashed / name)
    again = open_stores(data_dir=crashed)
    assert [one.event_id for one in (await again.sessions.working(SESSION, POLICY)).items] == ["e17", "e18", "e19"]


async def test_a_small_disk_is_left_to_the_data(
    open_stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(log_file, "_SHARE", free // RESERVE_BYTES + 1_000_000)
    stores = open_stores()
    await stores.sessions.append(SESSION, [event("a")], POLICY, None)
    await asyncio.sleep(0.1)
    assert (tmp_path / "data" / "memd.db-wal").stat().st_size < RESERVE_BYTES
