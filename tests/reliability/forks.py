"""Processes to kill, made in milliseconds: a server that has imported everything forks one for every task.

``python -m tests.reliability.forks`` is the server: one JSON task a line in, the child's process id and then its wait
status out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.reliability import plants, race, tasks

Task: TypeAlias = tasks.Run | tasks.Look | race.Race
_RUNNERS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "Run": (tasks.Run, tasks.run),
    "Look": (tasks.Look, tasks.look),
    "Race": (race.Race, race.run),
}
TIMEOUT_S = 60.0
_DELIVERED = "delivered"


class Forks:
    """One server; ``run`` from one thread at a time."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        with errors.open("ab") as sink:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.forks"],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )

    def run(self, task: Task, *, kill_after_s: float | None = None) -> int:
        """Wait for the process of ``task``: 0, or minus the number of the signal that ended it.

        ``kill_after_s``: SIGKILL then, unless it has ended. AssertionError when the task itself failed.
        """
        self._send({"kind": type(task).__name__, "task": asdict(task)})
        pid = int(self._receive())
        timer = threading.Timer(TIMEOUT_S if kill_after_s is None else kill_after_s, _kill, (pid,))
        timer.start()
        begun = time.monotonic()
        status = int(self._receive())
        timer.cancel()
        timer.join()
        self._send(_DELIVERED)
        assert kill_after_s is not None or time.monotonic() - begun < TIMEOUT_S, f"{task} hung"
        assert status <= 0, f"{task} failed:\n{self._errors.read_text()[-4000:]}"
        return status

    def _send(self, message: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(message) + "\n")
        self._server.stdin.flush()

    def _receive(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, f"the fork server died:\n{self._errors.read_text()[-4000:]}"
        return line

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _kill(pid: int) -> None:
    """The server does not collect the child before it was told so: the id cannot belong to anybody else."""
    os.kill(pid, signal.SIGKILL)


def _serve() -> None:
    plants.plant_from_environment()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request)
        print(pid, flush=True)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)
        sys.stdin.readline()
        os.waitpid(pid, 0)


def _child(request: dict[str, Any]) -> None:
    code = 70
    try:
        kind, runner = _RUNNERS[request["kind"]]
        runner(kind(**request["task"]))
        code = 0
    except BaseException:  # noqa: BLE001 - a forked child must never return into the server's loop
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
