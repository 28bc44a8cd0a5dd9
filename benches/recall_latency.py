"""What a Recall costs above its floor: a bare gRPC echo of an equal reply, plus the embedding model alone.

Distinct queries, the cache of query embeddings off. Echo, model, recall and cached recall (and the hand-written pipeline
with --peers seed) take turns in blocks, so that a drift of the machine hits them alike. ``p50_ms`` is the bare stub's, as the
echo's; ``client_p50_ms`` is what a user of memd_client sees.

``floor_ms`` adds up the echo and the model, each measured by itself with warm caches. ``bare_p50_ms`` is what the two cost
in one process: an echo that embeds the query before it answers. No server that embeds is below that.

With ``--backend sqlite,servers`` a second daemon with the same memories takes its turns too, on a Redis and a Postgres of its
own; ``servers_ratio_p50`` is its ``servers_p50_ms`` to ``p50_ms``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from memd_client import AsyncClient
from memd_client._proto.v1 import common_pb2, memory_service_pb2

from benches import report
from benches.channel import CALL_TIMEOUT_S, memory_service
from benches.closed_loop import Rate, add_slice, latencies_ms
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.echo import EchoServer
from benches.encoder import BareEncoder
from benches.population import SESSION, USER, populate, user_client
from benches.report import Figure, Target, median, percentile, progress
from benches.seed.peer import SeedPipeline
from benches.servers import backend

if TYPE_CHECKING:
    from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

TARGETS = (Target("ratio_to_floor", "<=", 1.4), Target("p99_to_p50", "<=", 3.0), Target("rss_anon_mb", "<=", 300.0))
SERVERS_TARGETS = (Target("servers_ratio_p50", "<=", 1.15),)
BOTH = "sqlite,servers"
THROUGHPUT_IN_FLIGHT = 16
THROUGHPUT_SLICES = 4
SAMPLED_REPLIES = 50
WARM_UP = 50
SECONDS_TO_MS = 1e3


def request(query: str, *, no_cache: bool) -> memory_service_pb2.RecallRequest:
    """A Recall at default settings by the population's agent: all four tiers."""
    scope = common_pb2.Scope(user_id=USER, session_id=SESSION)
    return memory_service_pb2.RecallRequest(scope=scope, query=query, no_cache=no_cache)


@dataclass(slots=True)
class Account:
    """What replies say about the time they took, in milliseconds: as a whole and by tier."""

    elapsed: list[float] = field(default_factory=list)
    tiers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, reply: memory_service_pb2.RecallResponse) -> None:
        self.elapsed.append(reply.elapsed.ToMicroseconds() / 1e3)
        for status in reply.tier_status:
            name = common_pb2.Tier.Name(status.tier).removeprefix("TIER_").lower()
            self.tiers.setdefault(name, []).append(status.latency.ToMicroseconds() / 1e3)

    def breakdown(self, p50_ms: float) -> dict[str, float]:
        """Of calls that took ``p50_ms`` at the client."""
        return {
            "daemon, whole call": median(self.elapsed),
            **{f"tier {tier}": median(taken) for tier, taken in sorted(self.tiers.items())},
            "outside the daemon's account": p50_ms - median(self.elapsed),
        }


@dataclass(slots=True)
class Blocks:
    """Milliseconds of each kind of call, and the daemons' own accounts of the time."""

    echo: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    embed: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    seed: list[float] = field(default_factory=list)
    servers: list[float] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    servers_account: Account = field(default_factory=Account)


@dataclass(frozen=True, slots=True)
class Parties:
    """Who takes turns."""

    daemon: MemoryServiceAsyncStub
    echo: MemoryServiceAsyncStub
    bare: MemoryServiceAsyncStub
    client: AsyncClient
    encoder: BareEncoder
    seed: SeedPipeline | None
    servers: MemoryServiceAsyncStub | None
    """A daemon on servers, to be compared with ``daemon``."""
    in_flight: int


