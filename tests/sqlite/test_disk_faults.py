"""What the disk does to the stores: full, failing, torn away. The full sweeps are in R1, R3 and R4."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memd.adapters.sqlite import SqliteStores, verify_offline
from memd.domain.errors import ShuttingDown, StoreBusy, StoreFull
from memd.domain.model import EventKind, Scope
from tests import faultvfs
from tests.contract.builders import POLICY, SESSION, draft, event
from tests.contract.conftest import ManualClock
from tests.faultvfs import Fault
from tests.sqlite.conftest import Open

ALL = frozenset[EventKind]()


async def remember(stores: SqliteStores, memory_id: str) -> None:
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft(memory_id)], fence=fence, writer="w", request=None)


async def event_ids(stores: SqliteStores) -> list[str]:
    page = await stores.sessions.episodes(SESSION, POLICY, kinds=ALL, size=100, cursor="")
    return [one.event_id for one in page.items]


class TestFullDisk:
    async def test_writes_fail_clearly_reads_go_on_and_it_heals(
        self, open_stores: Open, faults: faultvfs.Faults, tmp_path: Path
    ) -> None:
        full = tmp_path / "full"
        faults.fault = Fault("enospc", ("write",), file="-wal", switch=str(full))
        stores = open_stores(vfs=faultvfs.NAME)
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        for round_ in range(3):
            full.touch()
            for _ in range(2):
                with pytest.raises(StoreFull):
                    await stores.sessions.append(SESSION, [event("lost")], POLICY, None)
                with pytest.raises(StoreFull):
                    await remember(stores, "lost")
            results = await asyncio.gather(
                *(stores.sessions.append(SESSION, [event(f"x{i}")], POLICY, None) for i in range(20)),
                return_exceptions=True,
            )
            assert all(isinstance(result, StoreFull) for result in results)
            assert (await stores.sessions.working(SESSION, POLICY)).items[-1].event_id == (
                f"b{round_ - 1}" if round_ else "a"
            )
            full.unlink()
            await stores.sessions.append(SESSION, [event(f"b{round_}")], POLICY, None)
            await remember(stores, f"m{round_}")
        assert await event_ids(stores) == ["b2", "b1", "b0", "a"]
        assert [memory.memory_id for memory in stores.memories.fetch("n", ["lost", "m0", "m2"])] == ["m0", "m2"]
        assert not stores.failed.is_set()
        assert (await stores.memories.verify("n"))[2] == []

    async def test_a_file_system_that_is_really_full(
        self, open_stores: Open, clock: ManualClock, small_disk: Path
    ) -> None:
        stores = open_stores(data_dir=small_disk / "data")
        ballast = small_disk / "ballast"
        for round_ in range(3):
            ballast.write_bytes(bytes(5 << 20))
            with pytest.raises(StoreFull):
                await fill(stores, round_)
            assert len(await event_ids(stores)) == POLICY.episodic_max_items
            ballast.unlink()
            await stores.sessions.forget(Scope("n"), all_users=True, receipt_id=f"r{round_}")
            await stores.sessions.append(SESSION, [event(f"after {round_}")], POLICY, None)
            assert await event_ids(stores) == [f"after {round_}"]
            while not stores.stats().erased:
                clock.advance(1_000_000)
                await stores.sessions.clear_working(Scope("n", "wakes", "the", "writer"), None)
        stores.close()
        assert verify_offline(small_disk / "data") == []


async def fill(stores: SqliteStores, round_: int) -> None:
    """Until the disk is full."""
    for i in range(1_000):
        await stores.sessions.append(SESSION, [event(f"{round_}-{i}", f"{i}" * 10_000)], POLICY, None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield small
    subprocess.run(["umount", "-l", str(small)], check=True)


class TestFailedCommit:
    async def test_an_fsync_that_fails_is_never_answered_ok_and_ends_the_store(
        self, open_stores: Open, faults: faultvfs.Faults
    ) -> None:
        fatal: list[BaseException] = []
        told = threading.Event()

        def on_fatal(error: BaseException) -> None:
            fatal.append(error)
            told.set()

        stores = open_stores(vfs=faultvfs.NAME, on_fatal=on_fatal)
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        faults.fault = Fault("eio", ("sync",), nth=1)  # once: the next fsync would succeed
        appends = [stores.sessions.append(SESSION, [event(f"b{i}")], POLICY, None) for i in range(3)]
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert all(isinstance(result, ShuttingDown) for result in results)
        assert faults.hits == 1
        assert stores.failed.is_set()
        await asyncio.wait_for(asyncio.to_thread(told.wait), 10)
        assert len(fatal) == 1
        for _ in range(2):
            with pytest.raises(ShuttingDown):
                await remember(stores, "m")
        assert await event_ids(stores) == ["a"]
        synced = faults.counts["sync"]
        await asyncio.to_thread(stores.close)
        assert faults.counts["sync"] == synced, "closing a failed store must not write any more"
        again = open_stores()
        assert (await event_ids(again))[-1] == "a"
        assert (await again.memories.verify("n"))[2] == []

    async def test_everything_that_waits_is_refused_as_well(self, open_stores: Open, faults: faultvfs.Faults) -> None:
        stores = open_stores(vfs=faultvfs.NAME)
        faults.fault = Fault("eio", ("sync",), persistent=True)
        first = asyncio.create_task(remember(stores, "m0"))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(remember(stores, f"m{i}")) for i in range(1, 30)]
        done, pending = await asyncio.wait([first, *rest], timeout=10)
        assert not pending
        assert all(isinstance(task.exception(), ShuttingDown) for task in done)

    async def test_an_error_before_the_commit_applies_nothing(
        self, open_stores: Open, faults: faultvfs.Faults, tmp_path: Path
    ) -> None:
        big = [event(f"e{i}", f"{i}" * 3_000) for i in range(40)]
        stores = open_stores(vfs=faultvfs.NAME)
        for i in range(5):
            await stores.sessions.append(Scope("n", "u", "a", f"s{i}"), big, POLICY, None)
        await asyncio.to_thread(stores.close)
        stores = open_stores(vfs=faultvfs.NAME)  # a cold cache: the next write has to read
        faults.fault = Fault("eio", ("read",), persistent=True)
        with pytest.raises(StoreBusy):
            await stores.sessions.append(Scope("n", "u", "a", "s3"), [event("new")], POLICY, None)
        faults.fault = None
        written = await stores.sessions.append(Scope("n", "u", "a", "s3"), [event("new")], POLICY, None)
        assert written.value[0].position == 41
        assert not stores.failed.is_set()


_WRITER = """
import asyncio, sys
from pathlib import Path
from memd.adapters.sqlite import SqliteStores
from tests.contract.builders import *
from tests.contract.conftest import ManualClock

