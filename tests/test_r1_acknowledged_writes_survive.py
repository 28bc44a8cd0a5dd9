"""R1: an acknowledged write survives SIGKILL and power loss; every other one is whole or absent.

Clients log each intent and each acknowledgement. The process is killed at chosen calls of the file system and at random
times, and the power is cut at random points of recorded runs (SIGKILL alone cannot show a missing fsync: the page cache
survives it). Then the data is opened again and compared with the logs; index and rows are compared as well (R6); and what
was never answered is sent again under its request_id, which must have one effect (R9).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from memd_client import AsyncClient, MemdError, RetryPolicy

from tests.daemon import CLIENTS_ONLY, Daemon
from tests.faultvfs import Action, Fault, Journal, Record
from tests.reliability import stack, workload
from tests.reliability.daemon_target import ClientTarget
from tests.reliability.forks import Forks
from tests.reliability.model import difference
from tests.reliability.pool import each, result
from tests.reliability.powercut import Disk
from tests.reliability.size import scaled
from tests.reliability.tasks import Look, Run

SWEPT_KILLS = scaled(75)
RANDOM_KILLS = scaled(20)
DAEMON_KILLS = scaled(5)
KILLS_A_CHAIN = 5
"""Kills one data directory goes through: later ones hit a database that has content and a past."""
CUTS = scaled(50)
CUTS_A_RUN = 10
CALLS_SWEPT = 1_800
"""About what a run of OPS writes a client makes, so that most kills hit while clients write."""
OPS = 20
ACTIONS: tuple[Action, ...] = ("kill", "kill_torn", "kill_after")
KILL_WITHIN_S = 0.4
SIGKILLED = -9


@dataclass(frozen=True, slots=True)
class Chain:
    """One data directory and the faults it is killed by, None for a random time."""

    seed: int
    faults: tuple[Fault | None, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    kills: int
    acknowledged: int
    resent: int
    problems: list[str]


def test_every_acknowledged_write_survives_sigkill_at_chosen_calls() -> None:
    step = CALLS_SWEPT / SWEPT_KILLS
    calls = [1 + int(step * n) for n in range(SWEPT_KILLS)]
    random.Random(1).shuffle(calls)
    faults = [Fault(ACTIONS[n % len(ACTIONS)], nth=call) for n, call in enumerate(calls)]
    _expect(each(_chains(faults), _killed), kills=SWEPT_KILLS)


def test_every_acknowledged_write_survives_sigkill_at_random_times() -> None:
    _expect(each(_chains([None] * RANDOM_KILLS), _killed), kills=RANDOM_KILLS)


def _chains(faults: list[Fault] | list[None]) -> list[Chain]:
    starts = range(0, len(faults), KILLS_A_CHAIN)
    return [Chain(start, tuple(faults[start : start + KILLS_A_CHAIN])) for start in starts]


def _killed(forks: Forks, place: Path, chain: Chain) -> Outcome:
    """Killed again and again. Every third time nobody looks before the next kill, so that recovery is killed as well."""
    kills = resent = acknowledged = 0
    problems: list[str] = []
    rng = random.Random(chain.seed)
    data, log, found = str(place / "data"), str(place / "log"), place / "found"
    for number, fault in enumerate(chain.faults):
        run = Run(data, log, chain.seed, ops=10 * OPS, fault=fault.to_json() if fault else "")
        status = forks.run(run, kill_after_s=None if fault else rng.uniform(0.01, KILL_WITHIN_S))
        kills += status == SIGKILLED
        if number % 3 == 2 and number + 1 < len(chain.faults):
            continue
        forks.run(Look(data, log, str(found)))
        seen = result(found)
        problems += [f"{fault}: {problem}" for problem in seen["problems"]]
        acknowledged, resent = seen["acknowledged"], resent + seen["unresolved"]
    return Outcome(kills, acknowledged, resent, problems)


def _expect(outcomes: list[Outcome], *, kills: int) -> None:
    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert sum(outcome.kills for outcome in outcomes) == kills
    assert sum(outcome.acknowledged for outcome in outcomes) > kills, "hardly anything was written"
    assert sum(outcome.resent for outcome in outcomes) > kills // 8, "hardly anything was interrupted"


def test_every_acknowledged_write_survives_a_power_cut() -> None:
    outcomes = [one for some in each(range(-(-CUTS // CUTS_A_RUN)), _cut) for one in some]
    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert len(outcomes) >= CUTS
    assert sum(outcome.acknowledged for outcome in outcomes) > 10 * CUTS
    assert sum(outcome.resent for outcome in outcomes) > CUTS // 2, "hardly anything was interrupted"


def _cut(forks: Forks, place: Path, seed: int) -> list[Outcome]:
    """One recorded run, then the disk as it may be after a power cut at some of its moments."""
    journal = place / "journal"
    forks.run(Run(str(place / "data"), str(place / "log"), seed, ops=OPS, journal=str(journal)))
    records = list(Journal.read(journal))
    rng = random.Random(seed)
    disk, at, outcomes = Disk(), 0, []
    for number, cut in enumerate(sorted(rng.sample(range(len(records)), CUTS_A_RUN))):
        disk.apply(records[at:cut])
        at = cut
        outcomes.append(_image(forks, place / f"cut-{number}", disk, rng, records[:cut]))
    return outcomes


def _image(forks: Forks, place: Path, disk: Disk, rng: random.Random, before: list[Record]) -> Outcome:
    data, log, found = place / "data", place / "log", place / "found"
    data.mkdir(parents=True)
    mode = disk.image(data, rng)
    log.write_bytes(b"".join(r.data for r in before if r.kind == "mark"))
    forks.run(Look(str(data), str(log), str(found)))
    seen = result(found)
    shutil.rmtree(place)
    return Outcome(1, seen["acknowledged"], seen["unresolved"], [f"{mode}: {text}" for text in seen["problems"]])


async def test_every_write_a_daemon_acknowledged_survives_its_sigkill(tmp_path: Path) -> None:
    path, rng = tmp_path / "log", random.Random(2)
    log = workload.Log(path)
    with Daemon(tmp_path / "daemon", environment=CLIENTS_ONLY) as daemon:
        for kill in range(DAEMON_KILLS):
            await _write_until_killed(daemon, path, log, rng.uniform(0.05, 2 * KILL_WITHIN_S), kill)
            await asyncio.to_thread(daemon.start)
            await _compare(daemon, path)
    clients, _ = workload.expectations(path)
    assert sum(client.acknowledged for client in clients.values()) > 5 * DAEMON_KILLS


async def _write_until_killed(daemon: Daemon, path: Path, log: workload.Log, after_s: float, seed: int) -> None:
    before, problems = workload.expectations(path)
    assert problems == []
    async with AsyncClient(daemon.address, retry=RetryPolicy(attempts=1)) as client:
        target = ClientTarget(client)
        writing = asyncio.create_task(
            workload.run(target, log, before, clients=4, ops=10_000, seed=seed, errors=(MemdError,))
        )
        await asyncio.sleep(after_s)
        await asyncio.to_thread(daemon.kill)
        await writing


async def _compare(daemon: Daemon, path: Path) -> None:
    clients, problems = workload.expectations(path)
    assert problems == []
    async with AsyncClient(daemon.address) as client:
        target = ClientTarget(client)
        for number, expected in clients.items():
            found = await target.read(number, workload.tasks_of(expected.possible()))
            assert difference(expected.possible(), found) == ""
        report = await client.verify()
        assert report.ok, report


async def test_the_name_of_a_new_data_directory_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No VFS sees this: the directory itself must not be lost with everything in it."""
    synced: set[str] = set()
    real = os.fsync

    def fsync(file: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    async with stack.opened(tmp_path / "deep" / "data"):
        assert {str(tmp_path), str(tmp_path / "deep")} <= synced


@pytest.mark.parametrize("mode", ["lost", "phantom", "torn"])
def test_the_comparison_itself_finds_what_is_wrong(mode: str) -> None:
    whole = {"memories": {"a": [1, "x"], "b": [1, "y"]}, "procedures": {}, "tasks": {}, "events": []}
    other = {
        "lost": {"a": [1, "x"]},
        "phantom": {"a": [1, "x"], "b": [1, "y"], "c": [1, "z"]},
        "torn": {"a": [1, "x"], "b": [1, ""]},
    }[mode]
    assert difference([whole], {**whole, "memories": dict(other)}).startswith(f"memories {mode}")
    assert difference([whole], whole) == ""
