"""``benches.background --sessions N``: N sessions live at once, events to all of them at a steady rate, for a while.

Whether what is done behind the replies keeps up is seen over time: sessions that wait for compression, sessions whose
promotion or digest is due (counted in the daemon's own file), and the daemon's memory. ``--data`` keeps what the sessions
were filled with, for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import apsw
from memd_client import AsyncClient
from memd_client._proto.v1 import common_pb2, memory_service_pb2

from benches.channel import CALL_TIMEOUT_S, memory_service
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.population import USER, user_client
from benches.report import Figure, Target, percentile, progress
from memd.limits import DIGEST_EVENTS, DIGEST_IDLE_US, SECOND_US

if TYPE_CHECKING:
    from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

TARGETS = (
    Target("queue_depth_end", "<=", 64),
    Target("rss_growth", "<=", 1.1),
    Target("digests_p50_ratio", "<=", 1.5),
    Target("digests_p99_ratio", "<=", 3),
)
_DUE = (
    "SELECT sum(promoted < last_position), sum(digested < last_position AND"
    " (last_position - digested >= ? OR update_time <= ?)) FROM session"
)
FILL_BATCH = 50
FILLERS = 8
SAMPLE_S = 2.0
Observed: TypeAlias = tuple[float, float]
"""When an Observe was sent, in seconds since the events began, and how many milliseconds it took."""
IN_FLIGHT = 64
"""Calls not answered yet over which the next one waits: then the daemon does not keep up with the rate itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """``second`` since the events began; depths are sessions."""

    second: float
    compressions_waiting: int
    promotions_due: int
    digests_due: int
    rss_mb: float
    anon_mb: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sessions", type=int, default=0, help="live at once, all of them written to; 0: the other mode"
    )
    parser.add_argument("--events", type=int, default=500, help="with --sessions: that each has before")
    parser.add_argument(
        "--data", type=Path, help="with --sessions: keep the filled sessions here, or take them from here"
    )
    parser.add_argument("--fill-only", action="store_true", help="with --data: fill the sessions and be done")


def run(args: argparse.Namespace) -> dict[str, Figure]:
    with contextlib.ExitStack() as stack:
        directory = args.data or stack.enter_context(temporary_directory())
        daemon = MeasuredDaemon(directory / "memd")
        stack.enter_context(running(daemon))
        return asyncio.run(_measure(args, daemon))


def _requests(corpus: Corpus, sessions: int, batch: int) -> Iterator[memory_service_pb2.ObserveRequest]:
    """``batch`` events each, to one session after the other in an order that changes with each round; without end."""
    texts, rng = corpus.events(), random.Random(corpus.seed)
    while True:
        for session in rng.sample(range(sessions), sessions):
            turns = itertools.islice(texts, batch)
            yield memory_service_pb2.ObserveRequest(
                scope=common_pb2.Scope(user_id=USER, session_id=f"live-{session}"),
                events=[common_pb2.Event(kind=common_pb2.EVENT_KIND_TURN, role="user", content=turn) for turn in turns],
            )


