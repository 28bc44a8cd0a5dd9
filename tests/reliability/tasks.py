"""What a forked process does: run the workload under a fault, or open the data again and look."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apsw

from memd.adapters.sqlite.datadir import DATABASE
from memd.domain.errors import MemdError
from tests import faultvfs
from tests.faultvfs import Fault, Faults, Journal
from tests.reliability import stack as stacks
from tests.reliability import workload
from tests.reliability.model import apply, difference
from tests.reliability.targets import NAMESPACE, ServiceTarget

NOTICE_S = 0.5
"""A store that failed behind the last reply says so within this."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the workload. Paths are strings, since this travels as JSON."""

    data_dir: str
    log: str
    seed: int
    clients: int = 4
    ops: int = 40
    reads: bool = False
    fault: str = ""
    journal: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Open ``data_dir`` and compare it with what ``log`` says; ``resolve``: send again what was never answered."""

    data_dir: str
    log: str
    result: str
    resolve: bool = True


def run(task: Run) -> None:
    """``result`` gets the numbers of calls and of faults, and how it ended; nothing when it was killed."""
    journal = Path(task.journal) if task.journal else None
    vfs = faultvfs.install(Fault.from_json(task.fault) if task.fault else None, journal)
    if journal is not None:
        _record_direct_writes(Journal(journal))
    outcome: dict[str, Any] = {"phase": "opening", "stopped": False}
    try:
        asyncio.run(_run(task, outcome, vfs.faults))
    except MemdError:
        if outcome["phase"] != "opening":
            raise
    except apsw.Error as error:
        # What a VFS in Python raises comes out of sqlite3_close as well, which real I/O errors never do.
        if outcome["phase"] != "closing" and not isinstance(error.__context__, MemdError):
            raise
    outcome |= {"calls": dict(vfs.faults.counts), "hits": vfs.faults.hits}
    _write(task.result, outcome)


def _record_direct_writes(journal: Journal) -> None:
    """The stores also write past SQLite: zeros into gaps of pages (scrub.py), and behind the end of the log."""
    pwrite, syncs = os.pwrite, {name: getattr(os, name) for name in ("fsync", "fdatasync")}

    def name_of(file: int) -> str:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        return name if name.startswith(DATABASE) else ""

    def recorded_pwrite(file: int, data: bytes, offset: int) -> int:
        journal.append("write", name_of(file), offset, bytes(data))
        return pwrite(file, data, offset)

    def recorded(sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(file: int) -> None:
            sync(file)
            if name := name_of(file):
                journal.append("truncate", name, os.fstat(file).st_size)  # what made it longer was zeros
                journal.append("sync", name)

        return synced

    os.pwrite = recorded_pwrite  # type: ignore[assignment]
    for name, sync in syncs.items():
        setattr(os, name, recorded(sync))


async def _run(task: Run, outcome: dict[str, Any], faults: Faults) -> None:
    before, _ = workload.expectations(Path(task.log))
    log = workload.Log(Path(task.log), Journal(Path(task.journal)) if task.journal else None)
    async with stacks.opened(Path(task.data_dir), vfs=faultvfs.NAME) as stack:
        outcome["phase"] = "running"
        await workload.run(
            ServiceTarget(stack),
            log,
            before,
            clients=task.clients,
            ops=task.ops,
            seed=task.seed,
            reads=task.reads,
            stop=stack.failed.is_set,
        )
        hits = faults.hits
        stopped = stack.failed.wait(NOTICE_S if hits else 0.0)
        outcome |= {"stopped": stopped, "phase": "closing", "hits_before_close": hits}


def look(task: Look) -> None:
    """``result`` gets the problems (none is what a test wants) and the number of acknowledged writes."""
    _write(task.result, asyncio.run(_look(task)))


async def _look(task: Look) -> Mapping[str, Any]:
    log = Path(task.log)
    clients, problems = workload.expectations(log)
    unresolved = 0
    async with stacks.opened(Path(task.data_dir)) as stack:
        target = ServiceTarget(stack)
        rows = 0
        for number, expected in clients.items():
            found = await target.read(number, workload.tasks_of(expected.possible()))
            problems += [f"client {number}: {text}" for text in filter(None, [difference(expected.possible(), found)])]
            rows += len(found["memories"])
            if task.resolve and expected.unresolved is not None:
                unresolved += 1
                problems += await _resolve(
                    target, workload.Log(log), number, expected.unresolved, found, expected.states
                )
        problems += await _stray(stack, clients.keys(), rows)
        problems += await _verified(stack)
    acknowledged = sum(expected.acknowledged for expected in clients.values())
    return {"problems": problems, "acknowledged": acknowledged, "unresolved": unresolved}


async def _resolve(
    target: ServiceTarget, log: workload.Log, client: int, op: Any, found: Any, states: list[Any]
) -> list[str]:
    """The same request again must have one effect and the reply it should have had."""
    outcomes = [apply(state, op) for state in states]
    reply = await target.write(client, op)
    log.write(client, ok=reply)
    after = await target.read(client, workload.tasks_of([state for state, _ in outcomes]))
    if (after, reply) in [(state, dict(expected)) for state, expected in outcomes]:
        return []
    return [f"client {client}: {op['kind']} sent again was answered {reply}: " + difference([outcomes[0][0]], after)]


async def _stray(stack: stacks.Stack, clients: Any, memories: int) -> list[str]:
    """Nothing is there that no client ever wrote."""
    count = (await stack.stores.settings.counts(NAMESPACE))["memories"]
    now = 0
    for client in clients:
        now += len((await ServiceTarget(stack).read(client, []))["memories"])
    return [f"{count} memories are stored, {now} belong to a client"] if count != now else []


async def _verified(stack: stacks.Stack) -> list[str]:
    report = await stack.admin.verify(NAMESPACE)
    return [] if report.ok else [f"verify: {asdict(report)}"]


def _write(path: str, outcome: Mapping[str, Any]) -> None:
    if path:
        Path(path).write_text(json.dumps(outcome))
