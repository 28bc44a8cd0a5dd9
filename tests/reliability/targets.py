"""What the workload writes to and reads from, and the use cases in this process as such a target."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol

from memd.domain.errors import NotFound
from memd.domain.model import Event, EventKind, Memory, RequestKey, Scope
from memd.service.observe import UNSCORED
from memd.service.remember import Draft
from tests.reliability.model import Op, Reply, State, empty
from tests.reliability.stack import Stack

NAMESPACE = "default"
PAGE = 1_000


class Target(Protocol):
    async def write(self, client: int, op: Op) -> Reply:
        """Do it, with its request_id; raises memd's errors or the client's."""

    async def read(self, client: int, tasks: list[str]) -> State:
        """Everything the client can see of its own, with the newest checkpoint of each of ``tasks``."""


def user_of(client: int) -> str:
    return f"u{client}"


def session_of(client: int) -> str:
    return f"s{client}"


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    stack: Stack

    async def write(self, client: int, op: Op) -> Reply:
        scope = Scope(NAMESPACE, user_of(client), "", session_of(client))
        body = hashlib.sha256(json.dumps(dict(op), sort_keys=True).encode()).digest()
        key = RequestKey(NAMESPACE, op["request_id"], body)
        stack = self.stack
        match op["kind"]:
            case "observe":
                events = [Event(i, EventKind.TURN, text, importance=UNSCORED) for i, text in op["events"]]
                seen = await stack.observe.observe(scope, events, request=key)
                return {"ids": [event.event_id for event in seen.value]}
            case "remember":
                drafts = [Draft(Memory(i, scope, text)) for i, text in op["memories"]]
                stored = await stack.remember.remember(scope, drafts, writer="w", request=key)
                return {"versions": [[m.memory_id, m.version] for m in stored.value]}
            case "update":
                values = {"content": op["content"]}
                changed = await stack.remember.update(scope, op["memory_id"], values, writer="w", request=key)
                return {"version": changed.value.version}
            case "forget":
                gone = await stack.forget.forget(scope, memory_ids=op["memory_ids"], writer="w", request=key)
                return {"memories": gone.value.counts["memories"]}
            case "forget_all":
                user = Scope(NAMESPACE, user_of(client))
                tasks = op["task_ids"]
                gone = await stack.forget.forget(user, everything=True, task_ids=tasks, writer="w", request=key)
                return {"memories": gone.value.counts["memories"]}
            case "put_procedure":
                put = await stack.procedures.put(scope, op["key"], "", op["content"], {}, writer="w", request=key)
                return {"version": put.value[0].version}
            case "save_checkpoint":
                saved = await stack.checkpoints.save(
                    NAMESPACE,
                    op["task_id"],
                    op["state"].encode(),
                    expected_version=op["expected_version"],
                    request=key,
                )
                return {"version": saved.value.version}
        raise AssertionError(op["kind"])

    async def read(self, client: int, tasks: list[str]) -> State:
        scope = Scope(NAMESPACE, user_of(client), "", session_of(client))
        stack, state = self.stack, empty()
        memories = await stack.remember.list(scope, None, include_invalid=True, size=PAGE)
        state["memories"] = {m.memory_id: [m.version, m.content] for m in memories.items}
        episodes = await stack.sessions.episodes(scope, size=PAGE)
        state["events"] = [[e.event_id, e.content] for e in reversed(episodes.items)]
        procedures = await stack.procedures.list(scope, size=PAGE)
        state["procedures"] = {p.key: [p.version, p.content] for p in procedures.items}
        for task in tasks:
            try:
                checkpoint = await stack.checkpoints.load(NAMESPACE, task)
            except NotFound:
                continue
            state["tasks"][task] = [checkpoint.version, checkpoint.state.decode()]
        return state
