"""Writers that go on through the faults of a server, each of them sure at the end of what must be stored.

A write is repeated with its request_id until it is acknowledged. Each writer has a user, a session and a task of its own,
so what they must hold is known exactly: everything acknowledged, once, and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from memd.domain.errors import StoreBusy
from memd.domain.model import Event, EventKind, Scope
from memd.domain.visibility import EVERYTHING
from memd.ports import MemoryTruth, SessionPolicy, SessionStore, TaskStore
from tests.contract.builders import draft, request

T = TypeVar("T")

NAMESPACE = "n"
WIDE = SessionPolicy(
    working_max_items=10, working_max_tokens=1_000, episodic_max_items=100_000, ttl_us=86_400 * 1_000_000
)
KEEP = 100_000
PAUSE_S = 0.02
PAGE = 500


class Stores(Protocol):
    """What is written to."""

    @property
    def memories(self) -> MemoryTruth: ...
    @property
    def sessions(self) -> SessionStore: ...
    @property
    def tasks(self) -> TaskStore: ...


@dataclass
class Writer:
    """``acknowledged`` and ``refused`` only grow; ``refused`` counts answers that said to try again."""

    stores: Stores
    name: str
    acknowledged: int = 0
    refused: int = 0
    memories: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    replayed: int = 0
    """Of the acknowledgements: how many said that an earlier attempt had been it."""

    @property
    def scope(self) -> Scope:
        return Scope(NAMESPACE, self.name, "a", "s")

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._patiently(self._remember)
            await self._patiently(self._append)
            await self._patiently(self._save)

    async def _patiently(self, write: object) -> None:
        while True:
            try:
                await write()  # type: ignore[operator]
            except StoreBusy:
                self.refused += 1
                await asyncio.sleep(PAUSE_S)
            else:
                self.acknowledged += 1
                return

    async def _remember(self) -> None:
        memory_id = f"{self.name}-{len(self.memories)}"
        one = draft(memory_id, scope=Scope(NAMESPACE, self.name))
        fence = await self.stores.memories.fence(NAMESPACE)
        key = request(f"remember-{memory_id}")
        written = await self.stores.memories.remember(NAMESPACE, [one], fence=fence, writer="w", request=key)
        assert [(done.memory_id, done.version, done.created) for done in written.value] == [(memory_id, 1, True)]
        self.memories.append(memory_id)
        self.replayed += written.replayed

    async def _append(self) -> None:
        event_id = f"{self.name}-{len(self.events)}"
        event = Event(event_id=event_id, kind=EventKind.TURN, content=event_id, role="user", tokens=1)
        written = await self.stores.sessions.append(self.scope, [event], WIDE, request(f"append-{event_id}"))
        assert [(one.position, one.merged) for one in written.value] == [(len(self.events) + 1, False)]
        self.events.append(event_id)
        self.replayed += written.replayed

    async def _save(self) -> None:
        """Compare-and-set: a second effect of one request would be a conflict of the next."""
        version = len(self.states)
        state = f"{self.name} {version}".encode()
        written = await self.stores.tasks.save(
            NAMESPACE,
            f"task-{self.name}",
            state,
            expected_version=version,
            ttl_us=WIDE.ttl_us,
            keep=KEEP,
            request=request(f"save-{self.name}-{version}"),
        )
        assert written.value.version == version + 1
        self.states.append(state)
        self.replayed += written.replayed

    async def check(self) -> None:
        """Everything acknowledged is stored once, and nothing else."""
        assert await self._stored_memories() == sorted(self.memories)
        assert await self._stored_events() == [(event_id, 1) for event_id in self.events]
        assert await self._stored_versions() == list(range(1, len(self.states) + 1))
        newest = await self.stores.tasks.load(NAMESPACE, f"task-{self.name}", 0)
        assert newest.state == self.states[-1]

    async def _stored_memories(self) -> list[str]:
        found, cursor = [], ""
        while True:
            page = await self.stores.memories.page(NAMESPACE, EVERYTHING, size=PAGE, cursor=cursor)
            found += [memory.memory_id for memory in page.items if memory.scope.user_id == self.name]
            cursor = page.next_cursor
            if not cursor:
                return sorted(found)

    async def _stored_events(self) -> list[tuple[str, int]]:
        found, cursor = [], ""
        while True:
            page = await self.stores.sessions.episodes(self.scope, WIDE, kinds=frozenset(), size=PAGE, cursor=cursor)
            found += [(event.event_id, event.count) for event in page.items]
            cursor = page.next_cursor
            if not cursor:
                return found[::-1]

    async def _stored_versions(self) -> list[int]:
        found, cursor = [], ""
        while True:
            page = await self.stores.tasks.page(NAMESPACE, f"task-{self.name}", size=PAGE, cursor=cursor)
            found += [checkpoint.version for checkpoint in page.items]
            cursor = page.next_cursor
            if not cursor:
                return found[::-1]
