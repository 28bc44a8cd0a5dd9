"""R10: checkpoints are compare-and-set, and linearizable.

16 writers save and load two checkpoints; the process is killed and started again twice in the middle; some unanswered saves
are sent again under their request_id. Every history must have an order in which each operation takes effect at one moment
between its call and its return.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from memd_client import AsyncClient, MemdError, RetryPolicy
from memd_client.errors import NotFound

from tests.daemon import Daemon
from tests.faultvfs import Action, Fault
from tests.reliability import race
from tests.reliability.forks import Forks
from tests.reliability.linearizable import NEVER, Operation, histories, linearizable
from tests.reliability.pool import each
from tests.reliability.size import scaled
from tests.reliability.workload import lines_of

HISTORIES = scaled(50)
OPERATIONS = 6
"""Of each of the 16 writers, of each of the three runs of a history."""
ACTIONS: tuple[Action, ...] = ("kill", "kill_torn", "kill_after")
CALLS = 300
"""About what a run makes; the killing one is drawn among them."""
KILL_WITHIN_S = 0.6


@dataclass(frozen=True, slots=True)
class Judged:
    linearizable: bool
    operations: int
    saved: int
    unknown: int


def test_every_history_of_sixteen_writers_and_two_kills_is_linearizable() -> None:
    judged = [one for tasks in each(range(HISTORIES), _history) for one in tasks]
    assert [n for n, one in enumerate(judged) if not one.linearizable] == []
    assert len(judged) >= HISTORIES
    assert sum(one.saved for one in judged) > 5 * HISTORIES, "hardly anything was saved"
    assert sum(one.unknown for one in judged) > HISTORIES, "hardly anything was interrupted"


def _history(forks: Forks, place: Path, seed: int) -> list[Judged]:
    rng = random.Random(seed)
    log = place / "log"
    for start in range(3):
        fault = Fault(rng.choice(ACTIONS), nth=rng.randint(1, CALLS)).to_json() if start < 2 else ""
        forks.run(race.Race(str(place / "data"), str(log), seed, start, OPERATIONS, fault))
    return _judge(log)


def _judge(log: Path) -> list[Judged]:
    return [
        Judged(
            linearizable(history),
            len(history),
            sum(op.outcome == "saved" for op in history),
            sum(op.outcome == "unknown" for op in history),
        )
        for history in histories(lines_of(log)).values()
    ]


@dataclass(frozen=True, slots=True)
class ClientRegister:
    client: AsyncClient

    async def save(self, task: str, value: str, expected: int | None, request_id: str) -> int:
        saved = await self.client.save_checkpoint(
            task, value.encode(), expected_version=expected, request_id=request_id
        )
        return saved.version

    async def load(self, task: str) -> tuple[int, str]:
        try:
            checkpoint = await self.client.load_checkpoint(task)
        except NotFound:
            return 0, ""
        return checkpoint.version, checkpoint.state.decode()


async def test_a_history_through_a_daemon_that_is_killed_is_linearizable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Daemon(tmp_path / "daemon") as daemon:
        for start in range(3):
            pending = race.unanswered(log)
            async with AsyncClient(daemon.address, retry=RetryPolicy(attempts=1)) as client:
                racing = asyncio.create_task(_race(ClientRegister(client), log, pending, start))
                await asyncio.sleep(random.Random(start).uniform(0.1, KILL_WITHIN_S))
                if start < 2:
                    await asyncio.to_thread(daemon.kill)
                await racing
            if start < 2:
                await asyncio.to_thread(daemon.start)
    judged = _judge(log)
    assert all(one.linearizable for one in judged)
    assert sum(one.saved for one in judged) > 20


async def _race(register: ClientRegister, log: Path, pending: list[tuple[str, str, int | None]], start: int) -> None:
    history = race.History(log)
    try:
        for name, task, expected in pending:
            await race.save(register, history, name, task, expected)
        await race.race(register, history, seed=7, start=start, operations=10 if start == 2 else 10_000)
    except MemdError:
        if start == 2:
            raise


def _save(call: int, ret: int, version: int, expected: int | None, value: str = "x") -> Operation:
    return Operation("save", call, ret, "saved", version, value, expected)


def _load(call: int, ret: int, version: int, value: str = "x") -> Operation:
    return Operation("load", call, ret, "loaded", version, value)


LOST = replace(_save(0, NEVER, 0, 0, "lost"), outcome="unknown")


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        pytest.param([_save(0, 1, 1, 0), _load(2, 3, 1)], True, id="one after the other"),
        pytest.param([_save(0, 1, 1, 0), _load(2, 3, 0, "")], False, id="a stale load"),
        pytest.param([_save(0, 5, 1, 0, "a"), _save(1, 6, 1, 0, "b")], False, id="two winners"),
        pytest.param([_save(0, 1, 1, 0, "a"), _load(2, 3, 1, "b")], False, id="a value nobody saved"),
        pytest.param([_save(0, 1, 1, 0), _save(2, 3, 3, None)], False, id="a version that was skipped"),
        pytest.param([LOST, _load(2, 3, 1, "lost")], True, id="an unanswered save that happened"),
        pytest.param([LOST, _load(2, 3, 0, "")], True, id="an unanswered save that did not happen"),
        pytest.param([LOST, _load(2, 3, 1, "lost"), _load(4, 5, 0, "")], False, id="an unanswered save undone"),
        pytest.param([LOST, _save(1, 2, 2, None), _load(3, 4, 2)], True, id="an overwrite of an unanswered save"),
        pytest.param(
            [_save(0, 1, 1, 0), Operation("save", 2, 3, "conflict", 0, "y", 1)], False, id="a conflict with the past"
        ),
    ],
)
def test_the_checker_tells_right_from_wrong(history: list[Operation], verdict: bool) -> None:
    assert linearizable(history) is verdict
