"""The tests' daemon process, with what measuring needs: a precise start, its resident memory, a directory that goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memd_client import Client, Health, MemdError, RetryPolicy

from tests.daemon import START_TIMEOUT_S, Daemon

POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident memory in MB (10**6 bytes): all of it, and the part no file backs."""

    rss_mb: float
    anon_mb: float


def resident(pid: int) -> Resident:
    """Of a process, as /proc tells it now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kb = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("VmRSS", "RssAnon")))
    whole, anonymous = (int(kb[field].split()[0]) * 1024 / 1e6 for field in ("VmRSS", "RssAnon"))
    return Resident(whole, anonymous)


class MeasuredDaemon(Daemon):
    """``python -m memd serve`` on ``directory/data``; the data outlives a stop, so it can be started again."""

    def start(self, timeout_s: float = START_TIMEOUT_S) -> float:
        """Start and wait until it serves; seconds from spawn to SERVING, to a few milliseconds.

        Each probe has a connection of its own, since one that was refused would wait for gRPC's back-off.
        """
        begun = time.perf_counter()
        process = self.spawn()
        while process.poll() is None and time.perf_counter() - begun < timeout_s:
            if self.socket_path.exists() and self._serving():
                return time.perf_counter() - begun
            time.sleep(POLL_S)
        self.kill()
        raise RuntimeError(f"the server did not get ready; the end of its log:\n{self.log_tail()}")

    def resident(self) -> Resident:
        """As /proc tells it now."""
        return resident(self.pid)

    def _serving(self) -> bool:
        try:
            with Client(self.address, retry=RetryPolicy(attempts=1), timeout_s=1.0) as client:
                return client.health() is Health.SERVING
        except MemdError:
            return False


@contextlib.contextmanager
def running(server: MeasuredDaemon) -> Iterator[None]:
    """Start the server; stop it in the end, and kill it where that did not work."""
    try:
        server.start()
        yield
        server.terminate()
    finally:
        server.close()


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A private directory, gone at the end. Below ``$MEMD_BENCH_DIR`` where set: its disk is the one that is measured."""
    path = Path(tempfile.mkdtemp(prefix="memd-bench-", dir=os.environ.get("MEMD_BENCH_DIR")))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
