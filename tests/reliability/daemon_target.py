"""A daemon, through its client, as a target of the workload."""

from __future__ import annotations

from dataclasses import dataclass

from memd_client import AsyncClient, Event, EventKind, NewMemory
from memd_client.errors import NotFound

from tests.reliability.model import Op, Reply, State, empty
from tests.reliability.targets import session_of, user_of


@dataclass(frozen=True, slots=True)
class ClientTarget:
    """``client`` is that of nobody: each logical client gets its own view of it."""

    client: AsyncClient

    def _view(self, client: int) -> AsyncClient:
        return self.client.scoped(user_id=user_of(client), session_id=session_of(client))

    async def write(self, client: int, op: Op) -> Reply:
        memd, request_id = self._view(client), op["request_id"]
        match op["kind"]:
            case "observe":
                events = [Event(event_id=i, kind=EventKind.TURN, content=text) for i, text in op["events"]]
                seen = await memd.observe(events, request_id=request_id)
                return {"ids": [event.event_id for event in seen.events]}
            case "remember":
                drafts = [NewMemory(memory_id=i, content=text) for i, text in op["memories"]]
                stored = await memd.remember(drafts, request_id=request_id)
                return {"versions": [[m.memory_id, m.version] for m in stored.memories]}
            case "update":
                changed = await memd.update(op["memory_id"], content=op["content"], request_id=request_id)
                return {"version": changed.version}
            case "forget":
                gone = await memd.forget(op["memory_ids"], request_id=request_id)
                return {"memories": gone.counts["memories"]}
            case "forget_all":
                user = self.client.scoped(user_id=user_of(client))
                gone = await user.forget(everything=True, task_ids=op["task_ids"], request_id=request_id)
                return {"memories": gone.counts["memories"]}
            case "put_procedure":
                put = await memd.put_procedure(op["key"], op["content"], request_id=request_id)
                return {"version": put.procedure.version}
            case "save_checkpoint":
                saved = await memd.save_checkpoint(
                    op["task_id"],
                    op["state"].encode(),
                    expected_version=op["expected_version"],
                    request_id=request_id,
                )
                return {"version": saved.version}
        raise AssertionError(op["kind"])

    async def read(self, client: int, tasks: list[str]) -> State:
        memd, state = self._view(client), empty()
        state["memories"] = {m.memory_id: [m.version, m.content] async for m in memd.list(include_invalid=True)}
        state["events"] = [[e.event_id, e.content] async for e in memd.episodes()][::-1]
        state["procedures"] = {p.key: [p.version, p.content] async for p in memd.list_procedures()}
        for task in tasks:
            try:
                checkpoint = await memd.load_checkpoint(task)
            except NotFound:
                continue
            state["tasks"][task] = [checkpoint.version, checkpoint.state.decode()]
        return state