async def take_turns(parties: Parties, queries: Sequence[str], block: int) -> Blocks:
    """Every kind of call for every query, block by block; the kind that begins changes from block to block."""
    blocks = Blocks()
    starts = range(0, len(queries), block)
    for turn, start in enumerate(starts):
        kinds = _kinds(parties, blocks, queries[start : start + block])
        shift = turn % len(kinds)
        for kind in kinds[shift:] + kinds[:shift]:
            await kind()
        if turn % max(1, len(starts) // 5) == 0:
            progress(f"block {turn + 1} of {len(starts)}")
    return blocks


def _kinds(parties: Parties, blocks: Blocks, queries: Sequence[str]) -> list[Callable[[], Awaitable[None]]]:
    async def recall(query: str) -> None:
        blocks.account.add(await parties.daemon.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S))

    async def recall_cached(query: str) -> None:
        await parties.daemon.Recall(request(query, no_cache=False), timeout=CALL_TIMEOUT_S)

    async def recall_client(query: str) -> None:
        await parties.client.recall(query, no_cache=True)

    async def recall_servers(query: str) -> None:
        assert parties.servers is not None
        blocks.servers_account.add(await parties.servers.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S))

    async def echo(query: str) -> None:
        await parties.echo.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S)

    async def bare(query: str) -> None:
        await parties.bare.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S)

    async def echo_block() -> None:
        blocks.echo += await latencies_ms(echo, queries, parties.in_flight)

    async def bare_block() -> None:
        blocks.bare += await latencies_ms(bare, queries, parties.in_flight)

    async def embed_block() -> None:
        blocks.embed += parties.encoder.latencies_ms(queries)

    async def recall_block() -> None:
        blocks.recall += await latencies_ms(recall, queries, parties.in_flight)

    async def cached_block() -> None:
        await latencies_ms(recall_cached, queries, parties.in_flight)  # fills the cache
        blocks.cached += await latencies_ms(recall_cached, queries, parties.in_flight)

    async def client_block() -> None:
        blocks.client += await latencies_ms(recall_client, queries, parties.in_flight)

    async def servers_block() -> None:
        if parties.servers is not None:
            blocks.servers += await latencies_ms(recall_servers, queries, parties.in_flight)

    async def seed_block() -> None:
        if parties.seed is not None:
            blocks.seed += parties.seed.recall(queries)

    return [echo_block, embed_block, bare_block, recall_block, servers_block, cached_block, client_block, seed_block]


async def throughput(parties: Parties, queries: Sequence[str], seconds: float) -> tuple[Rate, Rate]:
    """Recalls and echoes with 16 in flight, in alternating slices."""
    recalls, echoes = Rate(), Rate()
    endless: Iterator[str] = itertools.cycle(queries)

    async def recall(query: str) -> None:
        await parties.daemon.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S)

    async def echo(query: str) -> None:
        await parties.echo.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S)

    for _ in range(THROUGHPUT_SLICES):
        await add_slice(recalls, recall, endless, THROUGHPUT_IN_FLIGHT, seconds / THROUGHPUT_SLICES)
        await add_slice(echoes, echo, endless, THROUGHPUT_IN_FLIGHT, seconds / THROUGHPUT_SLICES)
    return recalls, echoes


