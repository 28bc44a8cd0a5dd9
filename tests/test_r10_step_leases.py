"""R10, for steps: 16 workers on the same task, stopped past their leases and let go again. At most one live lease a step, no
completion by a holder whose lease is over, one completion a step."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from memd_client import Client, StepState

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.reliability.steps_worker import LEASE_S, STEPS, TASK

WORKERS = 16
RUN_S = 6.0
STOPS = scaled(8)
Line = tuple[str, str, int, int, int]


@pytest.fixture
def daemon(either_daemon: Daemon) -> Daemon:
    """Once on embedded storage, once on Postgres."""
    return either_daemon


def test_at_most_one_live_lease(daemon: Daemon, tmp_path: Path) -> None:
    workers = [_start(daemon.address, seed, tmp_path) for seed in range(WORKERS)]
    _stop_and_let_go(workers)
    for worker in workers:
        assert worker.wait(timeout=60) == 0
    lines = [line for seed in range(WORKERS) for line in _lines(tmp_path / f"{seed}")]
    _check(lines)
    with Client(daemon.address) as memd:
        states = {step.step_id: step.state for step in memd.list_steps(TASK)}
    completed = {name for action, name, *_ in lines if action == "complete"}
    assert completed == {name for name, state in states.items() if state is StepState.COMPLETED}
    assert len(completed) >= STEPS // 10, "the workers hardly worked"


def _start(address: str, seed: int, directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.reliability.steps_worker", address, str(seed), str(RUN_S)]
    with (directory / f"{seed}").open("wb") as out:
        return subprocess.Popen(command, stdout=out)


def _stop_and_let_go(workers: list[subprocess.Popen[bytes]]) -> None:
    """Each time one worker sleeps past its lease, while the others go on."""
    dice = random.Random(3)
    for _ in range(STOPS):
        time.sleep(0.1 + dice.random() * 0.2)
        asleep = dice.sample(workers, 4)
        for worker in asleep:
            worker.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_S * 1.1)
        for worker in asleep:
            worker.send_signal(signal.SIGCONT)


def _lines(file: Path) -> list[Line]:
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()]


def _check(lines: list[Line]) -> None:
    grants, completions = defaultdict(list), defaultdict(list)
    for action, name, token, called, returned in lines:
        if action == "grant":
            grants[name].append((token, called, returned))
        elif action == "complete":
            completions[name].append((token, called))
    for name, granted in grants.items():
        granted.sort()
        for (token, called, _), (later, _, returned) in pairwise(granted):
            assert token < later, f"two leases of {name} with one token"
            assert returned >= called + LEASE_S * 1e9, f"a lease of {name} was granted while another was live"
        done = completions[name]
        assert len(done) <= 1, f"{name} was completed {len(done)} times"
        for token, _called in done:
            assert token == granted[-1][0], f"{name} was completed by a holder whose lease had been taken over"
    assert any(len(granted) > 1 for granted in grants.values()), "no lease was ever taken over: nothing was shown"
    assert any(line[0] == "refused" for line in lines), "no holder was ever too late: nothing was shown"
