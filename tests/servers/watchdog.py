"""Clears up behind a test process that died: kills the servers it left and removes their directories.

``Watchdog`` is the side of the test process; this module run as a program is the other. It reads orders from a pipe, whose
end means that the test process is gone, however it went. Unlike the kernel's signal to the children of a dead parent it
reaches stopped servers and their children, and works from any thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GONE_TIMEOUT_S = 10.0
POLL_S = 0.002


class Watchdog:
    """One process that outlives this one by as long as it takes to clear up."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the test process
            cwd="/",
        )

    def watch(self, process_id: int) -> None:
        self._order("+process", str(process_id))

    def forget(self, process_id: int) -> None:
        """Before the process is reaped: its id may be another's afterwards."""
        self._order("-process", str(process_id))

    def remove(self, directory: Path) -> None:
        """Remove it at the end, in any case."""
        self._order("+directory", str(directory))

    def _order(self, what: str, value: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\t{value}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """Clear up now."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def family(process_id: int) -> list[int]:
    """The process and its children. Postgres makes each of its processes the leader of a session of its own, so no
    signal to a group reaches them."""
    try:
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    except OSError:
        children = ""
    return [process_id, *map(int, children.split())]


def signal_family(process_id: int, number: signal.Signals) -> list[int]:
    """Signal the process and its children, none of which can be born meanwhile; who they were."""
    _signal(process_id, signal.SIGSTOP)
    members = family(process_id)
    for member in members:
        _signal(member, number)
    return members


def kill_family(process_id: int) -> None:
    """SIGKILL to all, and wait until none runs. The process itself remains to be reaped by its parent."""
    members = signal_family(process_id, signal.SIGKILL)
    end = time.monotonic() + GONE_TIMEOUT_S
    while any(_runs(member) for member in members) and time.monotonic() < end:
        time.sleep(POLL_S)


def _runs(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _signal(process_id: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, number)


def main() -> None:
    processes: set[int] = set()
    directories: list[Path] = []
    for line in sys.stdin:
        order, value = line.rstrip("\n").split("\t")
        match order:
            case "+process":
                processes.add(int(value))
            case "-process":
                processes.discard(int(value))
            case "+directory":
                directories.append(Path(value))
    for process_id in processes:
        kill_family(process_id)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
