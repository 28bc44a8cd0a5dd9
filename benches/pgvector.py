"""Namespaces that Postgres itself searches (index = "pgvector"): how long the move takes, what is found, how quickly.

A Postgres of its own on a temporary directory, without fsync: writes are not what is measured. ``recall_at_10`` is of vectors
alone against a float32 scan of all; ``p50_ms`` is of searches by words and vectors with the visibility rule of a Recall.
``filtered_1pct_full`` is the share of searches under a filter that lets one memory in a hundred through that filled their
list; on made-up vectors hardly any list is full, since memd drops what is far from the query, and nearly all of them are.
Each vector has a made-up text of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from benches import pgvector_move, report
from benches.corpus import Corpus
from benches.daemon import temporary_directory
from benches.index.truth import Truth
from benches.index.vectors import DIMENSIONS, Sample, sample
from benches.report import Figure, Target, median, percentile, progress
from benches.servers import database
from memd._core import default_cues
from memd.adapters.embed_onnx.cache import form_of
from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.postgres.pgvector_index import PgvectorIndex
from memd.domain.filters import And, Compare, Filter
from memd.domain.model import Memory, NewMemory, Scope
from memd.domain.visibility import EVERYTHING, visible
from memd.ports import IndexAnswer, SearchOptions
from tests.servers.postgres import UNSAFE

TARGETS = (Target("recall_at_10", ">=", 0.95), Target("filtered_1pct_full", ">=", 1.0))
MOVE_TARGETS = tuple(
    Target(name, "<=", 0) for name in ("to_memory_short_reads", "to_pgvector_short_reads", "moving_unseen_writes")
)
SETTINGS = {**UNSAFE, "shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_wal_size": "4GB"}
NAMESPACE = "n"
USER = Scope(NAMESPACE, "ada")
PARTS = 100
CALLERS = 8
K = 10
BATCH = 500
WARM_UP = 20
PROGRESS_ROWS = 20_000
VECTORS_ALONE = SearchOptions(limit=K, vector_weight=1.0, trim_ratio=0.0, cues=dict.fromkeys(default_cues(), 0.0))
FULL_LISTS = SearchOptions(limit=K, trim_ratio=0.0)


async def fill(stores: PostgresStores, given: Sample, texts: Sequence[str]) -> None:
    """One memory a vector; its id is the vector's number."""
    for start in range(0, len(given.rows), BATCH):
        numbers = range(start, min(start + BATCH, len(given.rows)))
        drafts = [NewMemory(_memory(n, texts[n]), (given.rows[n].tobytes(),)) for n in numbers]
        await stores.memories.remember(NAMESPACE, drafts, fence=0, writer="bench", request=None)
        if numbers[-1] % PROGRESS_ROWS > PROGRESS_ROWS - BATCH:
            progress(f"{numbers[-1] + 1:,} memories stored")


def _memory(number: int, text: str) -> Memory:
    return Memory(str(number), USER, f"{text} ({number})", metadata={"part": number % PARTS})


async def ask(
    index: PgvectorIndex, given: Sample, queries: Sequence[str], where: Sequence[Filter], options: SearchOptions
) -> tuple[list[IndexAnswer], list[float]]:
    """Answers, and milliseconds of each; one search at a time."""
    answers: list[IndexAnswer] = []
    times_ms: list[float] = []
    for number, query in enumerate(queries):
        begun = time.perf_counter()
        condition = where[number % len(where)]
        answers.append(await index.search(NAMESPACE, query, given.queries[number].tobytes(), condition, options))
        times_ms.append((time.perf_counter() - begun) * 1e3)
    return answers, times_ms


async def measure(stores: PostgresStores, args: argparse.Namespace) -> dict[str, Figure]:
    """All figures."""
    given = sample(args.data, args.vectors, args.queries, args.seed)
    corpus = Corpus(args.seed)
    await fill(stores, given, corpus.memories(args.vectors))
    index = stores.pgvector()
    begun = time.perf_counter()
    await index.tables.build(NAMESPACE)
    build_s = time.perf_counter() - begun
    progress(f"searchable after {build_s:.0f} s")
    queries = corpus.queries(args.queries)
    seen = visible(USER, at_us=0, now_us=0)
    await ask(index, given, queries[:WARM_UP], [seen], FULL_LISTS)
    nearest, vector_ms = await ask(index, given, [""] * args.queries, [EVERYTHING], VECTORS_ALONE)
    _, whole_ms = await ask(index, given, queries, [seen], SearchOptions(limit=K))
    parts = [And((seen, Compare("eq", "metadata.part", part))) for part in range(PARTS)]
    filtered, filtered_ms = await ask(index, given, queries, parts, FULL_LISTS)
    together = await at_once(index, given, queries, seen)
    truth = Truth.of(given.rows, given.queries, K)
    return {
        "vectors": args.vectors,
        "build_s": build_s,
        "recall_at_10": truth.recall(0, [[int(hit.entry_id) for hit in answer.hits] for answer in nearest]),
        "vectors_p50_ms": median(vector_ms),
        "p50_ms": median(whole_ms),
        "p99_ms": percentile(whole_ms, 99),
        **together,
        "filtered_1pct_full": sum(len(answer.hits) == K for answer in filtered) / len(filtered),
        "filtered_1pct_p50_ms": median(filtered_ms),
    }


async def at_once(index: PgvectorIndex, given: Sample, queries: Sequence[str], where: Filter) -> dict[str, Figure]:
    """The same searches by CALLERS that each wait for one before the next."""
    begun = time.perf_counter()
    options = SearchOptions(limit=K)
    shares = [
        ask(index, Sample(given.rows, given.queries[first::CALLERS]), queries[first::CALLERS], [where], options)
        for first in range(CALLERS)
    ]
    times_ms = [one for _, share_ms in await asyncio.gather(*shares) for one in share_ms]
    per_s = len(queries) / (time.perf_counter() - begun)
    return {"callers": CALLERS, "callers_p50_ms": median(times_ms), "callers_per_s": per_s}


async def _run(url: str, args: argparse.Namespace) -> dict[str, Figure]:
    model = form_of("").model
    assert model.dimensions == DIMENSIONS
    stores = await PostgresStores.open(PostgresSettings(url, timeout_s=60.0), model=model)
    try:
        figures = await measure(stores, args)
        if args.move:
            given = sample(args.data, args.vectors, args.queries, args.seed)
            with temporary_directory() as directory:
                figures |= await pgvector_move.measure(NAMESPACE, stores, model, directory, USER, given, args.seed)
        return figures
    finally:
        await stores.close()


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--data", choices=["real", "synthetic"], default="real")
    parser.add_argument(
        "--move", action="store_true", help="then move it to memory and back while it is read and written"
    )
    args = parser.parse_args()
    with database(SETTINGS) as url:
        figures = asyncio.run(_run(url, args))
    report.publish("pgvector", args, figures, TARGETS + (MOVE_TARGETS if args.move else ()))


if __name__ == "__main__":
    main()
