"""Many sidecars on one Redis and one Postgres: is anything lost, is a read ever older than it may be, how soon does a write
show elsewhere, and do all agree in the end.

Writes go to a pod drawn at random at ``--rate``. Each is then demanded by ``min_seq`` from another pod: an answer without it
is a stale read, one that says it cannot have it is not (``behind_reads``). One in ten is instead watched without ``min_seq``
until the other pod finds it. With ``--faults`` every second pod is killed and restarted, and in the middle Postgres is
killed and its synchronous standby promoted; ``*_visible_ms`` leaves out what a fault's window touches. ``converge_s``: from
the last write until every pod's Verify is clean and all have the same rows. ``cpu_ms_per_write`` is the CPU that each kind of
process takes, until the first fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from memd_client import AsyncClient

from benches import report
from benches.cpu import cpu_ms
from benches.daemon import MeasuredDaemon, temporary_directory
from benches.fleet import UNDISTURBED, Fleet, Seen, suffer
from benches.report import Figure, Target, median, percentile, progress
from benches.servers import Pair, pair

TARGETS = (
    Target("lost", "<=", 0),
    Target("stale_reads", "<=", 0),
    Target("p50_visible_ms", "<=", 20),
    Target("p99_visible_ms", "<=", 200),
    Target("converge_s", "<=", 10),
)
USER = "ada"
CALL_TIMEOUT_S = 60.0
"""The client goes on asking until then: longer than any fault."""
POD = {"MEMD_EMBEDDING_THREADS": "1"}
"""A pod among others on its machine has one CPU."""


async def measure(args: argparse.Namespace, pods: Sequence[MeasuredDaemon], servers: Pair) -> dict[str, Figure]:
    draw, seen = random.Random(args.seed), Seen()
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(pod.address, user_id=USER, timeout_s=CALL_TIMEOUT_S))
            for pod in pods
        ]
        fleet = Fleet(clients, [f"tenant{number}" for number in range(args.namespaces)])
        await fleet.warm()
        async with asyncio.TaskGroup() as running:
            begun = time.perf_counter()
            run_s = args.writes / args.rate
            undisturbed_s = run_s * (UNDISTURBED if args.faults else 1.0)
            cpu = running.create_task(_cpu_ms_per_write(pods, servers, undisturbed_s, args.rate))
            if args.faults:
                running.create_task(suffer(pods, servers, run_s, seen))
            for number in range(args.writes):
                await asyncio.sleep(max(0.0, begun + number / args.rate - time.perf_counter()))
                running.create_task(fleet.write(number, draw, seen))
                if number % max(1, args.writes // 5) == 0:
                    progress(f"write {number} of {args.writes}")
        took_s = time.perf_counter() - begun
        converge_s, lost = await fleet.converged(seen)
    visible_ms = seen.visible_ms()
    return {
        "writes_per_s": args.writes / took_s,
        "refused_writes": seen.refused,
        "lost": lost,
        "stale_reads": seen.stale,
        "behind_reads": seen.behind,
        "p50_visible_ms": median(visible_ms),
        "p99_visible_ms": percentile(visible_ms, 99),
        "visible_samples": len(visible_ms),
        "converge_s": converge_s,
        "fault_windows_s": [ended - begun_s for begun_s, ended in seen.faults],
        "cpu_ms_per_write": cpu.result(),
    }


async def _cpu_ms_per_write(
    pods: Sequence[MeasuredDaemon], servers: Pair, seconds: float, rate: float
) -> dict[str, float]:
    """Of each kind of process, over the next seconds, with all that goes on beside the writes."""
    before = _spent_ms(pods, servers)
    await asyncio.sleep(seconds)
    return {name: (ms - before[name]) / (rate * seconds) for name, ms in _spent_ms(pods, servers).items()}


def _spent_ms(pods: Sequence[MeasuredDaemon], servers: Pair) -> dict[str, float]:
    """CPU so far, of this process (the clients), of all daemons and of the servers."""
    daemons = {"daemons": [pod.pid for pod in pods]}
    return {"clients": time.process_time() * 1e3, **cpu_ms({**daemons, **servers.pids()})}


@contextlib.contextmanager
def _pods(count: int, directory: Path) -> Iterator[tuple[list[MeasuredDaemon], Pair]]:
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(pair(directory))
        environment = {**servers.environment, **POD}
        pods = [MeasuredDaemon(directory / f"pod{number}", environment=environment) for number in range(count)]
        for pod in pods:
            stack.callback(pod.close)
            pod.start()
        yield pods, servers


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--pods", type=int, default=8, help="daemons, at least two")
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=100.0, help="writes a second, all pods together")
    parser.add_argument("--namespaces", type=int, default=20)
    parser.add_argument("--faults", action="store_true", help="kill pods and fail Postgres over")
    args = parser.parse_args()
    with temporary_directory() as directory, _pods(args.pods, directory) as (pods, servers):
        found = asyncio.run(measure(args, pods, servers))
    shape = {"pods": args.pods, "writes": args.writes, "rate": args.rate, "namespaces": args.namespaces}
    report.publish("sidecars", args, {**shape, "faults": args.faults, **found}, TARGETS)


if __name__ == "__main__":
    main()
