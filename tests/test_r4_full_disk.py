"""R4: on a full disk reads go on, writes fail clearly with STORE_FULL, and it heals by itself once there is room.

The data directory is on a tmpfs of a few megabytes that is filled to the last byte and freed again, round after round, while
the daemon runs. Mounting one takes root; the same rounds run for everybody against a VFS that reports a full disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memd_client import Client, Health, RetryPolicy, TierState
from memd_client.errors import StoreFull

from memd.app import EXIT_START_FAILED
from tests.daemon import Daemon
from tests.faultvfs import FAULT_VARIABLE, Fault
from tests.reliability.size import scaled

ROUNDS = scaled(5)
DISK_BYTES = 8 * 1024 * 1024
CONTENT_BYTES = 60 * 1024
MOST_WRITES_TO_FILL = 60
"""The log reuses its own space for a while after the disk has become full."""
CHUNK_BYTES = 64 * 1024


@contextlib.contextmanager
def _tmpfs(at: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs takes root and mount(8); the VFS that reports a full disk stands in")
    at.mkdir()
    options = f"size={DISK_BYTES},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _fill(path: Path) -> None:
    """To the last byte."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(CHUNK_BYTES))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as filler:
        while True:
            filler.write(b"0")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with _tmpfs(tmp_path / "disk") as mounted:
        yield mounted


def test_a_full_disk_is_survived_round_after_round(disk: Path) -> None:
    filler = disk / "filler"
    _rounds(Daemon(disk / "daemon"), lambda: _fill(filler), filler.unlink)


def test_a_first_start_on_a_full_disk_is_refused_in_one_line(disk: Path, tmp_path: Path) -> None:
    with _closing(disk, tmp_path) as daemon:
        _fill(disk / "filler")
        assert _ended_or_serving(daemon) == EXIT_START_FAILED
        _said_in_one_line(daemon)
        (disk / "filler").unlink()
        daemon.start()
        with Client(daemon.address, user_id="u") as client:
            assert list(client.list()) == []


def test_a_restart_on_a_full_disk_reads_or_is_refused_in_one_line_and_loses_nothing(disk: Path, tmp_path: Path) -> None:
    """It reads, unless SQLite needs a new page to look at the log that the last run left."""
    with _closing(disk, tmp_path) as daemon, Client(daemon.address, user_id="u") as client:
        daemon.start()
        client.remember("Ada prefers tea", memory_id="tea")
        daemon.kill()
        daemon.log_path.unlink()
        _fill(disk / "filler")
        if _ended_or_serving(daemon) == EXIT_START_FAILED:
            _said_in_one_line(daemon)
        else:
            assert client.get("tea").content == "Ada prefers tea"
            assert daemon.log_path.read_text().count("checkpoints are postponed") <= 1
        daemon.kill()
        (disk / "filler").unlink()
        daemon.start()
        assert client.get("tea").content == "Ada prefers tea"
        client.remember("and now there is room", memory_id="room")


@contextlib.contextmanager
def _closing(disk: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started, with its data on the disk and its log elsewhere."""
    daemon = Daemon(tmp_path / "daemon")
    daemon.data_dir = disk / "data"
    try:
        yield daemon
    finally:
        daemon.close()


def _ended_or_serving(daemon: Daemon) -> int | None:
    """Start it; its exit code, None when it serves instead."""
    try:
        daemon.start()
    except RuntimeError:
        assert daemon.process is not None
        return daemon.process.returncode
    return None


def _said_in_one_line(daemon: Daemon) -> None:
    (line,) = daemon.log_path.read_text().splitlines()
    assert line.startswith("memd: ")
    assert "full" in line or "No space left" in line


def test_a_disk_reported_as_full_is_survived_round_after_round(tmp_path: Path) -> None:
    full = tmp_path / "full"
    fault = Fault("enospc", ("write",), switch=str(full))
    environment = {"MEMD_TESTING": "1", "MEMD_TEST_VFS": "tests.faultvfs:register", FAULT_VARIABLE: fault.to_json()}
    _rounds(Daemon(tmp_path / "daemon", environment=environment), full.touch, full.unlink)


def _rounds(daemon: Daemon, fill: Callable[[], None], free: Callable[[], None]) -> None:
    with daemon, Client(daemon.address, user_id="u", session_id="s", retry=RetryPolicy(attempts=1)) as client:
        client.remember("Ada prefers tea", memory_id="tea")
        client.observe("good morning")
        kept = {"tea"}
        for number in range(ROUNDS):
            fill()
            kept |= _write_until_full(client, f"round-{number}")
            _reads_go_on(client, kept)
            free()
            client.remember("written once there was room", memory_id=f"after-{number}")
            client.save_checkpoint("task", b"state", expected_version=number)
            kept.add(f"after-{number}")
            for memory_id in [one for one in kept if one.startswith("round-")]:
                client.forget(memory_id)  # room for the next round
                kept.remove(memory_id)
            assert client.verify().ok
        daemon.restart()
        assert {memory.memory_id for memory in client.list()} == kept
        assert client.load_checkpoint("task").version == ROUNDS
        assert client.verify().ok


def _write_until_full(client: Client, name: str) -> set[str]:
    """Every kind of write, until all are refused; the memories that were accepted."""
    accepted: set[str] = set()
    for number in range(MOST_WRITES_TO_FILL):
        memory_id = f"{name}-{number}"
        try:
            client.remember(_long(number), memory_id=memory_id)
        except StoreFull:
            break
        accepted.add(memory_id)
    with pytest.raises(StoreFull) as full:
        client.observe(_long(1) * 4)
    assert (full.value.reason, full.value.retry_after_s > 0) == ("STORE_FULL", True)
    assert "full" in full.value.message
    with pytest.raises(StoreFull):
        client.save_checkpoint("another", os.urandom(2 * 1024 * 1024), expected_version=0)
    return accepted


def _long(number: int) -> str:
    """Long for the disk, short for the model: one window of it, the rest is one enormous word."""
    return f"number {number} " + "x" * (CONTENT_BYTES // 4)


def _reads_go_on(client: Client, kept: set[str]) -> None:
    assert client.health() is Health.SERVING
    assert {memory.memory_id for memory in client.list()} == kept
    answer = client.recall("what does Ada prefer to drink?", tiers=["semantic", "working"])
    assert "tea" in {hit.memory.memory_id for hit in answer.memories}
    assert {status.state for status in answer.tier_status if status.tier.value in ("semantic", "working")} == {
        TierState.OK
    }
    assert [event.content for event in client.episodes()] == ["good morning"]
