"""What an Observe costs above its floor, and how many a second a daemon takes from many writers.

The floor of one writer is a bare gRPC echo of an equal reply plus one fsynced SQLite insert on the same disk; the measure of
many is the echo's own rate with as many calls in flight. All take turns, in the same run. Every event is durable before its
reply.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
from memd_client._proto.v1 import common_pb2, memory_service_pb2

from benches import report
from benches.channel import CALL_TIMEOUT_S, memory_service
from benches.closed_loop import Call, Rate, add_slice, latencies_ms
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.echo import EchoServer
from benches.population import USER
from benches.report import Figure, Target, median, percentile, progress

TARGETS = (Target("ratio_to_floor", "<=", 1.5), Target("rate_to_echo", ">=", 0.5))
BLOCK = 50
SLICES = 8


class SyncedInserts:
    """One row an insert, one fsync a row: the least a durable event can cost on this disk."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"pragma {pragma}").fetchall()
        self._connection.execute("create table event (id integer primary key, content text not null)")

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Milliseconds of each insert."""
        taken = []
        for text in texts:
            started = time.perf_counter()
            self._connection.execute("insert into event (content) values (?)", (text,))
            taken.append((time.perf_counter() - started) * 1e3)
        return taken

    def close(self) -> None:
        self._connection.close()


def requests(corpus: Corpus, sessions: int) -> Iterator[memory_service_pb2.ObserveRequest]:
    """Single events without end, each the next one of another session."""
    for number, text in enumerate(corpus.events()):
        scope = common_pb2.Scope(user_id=USER, session_id=f"writer-{number % sessions}")
        event = common_pb2.Event(kind=common_pb2.EVENT_KIND_TURN, role="user", content=text)
        yield memory_service_pb2.ObserveRequest(scope=scope, events=[event])


async def measure(args: argparse.Namespace, directory: Path, daemon: MeasuredDaemon) -> dict[str, Figure]:
    """All figures, from a daemon that was just started."""
    corpus = Corpus(args.seed)
    async with contextlib.AsyncExitStack() as stack:
        daemon_stub = await stack.enter_async_context(memory_service(daemon.address))

        async def observe(request: memory_service_pb2.ObserveRequest) -> memory_service_pb2.ObserveResponse:
            return await daemon_stub.Observe(request, timeout=CALL_TIMEOUT_S)

        reply = await observe(next(requests(corpus, 1)))
        echo_server = EchoServer(directory, observe=reply)
        stack.enter_context(running(echo_server))
        echo_stub = await stack.enter_async_context(memory_service(echo_server.address))

        async def echo(request: memory_service_pb2.ObserveRequest) -> memory_service_pb2.ObserveResponse:
            return await echo_stub.Observe(request, timeout=CALL_TIMEOUT_S)

        inserts = stack.enter_context(contextlib.closing(SyncedInserts(directory / "floor.db")))
        return {
            **await one_writer(corpus, args.events, observe, echo, inserts),
            **await many_writers(corpus, args.writers, args.seconds, observe, echo),
            "rss_anon_mb": daemon.resident().anon_mb,
        }


async def one_writer(
    corpus: Corpus,
    events: int,
    observe: Call[memory_service_pb2.ObserveRequest],
    echo: Call[memory_service_pb2.ObserveRequest],
    inserts: SyncedInserts,
) -> dict[str, Figure]:
    """Latencies of one writer, of the echo and of the insert, in turns; sessions change so that none reaches its cap."""
    endless = requests(corpus, max(1, events // 200))
    observed: list[float] = []
    echoed: list[float] = []
    inserted: list[float] = []
    await latencies_ms(observe, list(itertools.islice(endless, BLOCK)))
    for _ in range(-(-events // BLOCK)):
        block = list(itertools.islice(endless, BLOCK))
        echoed += await latencies_ms(echo, block)
        inserted += inserts.latencies_ms([request.events[0].content for request in block])
        observed += await latencies_ms(observe, block)
    progress(f"one writer: {len(observed):,} events")
    floor = median(echoed) + median(inserted)
    return {
        "p50_ms": median(observed),
        "p95_ms": percentile(observed, 95),
        "p99_ms": percentile(observed, 99),
        "echo_p50_ms": median(echoed),
        "insert_p50_ms": median(inserted),
        "floor_ms": floor,
        "ratio_to_floor": median(observed) / floor,
    }


async def many_writers(
    corpus: Corpus,
    writers: int,
    seconds: float,
    observe: Call[memory_service_pb2.ObserveRequest],
    echo: Call[memory_service_pb2.ObserveRequest],
) -> dict[str, Figure]:
    """Events a second of ``writers`` writers, single events each, and echoes a second with as many in flight."""
    events, echoes = Rate(), Rate()
    endless = requests(corpus, writers)
    await add_slice(Rate(), observe, endless, writers, min(0.5, seconds / SLICES))
    for _ in range(SLICES):
        await add_slice(echoes, echo, endless, writers, seconds / SLICES)
        await add_slice(events, observe, endless, writers, seconds / SLICES)
    progress(f"{writers} writers: {events.calls:,} events")
    return {
        "writers": writers,
        "events_per_s": events.per_s,
        "echo_per_s": echoes.per_s,
        "rate_to_echo": events.per_s / echoes.per_s,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--writers", type=int, default=64, help="calls in flight for the rates")
    parser.add_argument("--events", type=int, default=2_000, help="of the one writer")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each rate")
    args = parser.parse_args()
    with temporary_directory() as directory:
        daemon = MeasuredDaemon(directory / "memd")
        with running(daemon):
            found = asyncio.run(measure(args, directory, daemon))
    report.publish("observe", args, found, TARGETS)


if __name__ == "__main__":
    main()
