"""What an Observe costs while working memory is compressed and sessions are consolidated, beside the same Observe alone.

One writer of single events at a steady pace, over the real socket. In its busy slices others send long turns to sessions that
are over their threshold with each batch: compressed (extractive), promoted and digested behind the replies. Idle and busy
slices take turns; before an idle one all compressions are done and digests have had their time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from memd_client import AsyncClient
from memd_client._proto.v1 import common_pb2, memory_service_pb2

from benches import report
from benches.channel import CALL_TIMEOUT_S, memory_service
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.population import USER, user_client
from benches.report import Figure, Target, median, percentile, progress

if TYPE_CHECKING:
    from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

Request: TypeAlias = memory_service_pb2.ObserveRequest

TARGETS = (Target("p50_ratio", "<=", 1.5), Target("p99_ratio", "<=", 3))
PACE_S = 0.01
"""From one measured Observe to the next."""
MEASURED_TO_A_SESSION = 15
"""Fewer than compress a session or have a digest made of it."""
BATCH = 20
"""Turns of one busy call: one is to be remembered, the others are long; together they are compressed at once."""
SENTENCES = 16
"""Of a long turn: about 300 tokens."""
SETTLE_S = 2.5
"""After the last compression: longer than from one look for due digests to the next."""
POLL_S = 0.5


def observed(session: str, texts: Sequence[str]) -> Request:
    scope = common_pb2.Scope(user_id=USER, session_id=session)
    events = [common_pb2.Event(kind=common_pb2.EVENT_KIND_TURN, role="user", content=text) for text in texts]
    return memory_service_pb2.ObserveRequest(scope=scope, events=events)


def measured_requests(corpus: Corpus) -> Iterator[Request]:
    """Single events without end, each session only begun."""
    for number, text in enumerate(corpus.events()):
        yield observed(f"measured-{number // MEASURED_TO_A_SESSION}", [text])


def busy_requests(corpus: Corpus, batches: int, sessions: int) -> list[Request]:
    """A batch each, session after session, and round again."""
    turns = iter(corpus.documents(batches * (BATCH - 1), SENTENCES))
    marked = iter(corpus.memories(batches))
    return [
        observed(f"busy-{n % sessions}", [*itertools.islice(turns, BATCH - 1), f"Remember: {next(marked)}"])
        for n in range(batches)
    ]


async def at_pace(stub: MemoryServiceAsyncStub, requests: Iterator[Request], seconds: float) -> list[float]:
    """Milliseconds of each Observe, one after the other, begun PACE_S apart or later."""
    taken: list[float] = []
    begun = time.perf_counter()
    for number in range(int(seconds / PACE_S)):
        await asyncio.sleep(max(0.0, begun + number * PACE_S - time.perf_counter()))
        sent = time.perf_counter()
        await stub.Observe(next(requests), timeout=CALL_TIMEOUT_S)
        taken.append((time.perf_counter() - sent) * 1e3)
    return taken


@contextlib.asynccontextmanager
async def busy(stub: MemoryServiceAsyncStub, batches: Sequence[Request], per_s: float) -> AsyncIterator[None]:
    """``batches``, begun at a steady rate whether or not the one before is answered; all are answered in the end."""

    async def late(request: Request, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await stub.Observe(request, timeout=CALL_TIMEOUT_S)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(batches):
            group.create_task(late(request, number / per_s))
        yield


async def compression(client: AsyncClient) -> Counter[str]:
    """The daemon's counters of compression; those that are 0 are not sent."""
    process = (await client.stats()).process
    assert process is not None, "without configured namespaces every caller is admin"
    return Counter(process.compression)


async def settled(client: AsyncClient) -> None:
    """Until nothing is compressed any more; then as long as digests may take."""
    done = -1
    while (now := await compression(client))["queue_depth"] or now["done"] != done:
        done = now["done"]
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(SETTLE_S)


async def measure(args: argparse.Namespace, daemon: MeasuredDaemon) -> dict[str, Figure]:
    """All figures, from a daemon that was just started."""
    corpus = Corpus(args.seed)
    per_s = args.rate / BATCH
    each = max(1, int(args.seconds * per_s))
    batches = iter(busy_requests(corpus, each * args.slices, args.sessions))
    alone: list[float] = []
    beside: list[float] = []
    depths: list[int] = []
    compressions = 0
    requests = measured_requests(corpus)
    async with memory_service(daemon.address) as stub, user_client(daemon.address) as client:
        await at_pace(stub, requests, 1.0)
        for _ in range(args.slices):
            await settled(client)
            alone += await at_pace(stub, requests, args.seconds)
            before = await compression(client)
            async with busy(stub, list(itertools.islice(batches, each)), per_s):
                beside += await at_pace(stub, requests, args.seconds)
            after = await compression(client)
            depths += [before["queue_depth"], after["queue_depth"]]
            compressions += after["done"] - before["done"]
            progress(f"{len(beside):,} beside {compressions:,} compressions")
        await settled(client)
        memories = (await client.stats()).namespace.memories
    return {
        "idle_p50_ms": median(alone),
        "idle_p99_ms": percentile(alone, 99),
        "busy_p50_ms": median(beside),
        "busy_p99_ms": percentile(beside, 99),
        "p50_ratio": median(beside) / median(alone),
        "p99_ratio": percentile(beside, 99) / percentile(alone, 99),
        "compressions": compressions,
        "compressions_per_s": compressions / (args.slices * args.seconds),
        "queue_depth_start": max(depths[::2]),
        "queue_depth_end": max(depths[1::2]),
        "busy_events": each * BATCH * args.slices,
        "consolidated_memories": memories,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rate", type=float, default=200, help="long turns a second")
    parser.add_argument("--sessions", type=int, default=20, help="that the long turns go to")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each slice")
    parser.add_argument("--slices", type=int, default=3, help="of each kind")
    args = parser.parse_args()
    with temporary_directory() as directory:
        daemon = MeasuredDaemon(Path(directory) / "memd")
        with running(daemon):
            found = asyncio.run(measure(args, daemon))
    report.publish("background", args, found, TARGETS)


if __name__ == "__main__":
    main()
