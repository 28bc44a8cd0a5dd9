"""A daemon killed while it applies a batch of changes: its replica is before the batch or after it, never in between."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from memd.ports import Head
from tests.faultvfs import Action, Fault
from tests.reliability.size import scaled
from tests.replica.applier import AFTER, BEFORE, EPOCH, N, opened, versions

KILLS = scaled(12)
CALLS = 60
"""Fewer than one batch makes, so that every kill hits."""
ACTIONS: tuple[Action, ...] = ("kill", "kill_torn", "kill_after")
ROOT = Path(__file__).parents[2]


async def test_a_batch_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    stores = opened(tmp_path / "before")
    assert await stores.replica.apply(BEFORE)
    stores.close()
    for kill in range(KILLS):
        directory = tmp_path / f"kill{kill}"
        shutil.copytree(tmp_path / "before", directory)
        fault = Fault(ACTIONS[kill % len(ACTIONS)], nth=1 + kill * CALLS // KILLS)
        command = [sys.executable, "-m", "tests.replica.applier", str(directory), fault.to_json()]
        done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        await _before_or_after(directory)


async def _before_or_after(directory: Path) -> None:
    stores = opened(directory)
    try:
        head = (await stores.replica.heads())[N]
        _, rows, problems = await stores.memories.verify(N)
        assert not problems
        assert (head, dict(rows)) in (
            (Head(1, EPOCH), versions(BEFORE)),
            (Head(2, EPOCH), versions(BEFORE, AFTER)),
        )
        if head.seq == 1:
            assert await stores.replica.apply(AFTER), "it goes on from there"
    finally:
        stores.close()
