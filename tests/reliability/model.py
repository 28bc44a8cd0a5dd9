"""What a daemon must hold, given what its clients logged: a pure model of the writes, one client at a time.

Every client owns its user, session, ids, keys and tasks, and sends one write after the other. So what it must find after a
crash is what its acknowledged writes made, with or without the one that was under way: never a part of it, nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

State: TypeAlias = dict[str, Any]
"""``memories`` and ``procedures`` and ``tasks``: name to [version, content]; ``events``: [id, content] in order."""
Op: TypeAlias = Mapping[str, Any]
"""``kind``, ``request_id`` and the arguments of one write, as JSON gives them."""
Reply: TypeAlias = Mapping[str, Any]

_UNCERTAIN = frozenset({"SHUTTING_DOWN", "DEADLINE_EXCEEDED", "UNREACHABLE", "CANCELLED", "INTERNAL"})
"""Reasons of an error after which the write may have been done or not. After any other error it must not."""


def uncertain(op: Op, reason: str) -> bool:
    """Forgetting everything goes through three stores: what one of them refused is finished later."""
    return reason in _UNCERTAIN or op["kind"] == "forget_all"


def empty() -> State:
    return {"memories": {}, "procedures": {}, "tasks": {}, "events": []}


def apply(state: State, op: Op) -> tuple[State, Reply]:
    """The state after the write, and what its reply must say."""
    after = copy.deepcopy(state)
    return after, _WRITES[op["kind"]](after, op)


def _observe(state: State, op: Op) -> Reply:
    state["events"] += [list(event) for event in op["events"]]
    return {"ids": [event_id for event_id, _ in op["events"]]}


def _remember(state: State, op: Op) -> Reply:
    for memory_id, content in op["memories"]:
        state["memories"][memory_id] = [1, content]
    return {"versions": [[memory_id, 1] for memory_id, _ in op["memories"]]}


def _update(state: State, op: Op) -> Reply:
    version = state["memories"][op["memory_id"]][0] + 1
    state["memories"][op["memory_id"]] = [version, op["content"]]
    return {"version": version}


def _forget(state: State, op: Op) -> Reply:
    for memory_id in op["memory_ids"]:
        del state["memories"][memory_id]
    return {"memories": len(op["memory_ids"])}


def _forget_all(state: State, op: Op) -> Reply:
    count = len(state["memories"])
    state.update(empty())
    return {"memories": count}


def _put_procedure(state: State, op: Op) -> Reply:
    version = state["procedures"].get(op["key"], [0])[0] + 1
    state["procedures"][op["key"]] = [version, op["content"]]
    return {"version": version}


def _save_checkpoint(state: State, op: Op) -> Reply:
    state["tasks"][op["task_id"]] = [op["expected_version"] + 1, op["state"]]
    return {"version": op["expected_version"] + 1}


_WRITES = {
    "observe": _observe,
    "remember": _remember,
    "update": _update,
    "forget": _forget,
    "forget_all": _forget_all,
    "put_procedure": _put_procedure,
    "save_checkpoint": _save_checkpoint,
}
KINDS = tuple(_WRITES)


@dataclass
class Expectation:
    """What one client may find. ``unresolved``: the write whose outcome it never learned."""

    states: list[State] = field(default_factory=lambda: [empty()])
    unresolved: Op | None = None
    acknowledged: int = 0
    begun: int = 0

    def begin(self, op: Op) -> None:
        self.settle()
        self.begun += 1
        self.unresolved = op

    def ok(self, reply: Reply) -> str:
        """The problem with the reply, or ""."""
        assert self.unresolved is not None
        op, self.unresolved = self.unresolved, None
        self.acknowledged += 1
        outcomes = [apply(state, op) for state in self.states]
        self.states = [state for state, expected in outcomes if expected == reply]
        if self.states:
            return ""
        self.states = [outcomes[0][0]]
        return f"{op['kind']} {op['request_id']} was answered {reply}, expected {outcomes[0][1]}"

    def error(self, reason: str) -> None:
        if self.unresolved is not None and not uncertain(self.unresolved, reason):
            self.unresolved = None

    def saw(self, state: State) -> None:
        """After a restart the client read this."""
        self.states, self.unresolved = [state], None

    def settle(self) -> None:
        """The outcome of the unresolved write stays open: both are possible from here on."""
        if self.unresolved is not None:
            self.states += [apply(state, self.unresolved)[0] for state in self.states]
            self.unresolved = None

    def possible(self) -> list[State]:
        if self.unresolved is None:
            return self.states
        return self.states + [apply(state, self.unresolved)[0] for state in self.states]


def read_log(lines: Iterable[str]) -> tuple[dict[int, Expectation], list[str]]:
    """What each client may find, and what was wrong with replies it got."""
    clients: dict[int, Expectation] = {}
    problems: list[str] = []
    for line in lines:
        entry = json.loads(line)
        client = clients.setdefault(entry["client"], Expectation())
        if "begin" in entry:
            client.begin(entry["begin"])
        elif "ok" in entry:
            problems += filter(None, [client.ok(entry["ok"])])
        elif "saw" in entry:
            client.saw(entry["saw"])
        elif "wrong" in entry:
            problems.append(f"client {entry['client']} read something wrong: {entry['wrong']}")
        else:
            client.error(entry["error"])
    return clients, problems


def difference(possible: list[State], found: State) -> str:
    """In words, how ``found`` differs from the nearest of ``possible``; "" when it is one of them."""
    if found in possible:
        return ""
    return min((_difference(state, found) for state in possible), key=len)


def _difference(expected: State, found: State) -> str:
    parts = []
    for what in ("memories", "procedures", "tasks"):
        lost = {k: v[0] for k, v in expected[what].items() if k not in found[what]}
        phantom = {k: v[0] for k, v in found[what].items() if k not in expected[what]}
        torn = [
            f"{k}: version {v[0]}, expected {expected[what][k][0]}"
            for k, v in found[what].items()
            if k in expected[what] and v != expected[what][k]
        ]
        parts += [
            f"{what} {kind} {list_}" for kind, list_ in (("lost", lost), ("phantom", phantom), ("torn", torn)) if list_
        ]
    if expected["events"] != found["events"]:
        want, have = [e[0] for e in expected["events"]], [e[0] for e in found["events"]]
        parts.append(f"events {have[-5:]} ({len(have)}), expected {want[-5:]} ({len(want)})")
    return "; ".join(parts) or "equal"
