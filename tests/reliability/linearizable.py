"""Is a history of saves and loads of one checkpoint what some one-at-a-time order of them would give?

The search of J. M. Wing and C. Gong, "Testing and Verifying Concurrent Objects" (J. Parallel Distrib. Comput. 17, 1993),
with the memory of visited states of G. Lowe, "Testing for Linearizability" (2017). A checkpoint is a register with
compare-and-set: a version number and a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["saved", "conflict", "loaded", "unknown"]
NEVER = 1 << 62
"""Return time of what never returned: it may have happened at any time after its call, or not at all."""


@dataclass(frozen=True, slots=True)
class Operation:
    """``expected`` is what the save compared with, None for an overwrite; ``version`` what was answered: the new one, the
    current one, or the one loaded (0: nothing stored). ``value`` is what was saved or loaded."""

    kind: Literal["save", "load"]
    call: int
    ret: int
    outcome: Outcome
    version: int = 0
    value: str = ""
    expected: int | None = None

    def step(self, version: int, value: str) -> tuple[int, str] | None:
        """The register after this operation on (version, value); None where its answer would be another one."""
        if self.outcome == "loaded":
            return (version, value) if (self.version, self.value) == (version, value) else None
        matches = self.expected is None or self.expected == version
        if self.outcome == "conflict":
            return (version, value) if not matches and self.version == version else None
        if not matches or (self.outcome == "saved" and self.version != version + 1):
            return None
        return version + 1, self.value


def linearizable(history: Sequence[Operation]) -> bool:
    """Whether there is an order: each operation between its call and its return, every answer right."""
    operations = [op for op in history if op.kind == "save" or op.outcome != "unknown"]
    todo = (1 << len(operations)) - 1
    seen: set[tuple[int, int, str]] = set()
    stack = [(todo, 0, "")]
    while stack:
        todo, version, value = _reads(operations, *stack.pop())
        if not any(todo >> i & 1 and op.ret < NEVER for i, op in enumerate(operations)):
            return True
        if (todo, version, value) in seen:
            continue
        seen.add((todo, version, value))
        for i in _next(operations, todo):
            after = operations[i].step(version, value)
            if after is not None:
                stack.append((todo & ~(1 << i), *after))
    return False


def _next(operations: Sequence[Operation], todo: int) -> list[int]:
    """Those that may come next: called before any of the others had returned."""
    left = [i for i in range(len(operations)) if todo >> i & 1]
    first_return = min(operations[i].ret for i in left)
    return [i for i in left if operations[i].call < first_return]


def _reads(operations: Sequence[Operation], todo: int, version: int, value: str) -> tuple[int, int, str]:
    """Take every operation that fits and changes nothing: taking it as early as possible never hurts."""
    taken = True
    while taken:
        taken = False
        for i in _next(operations, todo) if todo else []:
            if operations[i].outcome in ("loaded", "conflict") and operations[i].step(version, value):
                todo &= ~(1 << i)
                taken = True
    return todo, version, value


def histories(lines: Iterable[str]) -> dict[str, list[Operation]]:
    """Histories by task from the log of ``race``; the line number is the time. A repeated call of the same operation (a
    retry after a crash) keeps the time of the first."""
    calls: dict[str, tuple[int, dict[str, str | int | None]]] = {}
    done: dict[str, list[Operation]] = {}
    for now, line in enumerate(lines):
        entry = json.loads(line)
        if "call" in entry:
            calls.setdefault(entry["call"], (now, entry))
        else:
            begun, asked = calls.pop(entry["ret"])
            done.setdefault(str(asked["task"]), []).append(_operation(begun, now, asked, entry))
    for begun, asked in calls.values():
        done.setdefault(str(asked["task"]), []).append(_operation(begun, NEVER, asked, {"outcome": "unknown"}))
    return done


def _operation(call: int, ret: int, asked: dict[str, str | int | None], answer: dict[str, str | int]) -> Operation:
    outcome = answer["outcome"]
    value = answer.get("value", "") if asked["kind"] == "load" else asked["value"]
    ret = NEVER if outcome == "unknown" else ret
    return Operation(
        asked["kind"],  # type: ignore[arg-type]
        call,
        ret,
        outcome,  # type: ignore[arg-type]
        int(answer.get("version", 0)),
        str(value),
        asked["expected"],  # type: ignore[arg-type]
    )
