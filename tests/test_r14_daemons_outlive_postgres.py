"""R14 with whole daemons: Postgres may die, hang, fail over and lose connections during COMMIT under agents that work.

Agents at two daemons write without a pause, every call repeated by the client's own policy; a reader at each recalls all the
time. A fault lasts until the readers were told of it. No acknowledged write is lost, none has two effects, and no recall
fails: the daemons answer from their copies, and say so, until these are older than ``replica.max_stale``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from memd_client import AsyncClient, Recall, RetryPolicy, Tier, TierState, TierStatus
from memd_client.errors import Unavailable

from tests.daemon import Daemon
from tests.reliability.agents import Agent
from tests.reliability.postgres_pair import Pair
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher

ROUNDS = scaled(1)
"""Of all kinds of faults."""
AGENTS = 4
TIMEOUT_S = 60.0
"""Of a call, far over what a fault takes: no timing decides."""
WAIT_S = 60.0
POLL_S = 0.01
CUTS = 4
MAX_STALE_S = 3
BEACON = "the lighthouse keeper counts ships"
QUICK = {"MEMD_POSTGRES_TIMEOUT": "1", "MEMD_POSTGRES_CONNECT_TIMEOUT": "1"}
ONCE = RetryPolicy(attempts=1)


async def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, f"waited {WAIT_S:.0f} s for {what}"
        await asyncio.sleep(POLL_S)


def semantic(recalled: Recall) -> TierStatus:
    (found,) = (one for one in recalled.tier_status if one.tier is Tier.SEMANTIC)
    return found


class Patient(Agent):
    """Its own last write may be missing from a recall that says it does not know everything."""

    def _saw(self, recalled: Recall, said: str) -> None:
        if semantic(recalled).state is TierState.OK:
            assert said in [hit.memory.content for hit in recalled.memories]


@dataclass
class Reader:
    """``behind``: recalls answered from a copy that may be behind, as they said."""

    client: AsyncClient
    behind: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            recalled = await self.client.recall(BEACON)
            status = semantic(recalled)
            assert status.state in (TierState.OK, TierState.DEGRADED), status
            assert BEACON in [hit.memory.content for hit in recalled.memories], status
            self.behind += status.staleness.total_seconds() > 0


@dataclass(frozen=True)
class Load:
    agents: list[Agent]
    readers: list[Reader]

    async def told(self) -> None:
        """Until every reader was told that what it gets may be old."""
        before = [reader.behind for reader in self.readers]
        await until(
            lambda: all(r.behind > n for r, n in zip(self.readers, before, strict=True)), "the readers to be told"
        )

    async def going(self) -> None:
        """Until every agent finished a turn that it began now or later."""
        await asyncio.gather(*(agent.after(2) for agent in self.agents))


async def die(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.kill)
    await load.told()
    await asyncio.to_thread(pair.primary.start)


async def hang(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.hang)
    await load.told()
    await asyncio.to_thread(pair.primary.resume)


async def fail_over(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.kill)
    await load.told()
    await pair.fail_over()


async def cut_commits(pair: Pair, load: Load) -> None:
    pair.line.cuts += ["before", "after"] * (CUTS // 2)
    await until(lambda: not pair.line.cuts, "commits to be cut")


Fault = Callable[[Pair, Load], Awaitable[None]]
KINDS: tuple[Fault, ...] = (die, hang, fail_over, cut_commits)


@asynccontextmanager
async def sidecars(pair: Pair, directory: Path, **settings: str) -> AsyncIterator[list[Daemon]]:
    environment = {**QUICK, "MEMD_POSTGRES_URL": pair.line.url, **settings}
    with ExitStack() as stack:
        daemons = [Daemon(directory / name, environment=environment) for name in ("one", "other")]
        for daemon in daemons:
            stack.callback(daemon.close)
            await asyncio.to_thread(daemon.start)
        yield daemons


async def test_acknowledged_writes_survive_and_reads_go_on(postgres18: Launcher, tmp_path: Path) -> None:
    faults = [kind for _ in range(ROUNDS) for kind in KINDS]
    random.Random(14).shuffle(faults)
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(Pair.start(postgres18))
        daemons = await stack.enter_async_context(sidecars(pair, tmp_path))
        clients = [await stack.enter_async_context(AsyncClient(d.address, timeout_s=TIMEOUT_S)) for d in daemons]
        stored = await clients[0].remember(BEACON)
        readers = [Reader(client) for client in clients]
        for client in clients:
            await client.recall(BEACON, min_seq=stored.receipt.seq)
        load = Load([Patient(clients[n % 2], f"agent-{n}") for n in range(AGENTS)], readers)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as running:
            for run in (*(agent.run for agent in load.agents), *(reader.run for reader in load.readers)):
                running.create_task(run(stop))
            await load.going()
            for fault in faults:
                await fault(pair, load)
                await load.going()
            stop.set()
        for agent in load.agents:
            await agent.check()
        for client in clients:
            report = await client.verify()
            assert report.ok, report


async def until_semantic_is(memd: AsyncClient, state: TierState) -> list[tuple[TierStatus, Recall]]:
    """Recalls until the tier is in ``state``; what each said."""
    seen: list[tuple[TierStatus, Recall]] = []
    async with asyncio.timeout(WAIT_S):
        while not seen or seen[-1][0].state is not state:
            recalled = await memd.recall(BEACON)
            seen.append((semantic(recalled), recalled))
    return seen


async def test_reads_end_at_max_stale_and_come_back_with_writes(postgres18: Launcher, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(Pair.start(postgres18))
        daemon, _ = await stack.enter_async_context(sidecars(pair, tmp_path, MEMD_REPLICA_MAX_STALE=str(MAX_STALE_S)))
        memd = await stack.enter_async_context(AsyncClient(daemon.address, timeout_s=TIMEOUT_S))
        once = await stack.enter_async_context(AsyncClient(daemon.address, timeout_s=TIMEOUT_S, retry=ONCE))
        await memd.remember(BEACON)
        await asyncio.to_thread(pair.primary.kill)
        seen = await until_semantic_is(memd, TierState.SKIPPED)
        assert all(recalled.memories for _, recalled in seen[:-1])
        assert not seen[-1][1].memories
        assert TierState.DEGRADED in [status.state for status, _ in seen], "it said nothing while it could still answer"
        assert seen[-1][0].reason == "REPLICA_STALE"
        assert seen[-1][0].staleness.total_seconds() >= MAX_STALE_S
        assert "Bring Postgres back" in seen[-1][0].explanation
        with pytest.raises(Unavailable) as refused:
            await once.remember("lost")
        assert refused.value.retry_after_s > 0
        await asyncio.to_thread(pair.primary.start)
        _, recalled = (await until_semantic_is(memd, TierState.OK))[-1]
        assert [hit.memory.content for hit in recalled.memories] == [BEACON]
        await memd.remember("it is back")
