"""Many sidecars on one Redis and one Postgres: is anything lost, is a read ever older than it may be, how soon does a write
show elsewhere, and do all agree in the end.

Writes go to a pod drawn at random at ``--rate``. Each is then demanded by ``min_seq`` from another pod: an answer without it
is a stale read. One in ``SAMPLED`` is instead watched without ``min_seq`` until the other pod's change number covers it.
``converge_s``: from the last write until every pod's Verify is clean and all have the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memd_client import AsyncClient

from benches import report
from benches.daemon import MeasuredDaemon, temporary_directory
from benches.report import Figure, Target, median, percentile, progress
from benches.servers import servers

TARGETS = (
    Target("lost", "<=", 0),
    Target("stale_reads", "<=", 0),
    Target("p50_visible_ms", "<=", 20),
    Target("p99_visible_ms", "<=", 200),
    Target("converge_s", "<=", 10),
)
USER = "ada"
SAMPLED = 10
WATCH_PAUSE_S = 0.002
WATCH_LIMIT_S = 10.0
CONVERGE_LIMIT_S = 60.0


@dataclass
class Seen:
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Ids by namespace."""
    stale: int = 0
    visible_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Fleet:
    """A client for each pod and namespace."""

    clients: Sequence[Sequence[AsyncClient]]
    names: Sequence[str]

    async def write(self, number: int, draw: random.Random, seen: Seen) -> None:
        at = draw.randrange(len(self.names))
        writer, reader = draw.sample(range(len(self.clients)), 2)
        memory_id, text = f"m{number}", f"fact {number}: the code of box {number} is {draw.randrange(10**6)}"
        done = await self.clients[writer][at].remember(text, memory_id=memory_id)
        acknowledged_s = time.perf_counter()
        seen.acknowledged.setdefault(self.names[at], set()).add(memory_id)
        other = self.clients[reader][at]
        if number % SAMPLED == 0:
            await _watch(other, text, done.receipt.seq, acknowledged_s, seen)
        elif (await other.recall(text, tiers=["semantic"], min_seq=done.receipt.seq)).seq < done.receipt.seq:
            seen.stale += 1

    async def converged(self, seen: Seen) -> tuple[float, int]:
        """Seconds until all pods agree, and how many acknowledged writes are nowhere."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < CONVERGE_LIMIT_S:
            reports = [[await client.verify() for client in pod] for pod in self.clients]
            states = [[(one.rows, one.seq) for one in pod] for pod in reports]
            if all(one.ok for pod in reports for one in pod) and all(state == states[0] for state in states):
                break
            await asyncio.sleep(WATCH_PAUSE_S)
        took_s = time.perf_counter() - begun
        return took_s, await self._lost(seen)

    async def _lost(self, seen: Seen) -> int:
        lost = 0
        for at, name in enumerate(self.names):
            there = {memory.memory_id async for memory in self.clients[0][at].list()}
            lost += len(seen.acknowledged.get(name, set()) - there)
        return lost


async def _watch(other: AsyncClient, text: str, seq: int, acknowledged_s: float, seen: Seen) -> None:
    while (await other.recall(text, tiers=["semantic"])).seq < seq:
        if time.perf_counter() - acknowledged_s > WATCH_LIMIT_S:
            break
        await asyncio.sleep(WATCH_PAUSE_S)
    seen.visible_ms.append((time.perf_counter() - acknowledged_s) * 1e3)


async def measure(args: argparse.Namespace, addresses: Sequence[str]) -> dict[str, Figure]:
    names = [f"tenant{number}" for number in range(args.namespaces)]
    draw, seen = random.Random(args.seed), Seen()
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            [await stack.enter_async_context(AsyncClient(one, namespace=name, user_id=USER)) for name in names]
            for one in addresses
        ]
        fleet = Fleet(clients, names)
        for pod in clients:
            for client in pod:
                await client.recall("warm", tiers=["semantic"])
        begun = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for number in range(args.writes):
            await asyncio.sleep(max(0.0, begun + number / args.rate - time.perf_counter()))
            running.add(asyncio.create_task(fleet.write(number, draw, seen)))
            if number % max(1, args.writes // 5) == 0:
                progress(f"write {number} of {args.writes}")
        await asyncio.gather(*running)
        took_s = time.perf_counter() - begun
        converge_s, lost = await fleet.converged(seen)
    return {
        "writes_per_s": args.writes / took_s,
        "lost": lost,
        "stale_reads": seen.stale,
        "p50_visible_ms": median(seen.visible_ms),
        "p99_visible_ms": percentile(seen.visible_ms, 99),
        "converge_s": converge_s,
    }


@contextlib.contextmanager
def _pods(count: int, directory: Path) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(servers(directory))
        pods = [MeasuredDaemon(directory / f"pod{number}", environment=environment) for number in range(count)]
        for pod in pods:
            stack.callback(pod.close)
            pod.start()
        yield [pod.address for pod in pods]


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--pods", type=int, default=8, help="daemons, at least two")
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=100.0, help="writes a second, all pods together")
    parser.add_argument("--namespaces", type=int, default=20)
    args = parser.parse_args()
    with temporary_directory() as directory, _pods(args.pods, directory) as addresses:
        found = asyncio.run(measure(args, addresses))
    shape = {"pods": args.pods, "writes": args.writes, "rate": args.rate, "namespaces": args.namespaces}
    report.publish("sidecars", args, {**shape, **found}, TARGETS)


if __name__ == "__main__":
    main()
