"""Backups of a running daemon: killed in the middle, onto a full disk, and while others write and forget."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from memd_client import Client, RetryPolicy, errors

from memd.adapters.sqlite import verify_offline
from memd.adapters.sqlite.backup import DIRECTORY, MANIFEST, restore
from memd.domain.errors import ConfigError
from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.size import scaled

KILLS = scaled(5)
MEGABYTES = 24
WAIT_S = 30.0
FORGET_EVERY = 3


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "source", environment=CLIENTS_ONLY) as running:
        yield running


def _fill(daemon: Daemon, megabytes: int = MEGABYTES) -> None:
    """What takes a while to copy, none to make, and nobody works on behind the replies."""
    with Client(daemon.address, timeout_s=WAIT_S) as client:
        for number in range(megabytes):
            client.save_checkpoint(f"fill-{number}", os.urandom(1 << 20))


def _restored(backup: Path, data_dir: Path) -> Path:
    restore(data_dir, backup, replace=False, progress=lambda said: None)
    assert verify_offline(data_dir) == []
    return data_dir


def test_one_that_is_killed_in_the_middle_is_whole_or_no_backup(daemon: Daemon, tmp_path: Path) -> None:
    dice = random.Random(7)
    backups = daemon.data_dir / DIRECTORY
    _fill(daemon)
    interrupted = 0
    for number in range(KILLS):
        name = f"b{number}"
        with Client(daemon.address, retry=RetryPolicy(attempts=1), timeout_s=WAIT_S) as client:
            asking = threading.Thread(target=_ask, args=(client, name))
            asking.start()
            while not any(backups.glob(".partial-*")) and asking.is_alive():
                time.sleep(0.001)
            time.sleep(number and dice.random() * 0.05)
            daemon.kill()
            asking.join()
        if (backups / name).exists():
            _restored(backups / name, tmp_path / f"restored{number}")
            shutil.rmtree(tmp_path / f"restored{number}")
        else:
            interrupted += 1
            for left in backups.glob(".partial-*"):
                if not (left / MANIFEST).exists():
                    with pytest.raises(ConfigError, match="no backup"):
                        _restored(left, tmp_path / "refused")
        daemon.start()
    assert interrupted, "none was killed in the middle"
    with Client(daemon.address, timeout_s=WAIT_S) as client:
        client.backup("whole")
        assert client.verify().ok
    assert not list(backups.glob(".partial-*")), "the next backup cleared them away"
    _restored(backups / "whole", tmp_path / "restored")


def _ask(client: Client, name: str) -> None:
    with contextlib.suppress(errors.MemdError):
        client.backup(name)


def _memd_backup(daemon: Daemon, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memd", "backup", name, "--address", daemon.address]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _refused_in_one_line(done: subprocess.CompletedProcess[str], word: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def _nothing_is_taken_for_a_backup(daemon: Daemon, tmp_path: Path) -> None:
    left = [path.name for path in (daemon.data_dir / DIRECTORY).iterdir()]
    assert left == [], "neither a backup nor a half one"
    with Client(daemon.address, user_id="u") as client:
        client.remember("writes go on")
        assert client.verify().ok
    done = _memd_backup(daemon, "after")
    assert done.returncode == 0, done.stderr
    _restored(daemon.data_dir / DIRECTORY / "after", tmp_path / "restored")


def test_a_target_disk_that_is_full(daemon: Daemon, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs takes root and mount(8); the limit on the size of a file stands in")
    backups = daemon.data_dir / DIRECTORY
    backups.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(backups)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        _fill(daemon)
        _refused_in_one_line(_memd_backup(daemon, "b"), "full")
        assert list(backups.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(backups)], check=True)
    _nothing_is_taken_for_a_backup(daemon, tmp_path)


def test_a_file_that_may_not_grow(daemon: Daemon, tmp_path: Path) -> None:
    """EFBIG, as a quota on files gives it; needs no right."""
    _fill(daemon)
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
    _refused_in_one_line(_memd_backup(daemon, "b"), "disk")
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
    _nothing_is_taken_for_a_backup(daemon, tmp_path)


class _Writer:
    """Remembers and forgets without a pause; knows what was acknowledged."""

    def __init__(self, address: str, user: str) -> None:
        self.kept: set[str] = set()
        self.forgotten: set[str] = set()
        self._stop = threading.Event()
        self._client = Client(address, user_id=user, timeout_s=WAIT_S)
        self._user = user
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in range(100_000):
            if self._stop.is_set():
                return
            memory_id = f"{self._user}-{number}"
            self._client.remember(f"fact {number}", memory_id=memory_id)
            if number % FORGET_EVERY:
                self.kept.add(memory_id)
                continue
            self._client.forget(memory_ids=[memory_id])
            self.forgotten.add(memory_id)
            if number % (2 * FORGET_EVERY) == 0 and number > FORGET_EVERY:  # one that a backup may have
                older = f"{self._user}-{number - 2}"
                self.kept.discard(older)
                self._client.forget(memory_ids=[older])
                self.forgotten.add(older)

    def wait_for(self, more: int) -> None:
        wanted, deadline_s = len(self.kept) + more, time.monotonic() + WAIT_S
        while len(self.kept) < wanted:
            assert time.monotonic() < deadline_s, "the writer stands still"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()


def test_under_load_nothing_acknowledged_is_missing_and_nothing_forgotten_comes_back(
    daemon: Daemon, tmp_path: Path
) -> None:
    _fill(daemon, 4)
    writers = [_Writer(daemon.address, user) for user in ("ada", "bob")]
    try:
        for writer in writers:
            writer.wait_for(20)
        before = {memory_id for writer in writers for memory_id in tuple(writer.kept)}
        with Client(daemon.address, timeout_s=WAIT_S) as client:
            client.backup("under-load")
            gone = set(sorted(before)[:4])
            for memory_id in gone:
                client.scoped(user_id=memory_id.partition("-")[0]).forget(memory_ids=[memory_id])
        for writer in writers:
            writer.wait_for(20)
    finally:
        for writer in writers:
            writer.stop()
    forgotten = gone.union(*(writer.forgotten for writer in writers))
    daemon.terminate()
    restore(daemon.data_dir, daemon.data_dir / DIRECTORY / "under-load", replace=True, progress=lambda said: None)
    assert verify_offline(daemon.data_dir) == []
    daemon.start()
    with Client(daemon.address) as client:
        found = {memory.memory_id for user in ("ada", "bob") for memory in client.scoped(user_id=user).list()}
        assert client.verify().ok
    assert before - forgotten <= found
    assert not found & forgotten


def test_on_postgres_it_says_what_to_use(postgres_url: str, tmp_path: Path) -> None:
    with Daemon(tmp_path / "served", environment={"MEMD_POSTGRES_URL": postgres_url}) as daemon:
        _refused_in_one_line(_memd_backup(daemon, "b"), "pg_dump")
        assert not (daemon.data_dir / DIRECTORY).exists()
