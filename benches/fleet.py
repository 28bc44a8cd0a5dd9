"""A fleet of sidecars under writes, and the faults it meets meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from memd_client import AsyncClient, F, MemdError, TierState

from benches.daemon import MeasuredDaemon
from benches.report import progress
from benches.servers import Pair

QUERY = "the code of a box"
"""Embedded once a pod and then cached: what is measured is how soon a row is there, not the model."""
SAMPLED = 10
WATCH_PAUSE_S = 0.004
WATCH_LIMIT_S = 30.0
CONVERGE_LIMIT_S = 60.0
SETTLE_S = 5.0
"""A fault's window ends this long after what failed serves again: what queued up meanwhile is worked off then."""
FIRST_FAULT = 0.25
LAST_FAULT = 0.75
"""Parts of the run between which faults happen."""
UNDISTURBED = 0.2
"""Part of the run before them, with some room."""


@dataclass
class Seen:
    """What the clients saw. ``visible`` holds (acknowledged at, seen at) of sampled writes, in seconds."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    refused: int = 0
    """Writes never acknowledged, for all the client's retries."""
    stale: int = 0
    """Answers without the change they demanded."""
    behind: int = 0
    """Answers that said they cannot have it."""
    visible: list[tuple[float, float]] = field(default_factory=list)
    faults: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each fault's window."""

    def visible_ms(self) -> list[float]:
        """Of the samples that no fault's window touches."""
        return [
            (seen_s - acknowledged_s) * 1e3
            for acknowledged_s, seen_s in self.visible
            if not any(begun_s <= seen_s and acknowledged_s <= ended_s for begun_s, ended_s in self.faults)
        ]


@dataclass(frozen=True)
class Fleet:
    """A client for each pod; each pod serves every namespace."""

    clients: Sequence[AsyncClient]
    names: Sequence[str]

    async def warm(self) -> None:
        for client in self.clients:
            for name in self.names:
                await client.scoped(namespace=name).recall(QUERY, tiers=["semantic"])

    async def write(self, number: int, draw: random.Random, seen: Seen) -> None:
        """One write at one pod; then another pod is asked for it."""
        name = draw.choice(self.names)
        writer, reader = (client.scoped(namespace=name) for client in draw.sample(self.clients, 2))
        memory_id, text = f"m{number}", f"fact {number}: the code of box {number} is {draw.randrange(10**6)}"
        try:
            done = await writer.remember(text, memory_id=memory_id, tags=[memory_id])
        except MemdError:
            seen.refused += 1
            return
        acknowledged_s = time.perf_counter()
        seen.acknowledged.setdefault(name, set()).add(memory_id)
        if number % SAMPLED == 0:
            await _watch(reader, memory_id, acknowledged_s, seen)
        else:
            await _demand(reader, memory_id, done.receipt.seq, seen)

    async def converged(self, seen: Seen) -> tuple[float, int]:
        """Seconds until all pods agree, and how many acknowledged writes are nowhere."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < CONVERGE_LIMIT_S:
            if await self._agree():
                break
        return time.perf_counter() - begun, await self._lost(seen)

    async def _agree(self) -> bool:
        """Whether every pod's Verify is clean and all have the same rows."""
        states = await asyncio.gather(*(self._verified(client) for client in self.clients))
        return states[0] is not None and all(state == states[0] for state in states)

    async def _verified(self, client: AsyncClient) -> list[tuple[int, int]] | None:
        """Rows and change number of each namespace; None while one of them is not as it should be."""
        try:
            reports = [await client.scoped(namespace=name).verify() for name in self.names]
        except MemdError:
            return None
        return [(one.rows, one.seq) for one in reports] if all(one.ok for one in reports) else None

    async def _lost(self, seen: Seen) -> int:
        lost = 0
        for name, wanted in seen.acknowledged.items():
            there = {memory.memory_id async for memory in self.clients[0].scoped(namespace=name).list()}
            lost += len(wanted - there)
        return lost


async def _demand(reader: AsyncClient, memory_id: str, seq: int, seen: Seen) -> None:
    try:
        found = await reader.recall(QUERY, tiers=["semantic"], filter=F.tag == memory_id, min_seq=seq)
    except MemdError:
        seen.behind += 1
        return
    if found.tier_status[0].state is not TierState.OK:
        seen.behind += 1
    elif found.seq < seq or [hit.memory.memory_id for hit in found.memories] != [memory_id]:
        seen.stale += 1


async def _watch(reader: AsyncClient, memory_id: str, acknowledged_s: float, seen: Seen) -> None:
    """Until a recall that demands nothing finds the row."""
    while time.perf_counter() - acknowledged_s < WATCH_LIMIT_S:
        try:
            if (await reader.recall(QUERY, tiers=["semantic"], filter=F.tag == memory_id)).memories:
                break
        except MemdError:
            pass  # the pod is away: the fault's window covers it
        await asyncio.sleep(WATCH_PAUSE_S)
    seen.visible.append((acknowledged_s, time.perf_counter()))


async def suffer(pods: Sequence[MeasuredDaemon], servers: Pair, run_s: float, seen: Seen) -> None:
    """Every second pod is killed and restarted, one after the other, and in the middle Postgres fails over."""
    faults = [_killed(pod) for pod in pods[::2]]
    faults.insert(len(faults) // 2, servers.fail_over)
    begun_s = time.perf_counter()
    apart = (LAST_FAULT - FIRST_FAULT) / max(1, len(faults) - 1)
    for number, fault in enumerate(faults):
        due_s = begun_s + run_s * (FIRST_FAULT + number * apart)
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await _in_window(lambda fault=fault: asyncio.to_thread(fault), seen)  # type: ignore[misc]


def _killed(pod: MeasuredDaemon) -> Callable[[], None]:
    def kill() -> None:
        pod.kill()
        pod.start()

    return kill


async def _in_window(fault: Callable[[], Awaitable[None]], seen: Seen) -> None:
    at, begun_s = len(seen.faults), time.perf_counter()
    seen.faults.append((begun_s, float("inf")))
    await fault()
    took_s = time.perf_counter() - begun_s
    seen.faults[at] = (begun_s, begun_s + took_s + SETTLE_S)
    progress(f"fault {at + 1} took {took_s:.1f} s")