async def sample_reply(daemon: MemoryServiceAsyncStub, queries: Sequence[str]) -> memory_service_pb2.RecallResponse:
    """The reply of median size: what the echo will answer."""
    replies = [await daemon.Recall(request(query, no_cache=True), timeout=CALL_TIMEOUT_S) for query in queries]
    return sorted(replies, key=lambda reply: reply.ByteSize())[len(replies) // 2]


@contextlib.asynccontextmanager
async def _echo(server: EchoServer) -> AsyncIterator[MemoryServiceAsyncStub]:
    with running(server):
        async with memory_service(server.address) as stub:
            yield stub


async def measure(
    args: argparse.Namespace, directory: Path, daemon: MeasuredDaemon, servers: MeasuredDaemon | None = None
) -> dict[str, Figure]:
    """All figures, from daemons that were just started."""
    corpus = Corpus(args.seed)
    queries = corpus.queries(args.queries + WARM_UP)
    warm_up, queries = queries[:WARM_UP], queries[WARM_UP:]
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(user_client(daemon.address))
        await populate(client, corpus, args.memories, args.session_events)
        daemon_stub = await stack.enter_async_context(memory_service(daemon.address))
        servers_stub = None
        if servers is not None:
            await populate(
                await stack.enter_async_context(user_client(servers.address)),
                corpus,
                args.memories,
                args.session_events,
            )
            servers_stub = await stack.enter_async_context(memory_service(servers.address))
        reply = await sample_reply(daemon_stub, warm_up[:SAMPLED_REPLIES])
        model = (await client.stats()).embedding_model
        echo_stub = await stack.enter_async_context(_echo(EchoServer(directory, recall=reply)))
        bare_stub = await stack.enter_async_context(_echo(EchoServer(directory, recall=reply, model=model)))
        seed = stack.enter_context(SeedPipeline.started()) if args.peers == "seed" else None
        if seed is not None:
            seed.fill(corpus.memories(args.memories), list(itertools.islice(corpus.events(), args.session_events)))
        encoder = BareEncoder(model, args.clients)
        parties = Parties(daemon_stub, echo_stub, bare_stub, client, encoder, seed, servers_stub, args.clients)
        await take_turns(parties, warm_up, args.block)
        blocks = await take_turns(parties, queries, args.block)
        rates = await throughput(parties, queries, args.seconds)
        resident = daemon.resident()
        return {
            **figures(blocks),
            "throughput_16": rates[0].per_s,
            "echo_throughput_16": rates[1].per_s,
            "rss_mb": resident.rss_mb,
            "rss_anon_mb": resident.anon_mb,
            "reply_bytes": reply.ByteSize(),
            "query_tokens_p50": median([encoder.tokens(query) for query in queries]),
            **({"seed_rss_mb": seed.rss_mb()} if seed is not None else {}),
        }


def figures(blocks: Blocks) -> dict[str, Figure]:
    """The latencies, their floor and their ratios."""
    p50, echo, embed = median(blocks.recall), median(blocks.echo), median(blocks.embed)
    found: dict[str, Figure] = {
        "p50_ms": p50,
        "p95_ms": percentile(blocks.recall, 95),
        "p99_ms": percentile(blocks.recall, 99),
        "p99_to_p50": percentile(blocks.recall, 99) / p50,
        "echo_p50_ms": echo,
        "embed_p50_ms": embed,
        "floor_ms": echo + embed,
        "ratio_to_floor": p50 / (echo + embed),
        "bare_p50_ms": (bare := median(blocks.bare)),
        "ratio_to_bare": p50 / bare,
        "cached_p50_ms": median(blocks.cached),
        "client_p50_ms": median(blocks.client),
        "breakdown_p50_ms": blocks.account.breakdown(p50),
    }
    if blocks.servers:
        servers = median(blocks.servers)
        found |= {"servers_p50_ms": servers, "servers_p99_ms": percentile(blocks.servers, 99)}
        found |= {
            "servers_ratio_p50": servers / p50,
            "servers_breakdown_p50_ms": blocks.servers_account.breakdown(servers),
        }
    if blocks.seed:
        seed = median(blocks.seed)
        found |= {"seed_p50_ms": seed, "seed_p99_ms": percentile(blocks.seed, 99), "speedup_vs_seed": seed / p50}
    return found


@contextlib.contextmanager
def _daemon(kind: str, directory: Path) -> Iterator[MeasuredDaemon]:
    with backend(kind, directory) as environment:
        daemon = MeasuredDaemon(directory / f"memd-{kind}", environment=environment)
        with running(daemon):
            yield daemon


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000, help="distinct queries, each asked in every way")
    parser.add_argument("--clients", type=int, default=1, help="calls in flight while latencies are taken")
    parser.add_argument("--block", type=int, default=50, help="queries a turn")
    parser.add_argument("--session-events", type=int, default=8, help="turns in the session's working memory")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each throughput measurement")
    parser.add_argument("--peers", choices=["seed"], help="also the pipeline people write by hand")
    parser.add_argument(
        "--backend",
        choices=["sqlite", "servers", BOTH],
        default="sqlite",
        help="where the daemon keeps things; with both a daemon of each takes its turns",
    )
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        daemons = [stack.enter_context(_daemon(kind, directory)) for kind in args.backend.split(",")]
        found = asyncio.run(measure(args, directory, *daemons))
    targets = (*TARGETS, *(SERVERS_TARGETS if args.backend == BOTH else ()))
    shape = {"backend": args.backend, "memories": args.memories, "queries": args.queries, "clients": args.clients}
    report.publish("recall_latency", args, {**shape, **found}, targets)


if __name__ == "__main__":
    main()
