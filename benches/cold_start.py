"""How long a daemon that holds memories takes from spawn to its first answered Recall: after a clean stop, and after SIGKILL.

``ready_s`` is the slower of the two medians. The files are in the page cache, as they are when a sidecar restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from memd_client import Client

from benches import report
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, temporary_directory
from benches.population import SESSION, USER, populate, user_client
from benches.report import Figure, Target, median, progress

TARGETS = (Target("ready_s", "<=", 2.0), Target("rss_anon_mb", "<=", 300.0))
SESSION_EVENTS = 8
FIRST_RECALL_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Starts:
    """Seconds of each start: until the health service says SERVING, and until the first Recall is answered."""

    serving_s: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)


def start_and_recall(daemon: MeasuredDaemon, starts: Starts, query: str) -> None:
    """One start. The Recall must be complete: every tier OK and memories found."""
    begun = time.perf_counter()
    starts.serving_s.append(daemon.start())
    with Client(daemon.address, user_id=USER, session_id=SESSION, timeout_s=FIRST_RECALL_TIMEOUT_S) as client:
        found = client.recall(query)
        starts.ready_s.append(time.perf_counter() - begun)
    if not found.memories or any(status.reason for status in found.tier_status):
        raise RuntimeError("the first recall after a start was not complete")


async def fill(daemon: MeasuredDaemon, corpus: Corpus, memories: int) -> None:
    async with user_client(daemon.address) as client:
        await populate(client, corpus, memories, SESSION_EVENTS)


def measure(args: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    """All figures."""
    corpus = Corpus(args.seed)
    queries = iter(corpus.queries(2 * args.starts + 1))
    clean, killed = Starts(), Starts()
    daemon = MeasuredDaemon(directory)
    try:
        daemon.start()
        asyncio.run(fill(daemon, corpus, args.memories))
        for number in range(args.starts):
            daemon.terminate()
            start_and_recall(daemon, clean, next(queries))
            daemon.kill()
            start_and_recall(daemon, killed, next(queries))
            progress(f"start {number + 1} of {args.starts}: {clean.ready_s[-1]:.2f} s, {killed.ready_s[-1]:.2f} s")
        resident = daemon.resident()
        data_mb = sum(file.stat().st_size for file in daemon.data_dir.rglob("*") if file.is_file()) / 1e6
        daemon.terminate()
    finally:
        daemon.close()
    return {
        "memories": args.memories,
        "ready_s": max(median(clean.ready_s), median(killed.ready_s)),
        "ready_after_stop_s": median(clean.ready_s),
        "ready_after_kill_s": median(killed.ready_s),
        "ready_max_s": max(clean.ready_s + killed.ready_s),
        "serving_after_stop_s": median(clean.serving_s),
        "serving_after_kill_s": median(killed.serving_s),
        "rss_mb": resident.rss_mb,
        "rss_anon_mb": resident.anon_mb,
        "data_mb": data_mb,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--starts", type=int, default=5, help="of each kind")
    args = parser.parse_args()
    with temporary_directory() as directory:
        found = measure(args, directory)
    report.publish("cold_start", args, found, TARGETS)


if __name__ == "__main__":
    main()
