"""A real daemon process under the control of a test or a benchmark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from memd_client import Client, Health, MemdError, RetryPolicy

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01
LOG_TAIL_BYTES = 4_000
CLIENTS_ONLY = {"MEMD_CONSOLIDATION_ENABLED": "false"}
"""For tests that compare all there is with what clients wrote: no digests, no memories made of events."""
INHERITED = frozenset({"MEMD_MODEL_DIR", "MEMD_TESTING", "MEMD_TEST_PLANT"})
"""Of MEMD_*: where the models are, and the bug that R26 has planted."""


class Daemon:
    """``python -m memd serve`` on embedded storage below ``directory``, at a Unix socket.

    ``arguments`` are added to the command line, ``environment`` to this process's own, of which ``MEMD_*`` (but
    ``INHERITED``) is left out. The log of all its runs is in ``log_path``. As a context manager it
    starts, and kills what is left at the end. The socket has its own short directory, since a path of more than 107
    bytes cannot be bound.
    """

    def __init__(
        self, directory: Path, *, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.log_path = directory / "daemon.log"
        self._socket_dir = Path(tempfile.mkdtemp(prefix="memd-test-"))
        self.socket_path = self._socket_dir / "s.sock"
        self.address = f"unix:{self.socket_path}"
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running daemon."""
        if self.process is None:
            raise RuntimeError("the daemon was never started")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it to serve."""
        command = [sys.executable, "-m", "memd", "serve", "--data-dir", str(self.data_dir)]
        command += ["--socket", str(self.socket_path), *self.arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MEMD_") or k in INHERITED}
        environment = {**inherited, **self.environment}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        return self.process

    def start(self, timeout_s: float = START_TIMEOUT_S) -> float:
        """Start and wait until it serves; seconds from spawn to SERVING."""
        begun = time.monotonic()
        process = self.spawn()
        while process.poll() is None and time.monotonic() - begun < timeout_s:
            if self.socket_path.exists() and _serving(self.address):
                return time.monotonic() - begun
            time.sleep(POLL_S)
        self.kill()
        raise RuntimeError(f"the daemon did not get ready; the end of its log:\n{self.log_tail()}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, wait for the clean stop; its exit code."""
        if self.process is None:
            raise RuntimeError("the daemon was never started")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def restart(self) -> float:
        """A clean stop, if it runs, and a start."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        return self.start()

    def log_tail(self) -> str:
        """The last lines of the log."""
        return self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def close(self) -> None:
        """Kill what runs and remove the socket's directory; data and log stay."""
        self.kill()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _serving(address: str) -> bool:
    # a connection of its own: one that was refused would wait for gRPC's back-off
    try:
        with Client(address, timeout_s=1.0, retry=RetryPolicy(attempts=1)) as client:
            return client.health() is Health.SERVING
    except MemdError:
        return False