async def _fill(stub: MemoryServiceAsyncStub, args: argparse.Namespace) -> None:
    calls = args.sessions * (args.events // FILL_BATCH)
    requests = enumerate(itertools.islice(_requests(Corpus(args.seed), args.sessions, FILL_BATCH), calls))

    async def filler() -> None:
        for number, request in requests:
            await stub.Observe(request, timeout=CALL_TIMEOUT_S)
            if number % 1_000 == 999:
                progress(f"{(number + 1) * FILL_BATCH:,} of {calls * FILL_BATCH:,} events")

    async with asyncio.TaskGroup() as group:
        for _ in range(FILLERS):
            group.create_task(filler())


async def _sample(client: AsyncClient, daemon: MeasuredDaemon, begun: float) -> Sample:
    process = (await client.stats()).process
    assert process is not None, "without configured namespaces every caller is admin"
    memory, due = daemon.resident(), _due(daemon)
    return Sample(
        second=round(time.perf_counter() - begun, 1),
        compressions_waiting=process.compression.get("queue_depth", 0),
        promotions_due=due[0],
        digests_due=due[1],
        rss_mb=memory.rss_mb,
        anon_mb=memory.anon_mb,
    )


def _due(daemon: MeasuredDaemon) -> tuple[int, int]:
    """Sessions with events to be promoted, and sessions whose digest is due."""
    connection = apsw.Connection(str(daemon.data_dir / "memd.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rested_us = int(time.time() * SECOND_US) - DIGEST_IDLE_US
        ((promotions, digests),) = connection.execute(_DUE, (DIGEST_EVENTS, rested_us)).fetchall()
        return int(promotions or 0), int(digests or 0)
    finally:
        connection.close()


async def _settled(client: AsyncClient, daemon: MeasuredDaemon) -> float:
    """Seconds until nothing is left to do."""
    begun = time.perf_counter()
    while True:
        now = await _sample(client, daemon, begun)
        if not now.compressions_waiting + now.promotions_due + now.digests_due:
            return now.second
        await asyncio.sleep(SAMPLE_S)


async def _events(stub: MemoryServiceAsyncStub, args: argparse.Namespace) -> list[Observed]:
    """An Observe of one event each, begun at the rate whether or not those before are answered."""
    taken: list[Observed] = []
    room = asyncio.Semaphore(IN_FLIGHT)

    async def observe(request: memory_service_pb2.ObserveRequest) -> None:
        sent = time.perf_counter()
        try:
            await stub.Observe(request, timeout=CALL_TIMEOUT_S)
        finally:
            room.release()
        taken.append((sent - begun, (time.perf_counter() - sent) * 1e3))

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        requests = _requests(Corpus(args.seed + 1), args.sessions, 1)
        for number in range(int(args.seconds * args.rate)):
            await room.acquire()
            await asyncio.sleep(max(0.0, begun + number / args.rate - time.perf_counter()))
            group.create_task(observe(next(requests)))
    return taken


async def _watched(client: AsyncClient, daemon: MeasuredDaemon, events: asyncio.Task[list[Observed]]) -> list[Sample]:
    begun = time.perf_counter()
    samples = [await _sample(client, daemon, begun)]
    while not events.done():
        await asyncio.wait([events], timeout=SAMPLE_S)
        samples.append(await _sample(client, daemon, begun))
        progress(str(samples[-1]))
    return samples


async def _measure(args: argparse.Namespace, daemon: MeasuredDaemon) -> dict[str, Figure]:
    async with memory_service(daemon.address) as stub, user_client(daemon.address) as client:
        if (await client.stats()).namespace.sessions < args.sessions:
            await _fill(stub, args)
        settled_s = await _settled(client, daemon)
        progress(f"nothing left to do after {settled_s:.0f} s; {daemon.resident()}")
        stock = (await client.stats()).namespace
        found: dict[str, Figure] = {"sessions": stock.sessions, "events": stock.events, "settled_s": settled_s}
        if args.fill_only:
            now = [await _sample(client, daemon, time.perf_counter())]
            return {**found, **_latencies((), now), **_figures(now)}
        begun = time.perf_counter()
        events = asyncio.ensure_future(_events(stub, args))
        samples = await _watched(client, daemon, events)
        taken = await events
        rate = len(taken) / (time.perf_counter() - begun)
        return {
            **found,
            "events_per_s": rate,
            **_latencies(taken, samples),
            **_figures(samples),
            "over_time": [asdict(sample) for sample in samples],
        }


def _latencies(taken: Sequence[Observed], samples: Sequence[Sample]) -> dict[str, Figure]:
    """Of all Observes, of those while digests were due before and after, and of those while none was."""
    found: dict[str, list[float]] = {"observe": [], "no_digests": [], "digests": []}
    for before, after in itertools.pairwise(samples):
        within = [ms for second, ms in taken if before.second <= second < after.second]
        found["observe"] += within
        if bool(before.digests_due) == bool(after.digests_due):
            found["digests" if before.digests_due else "no_digests"] += within
    latencies: dict[str, Figure] = {}
    for percent in (50, 99):
        ms = {name: percentile(some, percent) for name, some in found.items() if some}
        latencies |= {f"{name}_p{percent}_ms": value for name, value in ms.items()}
        both = "digests" in ms and "no_digests" in ms
        latencies[f"digests_p{percent}_ratio"] = ms["digests"] / ms["no_digests"] if both else None
    return latencies


def _figures(samples: Sequence[Sample]) -> dict[str, Figure]:
    last = samples[len(samples) // 2 :]
    return {
        "queue_depth_max": max(sample.compressions_waiting for sample in samples),
        "queue_depth_end": samples[-1].compressions_waiting,
        "promotions_due_end": samples[-1].promotions_due,
        "digests_due_max": max(sample.digests_due for sample in samples),
        "digests_due_end": samples[-1].digests_due,
        "digests_worked_off_s": _worked_off_s(samples),
        "rss_mb_start": samples[0].rss_mb,
        "rss_mb_max": max(sample.rss_mb for sample in samples),
        "rss_growth": max(sample.rss_mb for sample in last) / last[0].rss_mb,
    }


def _worked_off_s(samples: Sequence[Sample]) -> float:
    """The longest time in which some session's digest was due at each look."""
    longest, since = 0.0, samples[0].second
    for sample in samples:
        if not sample.digests_due:
            since = sample.second
        longest = max(longest, sample.second - since)
    return round(longest, 1)
