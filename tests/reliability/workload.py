"""Clients that write at random, log every intent and every acknowledgement, and know what they must find afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memd.domain.errors import MemdError as DomainError
from tests.faultvfs import Journal
from tests.reliability.model import (
    KINDS,
    Expectation,
    Op,
    State,
    apply,
    difference,
    read_log,
    uncertain,
)
from tests.reliability.targets import Target

_WEIGHTS = {
    "observe": 6,
    "remember": 6,
    "update": 4,
    "forget": 2,
    "forget_all": 1,
    "put_procedure": 2,
    "save_checkpoint": 4,
}
assert _WEIGHTS.keys() == set(KINDS)
_MAX_FILLER_CHARS = 6_000
"""Contents reach over more than one page of the database."""


class Log:
    """JSON lines, appended one write(2) each: what was logged survives the process. Also a mark in ``journal``."""

    def __init__(self, path: Path, journal: Journal | None = None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._journal = journal

    def write(self, client: int, **entry: Any) -> None:
        line = json.dumps({"client": client, **entry}).encode() + b"\n"
        os.write(self._file, line)
        if self._journal is not None:
            self._journal.append("mark", data=line)


def lines_of(path: Path) -> list[str]:
    """Whole lines; a torn last one was never acknowledged."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


async def run(
    target: Target,
    log: Log,
    before: Mapping[int, Expectation],
    *,
    clients: int,
    ops: int,
    seed: int,
    reads: bool = False,
    errors: tuple[type[Exception], ...] = (DomainError,),
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """``clients`` concurrent clients of ``ops`` writes each, going on from ``before`` (what their log says so far).

    With ``reads`` every client reads all of its own after each write and logs what is wrong with it.
    """

    async def client(number: int) -> None:
        known = before.get(number, Expectation())
        one = _Client(number, target, log, random.Random(f"{seed}/{number}/{known.begun}"), known)
        if not await one.catch_up(known.possible(), errors):
            return
        for _ in range(ops):
            if stop() or not await one.write(errors):
                return
            if reads:
                await one.check(errors)

    await asyncio.gather(*(client(number) for number in range(clients)))


class _Client:
    def __init__(self, number: int, target: Target, log: Log, rng: random.Random, known: Expectation) -> None:
        self._number = number
        self._target = target
        self._log = log
        self._rng = rng
        self._state: State = known.states[0]
        self._begun = known.begun

    async def catch_up(self, possible: list[State], errors: tuple[type[Exception], ...]) -> bool:
        """Where a crash left more than one state possible, see which it is. False when it cannot be seen, or is none."""
        if len(possible) > 1:
            try:
                found = await self._target.read(self._number, tasks_of(possible))
            except errors:
                return False
            wrong = difference(possible, found)
            if wrong:
                self._log.write(self._number, wrong=wrong)
                return False
            self._state = found
            self._log.write(self._number, saw=found)
        return True

    async def write(self, errors: tuple[type[Exception], ...]) -> bool:
        """One write. False when its outcome is unknown, so that the client cannot go on."""
        op = self._next()
        self._begun += 1
        self._log.write(self._number, begin=op)
        try:
            reply = await self._target.write(self._number, op)
        except errors as error:
            reason = str(getattr(error, "reason", type(error).__name__))
            self._log.write(self._number, error=reason)
            return not uncertain(op, reason)
        self._log.write(self._number, ok=reply)
        self._state = apply(self._state, op)[0]
        return True

    async def check(self, errors: tuple[type[Exception], ...]) -> None:
        """An answer must be right; an error is none."""
        try:
            found = await self._target.read(self._number, list(self._state["tasks"]))
        except errors:
            return
        wrong = difference([self._state], found)
        if wrong:
            self._log.write(self._number, wrong=wrong)

    def _next(self) -> Op:
        kind = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        memories = list(self._state["memories"])
        if kind in ("update", "forget") and not memories:
            kind = "remember"
        name = f"c{self._number}-{self._begun}"
        return {"kind": kind, "request_id": f"r-{name}", **self._arguments(kind, name, memories)}

    def _arguments(self, kind: str, name: str, memories: list[str]) -> dict[str, Any]:
        rng = self._rng
        match kind:
            case "observe":
                return {"events": [[f"e-{name}-{i}", self._text(f"{name}-{i}")] for i in range(rng.randint(1, 3))]}
            case "remember":
                return {"memories": [[f"m-{name}-{i}", self._text(f"{name}-{i}")] for i in range(rng.randint(1, 3))]}
            case "update":
                return {"memory_id": rng.choice(memories), "content": self._text(name)}
            case "forget":
                return {"memory_ids": rng.sample(memories, min(len(memories), rng.randint(1, 2)))}
            case "forget_all":
                return {"task_ids": list(self._state["tasks"])}
            case "put_procedure":
                known = list(self._state["procedures"])
                return {"key": rng.choice([*known, f"p-{name}"]), "content": self._text(name)}
        task = rng.choice([*self._state["tasks"], f"t-{name}"])
        version = self._state["tasks"].get(task, [0])[0]
        return {"task_id": task, "state": self._text(name), "expected_version": version}

    def _text(self, name: str) -> str:
        """Unique, and long enough now and then to take several pages."""
        words = self._rng.choice((1, 8, 60, _MAX_FILLER_CHARS // 8))
        return f"{name} " + " ".join(f"w{self._rng.randrange(10**6):06d}" for _ in range(words))


def tasks_of(states: list[State]) -> list[str]:
    """Every checkpoint one of the states has."""
    return sorted({task for state in states for task in state["tasks"]})


def expectations(log: Path) -> tuple[dict[int, Expectation], list[str]]:
    return read_log(lines_of(log))
