"""A worker that runs steps of shared tasks until it is told to stop, and writes down what it was answered.

    python -m tests.reliability.steps_worker ADDRESS SEED SECONDS

One JSON list a line on stdout: [action, step, token, called_ns, returned_ns], by the clock all processes of a machine share.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import timedelta

from memd_client import Client, StepState
from memd_client.errors import StepTaken

TASK = "shared"
STEPS = 400
LEASE_S = 1.0
MAX_WORK_S = 0.3
"""Most of a worker's time, so that it is stopped while it holds a lease."""


def main(address: str, seed: str, seconds: str) -> None:
    dice = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    with Client(address, timeout_s=30) as memd:
        while time.monotonic() < until:
            name = f"s{dice.randrange(STEPS)}"
            called = time.monotonic_ns()
            step = memd.begin_step(TASK, name, lease=timedelta(seconds=LEASE_S))
            try:
                if step.state is StepState.IN_DOUBT:
                    called = time.monotonic_ns()
                    step = memd.begin_step(
                        TASK, name, lease=timedelta(seconds=LEASE_S), in_doubt_token=step.fencing_token
                    )
                if step.state is not StepState.RUN:
                    continue
                _say("grant", name, step.fencing_token, called)
                time.sleep(dice.random() * MAX_WORK_S)
                called = time.monotonic_ns()
                memd.complete_step(TASK, name, fencing_token=step.fencing_token, result=seed.encode())
                _say("complete", name, step.fencing_token, called)
            except StepTaken:
                _say("refused", name, step.fencing_token, called)


def _say(action: str, name: str, token: int, called_ns: int) -> None:
    print(json.dumps([action, name, token, called_ns, time.monotonic_ns()]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
