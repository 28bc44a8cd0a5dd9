"""What re-embedding costs those who use the daemon: recalls and writes before, during and after, and how long it takes.

A real daemon with ``--memories`` short memories, changed to the other form of the model; both must be installed. One caller
recalls, another writes, each at a steady pace, so that they do not wait for each other but in the daemon.
``longest_write_ms`` is over the whole change: the last step holds writes. ``growth_mb`` is the most resident memory no file
backs, less what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator

from memd_client import AsyncClient

from benches import report
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.export_import import Growth
from benches.population import populate, user_client
from benches.report import Figure, Target, median, percentile, progress
from memd.adapters.embed_onnx.cache import MANIFEST_FILE, model_dir

TARGETS = (Target("recall_p50_ratio", "<=", 2.0), Target("recall_p99_ratio", "<=", 3.0))
PACE_S = 0.05
WARM_S = 2.0
FORMS = {"all-MiniLM-L6-v2/int8-a1": "fp32", "all-MiniLM-L6-v2/fp32": "int8-a1"}


async def paced(call: Callable[[], Awaitable[object]], taken: list[float], over: asyncio.Event) -> None:
    """Milliseconds of each call, begun PACE_S apart or later."""
    while not over.is_set():
        sent = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - sent) * 1e3)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, sent + PACE_S - time.perf_counter())):
                await over.wait()


async def while_used(
    client: AsyncClient, texts: Iterator[str], work: Awaitable[None]
) -> tuple[list[float], list[float]]:
    """Recalls and writes beside ``work``."""
    over = asyncio.Event()
    recalls: list[float] = []
    writes: list[float] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(paced(lambda: client.recall(next(texts)), recalls, over))
        group.create_task(paced(lambda: client.remember(next(texts)), writes, over))
        await work
        over.set()
    return recalls, writes


async def change(client: AsyncClient, target: str, texts: list[int]) -> None:
    """``texts`` gets how many were embedded, what was written meanwhile too."""
    phase = ""
    async for told in client.reembed(target):
        if told.phase != phase:
            phase = told.phase
            progress(f"{phase}: {told.done:,} of {told.total:,} texts")
    texts.append(told.done)


async def measure(server: MeasuredDaemon, args: argparse.Namespace) -> dict[str, Figure]:
    corpus = Corpus(args.seed)
    texts = (f"{text} ({number})" for number, text in enumerate(corpus.events()))
    async with user_client(server.address) as client:
        await populate(client, corpus, args.memories, 0)
        await while_used(client, texts, asyncio.sleep(WARM_S))
        before, writes_before = await while_used(client, texts, asyncio.sleep(args.seconds))
        target = FORMS[(await client.stats()).embedding_model]
        embedded: list[int] = []
        started = time.perf_counter()
        with Growth(server.pid) as growth:
            during, writes_during = await while_used(client, texts, change(client, target, embedded))
        took_s = time.perf_counter() - started
        after, _ = await while_used(client, texts, asyncio.sleep(args.seconds))
        assert (await client.verify(timeout_s=110.0)).ok
    return {
        "memories": args.memories,
        "target": target,
        "took_s": took_s,
        "texts": embedded[0],
        "texts_per_s": embedded[0] / took_s,
        "recall_before_p50_ms": median(before),
        "recall_before_p99_ms": percentile(before, 99),
        "recall_during_p50_ms": median(during),
        "recall_during_p99_ms": percentile(during, 99),
        "recall_after_p50_ms": median(after),
        "recall_p50_ratio": median(during) / median(before),
        "recall_p99_ratio": percentile(during, 99) / percentile(before, 99),
        "write_before_p50_ms": median(writes_before),
        "write_during_p50_ms": median(writes_during),
        "longest_write_ms": max(writes_during),
        "recalls_during": len(during),
        "growth_mb": growth.mb,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--memories", type=int, default=10_000, help="to be embedded a second time")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured before and after")
    args = parser.parse_args()
    for precision in FORMS.values():
        if not (model_dir(precision) / MANIFEST_FILE).exists():
            parser.error(f"the model is not installed: memd model install --precision {precision}")
    with temporary_directory() as directory:
        server = MeasuredDaemon(directory)
        with running(server):
            figures = asyncio.run(measure(server, args))
    report.publish("reembed", args, figures, TARGETS)


if __name__ == "__main__":
    main()
