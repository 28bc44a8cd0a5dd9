"""An agent as a process of its own: a task of STEPS steps, each of which appends a line to a file. Dies where it is told to.

    python -m tests.reliability.steps_agent ADDRESS TASK FILE [STEP:PLACE]

PLACE: ``before`` the effect (inside the step, after its intent), ``after`` it (before it is recorded), ``between`` (after the
step is recorded). Exit 0: the task is done; what it returned is the last line of stdout.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from memd_client import Client, Doubt, Happened, Step

STEPS = 25
LEASE = timedelta(seconds=1)


def main(address: str, task_id: str, file: str, death: str = "") -> None:
    def die(number: int, place: str) -> None:
        if death == f"{number}:{place}":
            os.kill(os.getpid(), signal.SIGKILL)

    def append(number: int) -> str:
        die(number, "before")
        with Path(file).open("ab") as effects:
            effects.write(f"{number}\n".encode())
        die(number, "after")
        return f"did {number}"

    def verify(step: Step) -> Doubt | Happened:
        number = step.step_id.removeprefix("step-")
        return Happened(f"did {number}") if number in Path(file).read_text().split() else Doubt.RETRY

    Path(file).touch()
    with Client(address, timeout_s=30) as memd, memd.task(task_id, on_doubt=verify, lease=LEASE) as task:
        results = []
        for number in range(STEPS):
            results.append(task.step(f"step-{number}", append, number))
            die(number, "between")
        print("|".join(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
