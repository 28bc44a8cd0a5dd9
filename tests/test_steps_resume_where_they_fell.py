"""A task of 25 steps whose agent is killed at every point of it, and whose daemon is killed too: every effect exactly once,
resumed at the step where it fell. Without somebody who verifies, never twice in silence."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from memd_client import Client, ResumableTask, StepInDoubt, StepState

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.reliability.steps_agent import STEPS

PLACES = ("before", "after", "between")
POINTS = [f"{number}:{place}" for number in range(STEPS) for place in PLACES]
ON_SERVERS = POINTS[:: max(1, 5 // scaled(1))]
"""Fewer there at size A: the ledger's rules are the same, and their contract is shown on both."""
AT_ONCE = 5
"""Tasks that are played beside each other, each killed at its share of the points: most of the time they wait for leases."""
DONE = "|".join(f"did {number}" for number in range(STEPS))


@pytest.fixture
def daemon(either_daemon: Daemon) -> Daemon:
    """Once on embedded storage, once on Postgres."""
    return either_daemon


async def agent(address: str, task_id: str, file: Path, death: str = "") -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.reliability.steps_agent", address, task_id, str(file), death]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode().strip()


async def play(daemon: Daemon, task_id: str, file: Path, deaths: list[str]) -> None:
    """Run the task, killed at each of ``deaths`` in turn, then to its end."""
    for death in deaths:
        code, _ = await agent(daemon.address, task_id, file, death)
        assert code == -signal.SIGKILL, f"the agent lived past {death}"
        number, place = death.split(":")
        expected = int(number) + (place != "before")
        assert len(_effects(file)) == expected, f"resumed elsewhere than at {death}"
    code, out = await agent(daemon.address, task_id, file)
    assert (code, out) == (0, DONE)
    assert _effects(file) == [str(number) for number in range(STEPS)], "every effect exactly once, in order"


async def test_the_agent_is_killed_at_every_point(daemon: Daemon, tmp_path: Path) -> None:
    points = ON_SERVERS if "MEMD_POSTGRES_URL" in daemon.environment else POINTS
    plays = [
        play(daemon, f"task-{first}", tmp_path / f"effects-{first}", points[first::AT_ONCE]) for first in range(AT_ONCE)
    ]
    await asyncio.gather(*plays)


async def test_the_daemon_is_killed_in_the_middle(daemon: Daemon, tmp_path: Path) -> None:
    dice = random.Random(7)
    running = asyncio.ensure_future(play(daemon, "task", tmp_path / "effects", ["6:after", "18:before"]))
    kills = scaled(5)
    while kills and not running.done():
        await asyncio.sleep(0.2 + dice.random())
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        kills -= 1
    await running


async def test_nobody_verifies_nobody_repeats(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "effects"
    code, _ = await agent(daemon.address, "task", file, "3:after")
    assert code == -signal.SIGKILL
    with Client(daemon.address) as memd:
        with memd.task("task") as task, pytest.raises(StepInDoubt):
            _run_all(task)
        assert [step.state for step in memd.list_steps("task")] == [StepState.COMPLETED] * 3 + [StepState.IN_DOUBT]
    assert _effects(file) == ["0", "1", "2", "3"]


def _effects(file: Path) -> list[str]:
    return file.read_text().split()


def _run_all(task: ResumableTask) -> None:
    for number in range(STEPS):
        task.step(f"step-{number}", _unwanted, number)


def _unwanted(number: int) -> str:
    raise AssertionError(f"step {number} ran again")
