"""Many writers on few checkpoints, each call and return logged: a history for ``linearizable`` to judge."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from memd.domain.errors import NotFound
from memd.domain.model import RequestKey
from tests import faultvfs
from tests.faultvfs import Fault
from tests.reliability import stack as stacks
from tests.reliability.targets import NAMESPACE
from tests.reliability.workload import lines_of

WRITERS = 16


class Register(Protocol):
    """Checkpoints, as ``race`` uses them. Raises VersionConflict and other errors of memd or of its client."""

    async def save(self, task: str, value: str, expected: int | None, request_id: str) -> int: ...

    async def load(self, task: str) -> tuple[int, str]:
        """(0, "") when there is none."""


@dataclass(frozen=True, slots=True)
class Race:
    """One run. ``start`` keeps operation names of several runs of one log apart."""

    data_dir: str
    log: str
    seed: int
    start: int
    operations: int
    fault: str = ""


class History:
    """The log. A line is one write(2): it outlives the process, and the order of lines is the order of events."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, **entry: object) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")


async def race(register: Register, history: History, *, seed: int, start: int, operations: int) -> None:
    """WRITERS writers, ``operations`` saves or loads each, on two tasks."""

    async def writer(number: int) -> None:
        rng = random.Random(f"{seed}/{start}/{number}")
        known = {"t0": 0, "t1": 0}
        for n in range(operations):
            task = rng.choice(("t0", "t0", "t0", "t1"))
            name = f"{start}-{number}-{n}"
            if rng.random() < 0.4:
                known[task] = await _load(register, history, name, task, known[task])
            else:
                expected = None if rng.random() < 0.1 else known[task]
                known[task] = await save(register, history, name, task, expected)

    ended = await asyncio.gather(*(writer(number) for number in range(WRITERS)), return_exceptions=True)
    for error in filter(None, ended):
        raise error


async def save(register: Register, history: History, name: str, task: str, expected: int | None) -> int:
    """The version now known; the name is value and request_id as well."""
    history.write(call=name, task=task, kind="save", value=name, expected=expected)
    try:
        version = await register.save(task, name, expected, name)
    except Exception as error:
        current = getattr(error, "current_version", None)
        if current is None:
            history.write(ret=name, outcome="unknown")
            raise
        history.write(ret=name, outcome="conflict", version=current)
        return int(current)
    history.write(ret=name, outcome="saved", version=version)
    return version


async def _load(register: Register, history: History, name: str, task: str, known: int) -> int:
    history.write(call=name, task=task, kind="load", expected=None)
    version, value = await register.load(task)
    history.write(ret=name, outcome="loaded", version=version, value=value)
    return version


@dataclass(frozen=True, slots=True)
class ServiceRegister:
    stack: stacks.Stack

    async def save(self, task: str, value: str, expected: int | None, request_id: str) -> int:
        body = hashlib.sha256(f"{task} {value} {expected}".encode()).digest()
        saved = await self.stack.checkpoints.save(
            NAMESPACE, task, value.encode(), expected_version=expected, request=RequestKey(NAMESPACE, request_id, body)
        )
        return saved.value.version

    async def load(self, task: str) -> tuple[int, str]:
        try:
            checkpoint = await self.stack.checkpoints.load(NAMESPACE, task)
        except NotFound:
            return 0, ""
        return checkpoint.version, checkpoint.state.decode()


def run(task: Race) -> None:
    """In a process of its own: may be killed by its fault."""
    vfs = faultvfs.install(Fault.from_json(task.fault) if task.fault else None)
    asyncio.run(_run(task))
    del vfs


async def _run(task: Race) -> None:
    pending = unanswered(Path(task.log))
    history = History(Path(task.log))
    async with stacks.opened(Path(task.data_dir), vfs=faultvfs.NAME) as stack:
        register = ServiceRegister(stack)
        for name, checkpoint, expected in pending:
            await save(register, history, name, checkpoint, expected)
        await race(register, history, seed=task.seed, start=task.start, operations=task.operations)


def unanswered(log: Path) -> list[tuple[str, str, int | None]]:
    """Saves without a return: (name, task, expected). Every other one is sent again, the rest stay unknown."""
    calls = {}
    for line in lines_of(log):
        entry = json.loads(line)
        if "call" in entry and entry["kind"] == "save":
            calls[entry["call"]] = (entry["call"], entry["task"], entry["expected"])
        elif "ret" in entry:
            calls.pop(entry["ret"], None)
    return list(calls.values())[::2]
