"""The agent of the demo's task, as a process of its own: 25 steps of a release, each of which appends a line to a journal.

    python -m examples.demo.release SOCKET TASK JOURNAL [DIES_IN_STEP]

With DIES_IN_STEP it kills itself right after that step's side effect, before anybody could write down that it happened.
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


def main(socket: str, task_id: str, journal: str, dies_in: str = "") -> None:
    def effect(number: int) -> str:
        with Path(journal).open("a", encoding="utf-8") as out:
            out.write(f"step {number}\n")
        if str(number) == dies_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"step {number} done"

    def verify(step: Step) -> Doubt | Happened:
        number = int(step.step_id)
        done = f"step {number}" in Path(journal).read_text(encoding="utf-8").splitlines()
        print(
            f"  step {number} is in doubt; the journal says it {'happened' if done else 'did not happen'}", flush=True
        )
        return Happened(f"step {number} done") if done else Doubt.RETRY

    with Client(socket, timeout_s=30) as client, client.task(task_id, on_doubt=verify, lease=LEASE) as task:
        for number in range(1, STEPS + 1):
            task.step(str(number), effect, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