async def main():
    stores = SqliteStores.open(Path(sys.argv[1]), model=MODEL, clock=ManualClock(), sink=lambda changes: None)
    async def caller(k):
        for i in range(10_000):
            ids = [f"{k}-{i}-{j}" for j in range(3)]
            drafts = [draft(one, "x" * 500) for one in ids]
            await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)
            print(*ids, flush=True)
    await asyncio.gather(*(caller(k) for k in range(8)))

asyncio.run(main())
"""


def killed_after(lines: int, data_dir: Path) -> list[str]:
    """What a writing process had acknowledged when it was killed."""
    command = [sys.executable, "-c", _WRITER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        return acknowledged + [line for line in process.stdout.read().splitlines() if len(line.split()) == 3]


@pytest.mark.parametrize("round_", range(3))
async def test_sigkill_leaves_every_request_whole_or_absent(open_stores: Open, tmp_path: Path, round_: int) -> None:
    acknowledged = killed_after(40 + 17 * round_, tmp_path / "data")
    stores = open_stores()
    _, rows, problems = await stores.memories.verify("n")
    assert list(problems) == []
    lost = [one for line in acknowledged for one in line.split() if one not in rows]
    assert lost == []
    assert len(rows) % 3 == 0
    calls = {one.rpartition("-")[0] for one in rows}
    assert len(rows) == 3 * len(calls), "a call is there in part"
