"""R18: a rolling restart is not seen by clients with the retry policy they have by default.

Agents work without a pause while their daemon is told to stop, drains, and is started again at the same socket. No call
may fail, every recall finds what was remembered just before, and at the end everything is there exactly once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from memd_client import AsyncClient, SourceKind

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher

RESTARTS = scaled(10)
"""Of each of the two tests."""
AGENTS = 6
TIMEOUT_S = 60.0
"""Of a call, far over what a restart takes: no timing decides."""
MOST_TURNS_BETWEEN = 6


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
        recalled = await memd.recall(said)
        assert said in [hit.memory.content for hit in recalled.memories]
        assert recalled.working[-1].content == said
        saved = await memd.save_checkpoint(f"task-{self.name}", said.encode(), expected_version=n)
        assert saved.version == n + 1

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


async def roll(daemons: Sequence[Daemon]) -> None:
    """Agents at every daemon, which are restarted in turn; then everything is there, seen from each of them."""
    rng, stop = random.Random(18), asyncio.Event()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(daemon.address, timeout_s=TIMEOUT_S)) for daemon in daemons
        ]
        agents = [Agent(clients[n % len(clients)], f"agent-{n}") for n in range(AGENTS)]
        async with asyncio.TaskGroup() as running:
            for agent in agents:
                running.create_task(agent.run(stop))
            for n in range(RESTARTS):
                daemon = daemons[n % len(daemons)]
                await rng.choice(agents).after(rng.randint(1, MOST_TURNS_BETWEEN))
                assert await asyncio.to_thread(daemon.terminate) == 0
                await asyncio.to_thread(daemon.start)
            await asyncio.gather(*(agent.after(1) for agent in agents))
            stop.set()
        for agent in agents:
            await agent.check()
        for client in clients:
            assert (await client.verify()).ok


async def test_no_call_fails_while_the_daemon_is_restarted(tmp_path: Path) -> None:
    with Daemon(tmp_path / "daemon") as daemon:
        await roll([daemon])


async def test_no_call_fails_while_sidecars_are_restarted(postgres18: Launcher, tmp_path: Path) -> None:
    server = await asyncio.to_thread(postgres18.server)
    arguments = ["--postgres", server.url()]
    with ExitStack() as stack:
        await roll([stack.enter_context(Daemon(tmp_path / name, arguments=arguments)) for name in ("one", "other")])
    await asyncio.to_thread(server.kill)
