"""Agents that go on through the faults of what serves them: the client's own policy repeats every call, a write with its
request_id, and what must be there in the end is known exactly."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from memd_client import AsyncClient, Recall, SourceKind


@dataclass
class Agent:
    """``turns`` is how many it has finished."""

    client: AsyncClient
    name: str
    turns: int = 0
    in_turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, stop: asyncio.Event) -> None:
        memd = self.client.scoped(user_id=self.name, session_id="s")
        while not stop.is_set():
            await self._turn(memd, self.turns)
            async with self.in_turn:
                self.turns += 1
                self.in_turn.notify_all()

    async def _turn(self, memd: AsyncClient, n: int) -> None:
        said = f"{self.name} said in turn {n} that the parcel is at place {n * 7919}"
        seen = await memd.observe(said, role="user")
        assert [(event.position, event.merged) for event in seen.events] == [(n + 1, False)]
        stored = await memd.remember(said, tags=[f"t{n}"])
        assert [one.version for one in stored.memories] == [1]
        self._saw(await memd.recall(said), said)
        saved = await memd.save_checkpoint(f"task-{self.name}", said.encode(), expected_version=n)
        assert saved.version == n + 1

    def _saw(self, recalled: Recall, said: str) -> None:
        """What was acknowledged a moment ago is there."""
        assert said in [hit.memory.content for hit in recalled.memories]
        assert recalled.working[-1].content == said

    async def after(self, turns: int) -> None:
        """Until it has finished as many more turns."""
        wanted = self.turns + turns
        async with self.in_turn:
            await self.in_turn.wait_for(lambda: self.turns >= wanted)

    async def check(self) -> None:
        """Every turn left one event, one memory and one checkpoint."""
        memd = self.client.scoped(user_id=self.name, session_id="s")
        sessions = [session async for session in memd.sessions()]
        assert [session.event_count for session in sessions] == [self.turns]
        memories = [memory.content async for memory in memd.list() if memory.source is not SourceKind.DIGEST]
        assert len(memories) == len(set(memories)) == self.turns
        assert (await memd.load_checkpoint(f"task-{self.name}")).version == self.turns
