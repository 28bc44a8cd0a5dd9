"""What an Observe costs while working memory is compressed and sessions are consolidated, beside the same Observe alone.

One writer of single events at a steady pace, over the real socket. In its busy slices others send long turns to sessions that
are over their threshold with each batch: compressed (extractive), promoted and digested behind the replies. Idle and busy
slices take turns; before an idle one all compressions are done and digests have had their time.

Two more daemons are the control: the same slices with neither, and with compression alone. So what the long turns cost by
themselves, to send and to store, is told apart from what is done with them behind the replies.

With ``--sessions`` something else: see ``benches.background_live``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from memd_client import AsyncClient
from memd_client._proto.v1 import common_pb2, memory_service_pb2

from benches import background_live, report
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
_NO_DIGESTS = {"MEMD_CONSOLIDATION_ENABLED": "false"}
SUBJECTS = {
    "feed": {**_NO_DIGESTS, "MEMD_COMPRESSION_ENABLED": "false"},
    "compression": _NO_DIGESTS,
    "busy": {},
}
"""Prefix of the figures beside the long turns, and what the daemon is started with."""


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
        observed(f"busy-{n % sessions}", [*itertools.islice(turns, BATCH - 1), f"Remember that {next(marked)}"])
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


@dataclass(slots=True)
class Subject:
    """A daemon and what was measured of it: milliseconds of Observes alone and beside the long turns."""

    daemon: MeasuredDaemon
    requests: Iterator[Request]
    batches: Iterator[Request]
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    compressions: int = 0
    memories: int = 0

    async def slices(self, seconds: float, batches: int, per_s: float) -> None:
        """An idle slice and a busy one."""
        async with memory_service(self.daemon.address) as stub, user_client(self.daemon.address) as client:
            await at_pace(stub, self.requests, 1.0)
            await settled(client)
            self.alone += await at_pace(stub, self.requests, seconds)
            before = await compression(client)
            async with busy(stub, list(itertools.islice(self.batches, batches)), per_s):
                self.beside += await at_pace(stub, self.requests, seconds)
            after = await compression(client)
            self.depths += [before["queue_depth"], after["queue_depth"]]
            self.compressions += after["done"] - before["done"]
            await settled(client)
            self.memories = (await client.stats()).namespace.memories


async def measure(args: argparse.Namespace, subjects: dict[str, Subject]) -> dict[str, Figure]:
    """All figures, from daemons that were just started."""
    per_s = args.rate / BATCH
    each = max(1, int(args.seconds * per_s))
    for number in range(args.slices):
        for name, subject in subjects.items():
            await subject.slices(args.seconds, each, per_s)
            progress(
                f"{number + 1}/{args.slices} {name}: {median(subject.beside):.3g} ms of {median(subject.alone):.3g}"
            )
    found = {"busy_events": each * BATCH * args.slices, **figures(subjects["busy"], args.slices * args.seconds)}
    alone = [ms for subject in subjects.values() for ms in subject.alone]
    found |= {"idle_p50_ms": median(alone), "idle_p99_ms": percentile(alone, 99)}
    for name, subject in subjects.items():
        found |= {f"{name}_p50_ms": median(subject.beside), f"{name}_p99_ms": percentile(subject.beside, 99)}
    for percent in (50, 99):
        of = {name: percentile(subject.beside, percent) for name, subject in subjects.items()}
        found[f"p{percent}_ratio"] = of["busy"] / percentile(alone, percent)
        found[f"p{percent}_ratio_to_feed"] = of["busy"] / of["feed"]
    return found


def figures(subject: Subject, seconds: float) -> dict[str, Figure]:
    """What went on in ``seconds`` of busy slices."""
    return {
        "compressions": subject.compressions,
        "compressions_per_s": subject.compressions / seconds,
        "queue_depth_start": max(subject.depths[::2]),
        "queue_depth_end": max(subject.depths[1::2]),
        "consolidated_memories": subject.memories,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rate", type=float, default=200, help="long turns a second; with --sessions, events")
    parser.add_argument("--busy-sessions", type=int, default=20, help="that the long turns go to")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each slice; with --sessions, of all")
    parser.add_argument("--slices", type=int, default=3, help="of each kind")
    background_live.add_arguments(parser)
    args = parser.parse_args()
    if args.sessions:
        report.publish("background", args, background_live.run(args), background_live.TARGETS)
        return
    corpus = Corpus(args.seed)
    count = args.slices * max(1, int(args.seconds * args.rate / BATCH))
    with temporary_directory() as directory, contextlib.ExitStack() as stack:
        subjects = {}
        for name, environment in SUBJECTS.items():
            daemon = MeasuredDaemon(Path(directory) / name, environment=environment)
            stack.enter_context(running(daemon))
            batches = iter(busy_requests(corpus, count, args.busy_sessions))
            subjects[name] = Subject(daemon, measured_requests(corpus), batches)
        found = asyncio.run(measure(args, subjects))
    report.publish("background", args, found, TARGETS)


if __name__ == "__main__":
    main()
