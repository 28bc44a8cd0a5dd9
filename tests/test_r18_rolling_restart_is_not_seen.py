"""R18: a rolling restart is not seen by clients with the retry policy they have by default.

Agents work without a pause while their daemon is told to stop, drains, and is started again at the same socket. No call
may fail, every recall finds what was remembered just before, and at the end everything is there exactly once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from memd_client import AsyncClient

from tests.daemon import Daemon
from tests.reliability.agents import Agent
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher

RESTARTS = scaled(10)
"""Of each of the two tests."""
AGENTS = 6
TIMEOUT_S = 60.0
"""Of a call, far over what a restart takes: no timing decides."""
MOST_TURNS_BETWEEN = 6


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
