"""The embedder under concurrency: the same vectors, bounded queues, priorities, cancellation, the query cache."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from memd.adapters.embed_onnx import AbsentEmbedder, OnnxEmbedder
from memd.adapters.embed_onnx.pieces import WordPieces
from memd.domain.errors import InvalidArgument, ModelUnavailable, ShuttingDown
from memd.limits import EMBED_WINDOW_OVERLAP_PIECES, MAX_MEMORIES_PER_REMEMBER, MAX_WINDOWS

Load = Callable[..., OnnxEmbedder]
TEXTS = [f"Note {n}: the {word} was moved to shelf {n % 7}." for n, word in enumerate(["lamp", "atlas", "kettle"] * 20)]


def cosine(left: bytes, right: bytes) -> float:
    return float(np.frombuffer(left, "<f4") @ np.frombuffer(right, "<f4"))


async def test_a_text_has_the_same_embedding_alone_and_under_load(embedder: OnnxEmbedder) -> None:
    alone = [(await embedder.memories([text]))[0] for text in TEXTS]
    batch, *queries = await asyncio.gather(
        embedder.memories(TEXTS), *(embedder.query(text, bytes, cache=False) for text in TEXTS)
    )
    assert batch == alone
    assert [(query,) for query in queries] == alone


async def test_an_embedding_is_384_floats_of_unit_length(embedder: OnnxEmbedder) -> None:
    assert embedder.model is not None
    embedding = await embedder.query("a cup of tea", bytes)
    assert len(embedding) == 4 * embedder.model.dimensions == 1536
    assert abs(cosine(embedding, embedding) - 1) < 1e-5


async def test_use_runs_on_the_worker_thread_and_its_error_is_the_callers(load: Load) -> None:
    embedder = load()
    ran_on = await embedder.query("where", lambda _: threading.current_thread().name)
    assert ran_on.startswith("memd-embed-")

    def fail(_: bytes) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await embedder.query("where", fail)


async def test_a_long_text_becomes_overlapping_windows(load: Load) -> None:
    embedder = load()
    soup, stars = "The soup needs onions, salt and a bay leaf. ", "The telescope follows a comet past Jupiter. "
    (long, (about_soup,), (about_stars,)) = await embedder.memories([soup * 40 + stars * 40, soup, stars])
    assert 1 < len(long) <= MAX_WINDOWS
    assert cosine(long[0], about_soup) > 0.6 > 0.2 > cosine(long[0], about_stars)
    assert cosine(long[-1], about_stars) > 0.6 > 0.2 > cosine(long[-1], about_soup)


def test_windows_cover_every_piece_and_overlap(load: Load) -> None:
    pieces: WordPieces = load()._pieces
    text = " ".join(["alpha", "beta", "gamma", "delta"] * 200)
    windows = pieces.windows(text)
    rebuilt = list(windows[0][1:-1])
    for window in windows[1:]:
        assert len(window) <= 256
        assert rebuilt[-EMBED_WINDOW_OVERLAP_PIECES:] == window[1 : 1 + EMBED_WINDOW_OVERLAP_PIECES]
        rebuilt += window[1 + EMBED_WINDOW_OVERLAP_PIECES : -1]
    assert rebuilt == pieces._tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("words", "windows"), [(254, 1), (255, 2), (254 + 190, 2), (255 + 190, 3), (254 + 15 * 190, 16)]
)
def test_window_counts_at_the_edges(load: Load, words: int, windows: int) -> None:
    pieces: WordPieces = load()._pieces
    assert len(pieces.windows("tea " * words)) == windows


async def test_a_text_over_sixteen_windows_is_refused(load: Load) -> None:
    with pytest.raises(InvalidArgument, match="at most 3104"):
        await load().memories(["short", "tea " * (255 + 15 * 190)])


async def test_a_long_query_is_the_direction_of_its_windows_mean(load: Load) -> None:
    embedder = load("fp32")
    text = "The harbour master keeps a ledger of every ship. " * 60
    (windows,) = await embedder.memories([text])
    mean = np.mean([np.frombuffer(window, "<f4") for window in windows], axis=0)
    query = await embedder.query(text, bytes)
    assert len(windows) > 1
    assert cosine(query, (mean / np.linalg.norm(mean)).astype("<f4").tobytes()) > 0.99999


async def test_the_query_cache_counts_and_forgets_the_oldest(load: Load) -> None:
    embedder = load("", query_cache_entries=2)
    first = await embedder.query("one", bytes)
    for text in ("two", "one", "three", "one", "two"):  # "three" pushes out "two"
        await embedder.query(text, bytes)
    stats = embedder.stats()
    assert (stats.cache_hits, stats.cache_misses, stats.cache_entries) == (2, 4, 2)
    assert await embedder.query("one", bytes, cache=False) == first
    assert embedder.stats().cache_hits == 2


async def test_a_cached_query_still_runs_use_on_a_worker(load: Load) -> None:
    embedder = load()
    await embedder.query("again", bytes)
    name = await embedder.query("again", lambda _: threading.current_thread().name)
    assert embedder.stats().cache_hits == 1
    assert name.startswith("memd-embed-")


async def test_a_query_overtakes_a_batch_of_memories(load: Load) -> None:
    embedder = load("", threads=1)
    batch = asyncio.ensure_future(embedder.memories(TEXTS[:60] * 4))
    await asyncio.sleep(0.005)
    await embedder.query("urgent", bytes)
    assert not batch.done()
    assert len(await batch) == 240


async def test_what_nobody_waits_for_comes_behind_the_queries(load: Load) -> None:
    embedder = load(threads=1)
    held, order = threading.Event(), list[str]()

    def note(name: str) -> Callable[[bytes], None]:
        return lambda _: order.append(name)

    busy = asyncio.ensure_future(embedder.query("first", lambda _: held.wait(60)))
    later = asyncio.ensure_future(embedder.query("nobody waits", note("behind"), behind=True))
    queries = [asyncio.ensure_future(embedder.query(f"question {n}", note("query"))) for n in range(3)]
    await asyncio.sleep(0)  # all are in the queue
    held.set()
    await asyncio.gather(busy, later, *queries)
    assert order == ["query"] * 3 + ["behind"]


async def test_a_cancelled_batch_frees_the_model(load: Load) -> None:
    embedder = load("", threads=1)
    batch = asyncio.ensure_future(embedder.memories(TEXTS * 4))
    await asyncio.sleep(0.01)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert embedder.stats().queue_depth == 0


async def test_the_largest_remember_fits_the_queue(load: Load) -> None:
    texts = [TEXTS[n % len(TEXTS)] for n in range(MAX_MEMORIES_PER_REMEMBER)]
    assert len(await load().memories(texts)) == MAX_MEMORIES_PER_REMEMBER


async def test_close_fails_what_waits_and_refuses_what_comes(load: Load) -> None:
    embedder = load("", threads=1)
    batch = asyncio.ensure_future(embedder.memories(TEXTS * 4))
    await asyncio.sleep(0.01)
    embedder.close()
    embedder.close()
    with pytest.raises(ShuttingDown):
        await batch
    with pytest.raises(ShuttingDown):
        await embedder.query("late", bytes)


async def test_the_exact_int8_path_gives_the_same_vectors(load: Load) -> None:
    """What a CPU without VNNI runs: vectors of both kinds of machine may share a store."""
    fast = await load("int8-a1", exact_int8=False).memories(TEXTS)
    exact = await load("int8-a1", exact_int8=True).memories(TEXTS)
    assert min(cosine(a[0], b[0]) for a, b in zip(fast, exact, strict=True)) > 0.99999


async def test_without_a_model_embedding_says_why() -> None:
    absent = AbsentEmbedder(ModelUnavailable("run `memd model install`"))
    assert absent.model is None
    assert absent.stats().threads == 0
    with pytest.raises(ModelUnavailable, match="memd model install"):
        await absent.query("anything", bytes)
    with pytest.raises(ModelUnavailable, match="memd model install"):
        await absent.memories(["anything"])


async def test_loading_is_quick(load: Load) -> None:
    load()  # warm the page cache
    fastest = min(timed(load) for _ in range(3))
    assert fastest < 1.0  # 0.05 s on an idle machine


def timed(load: Load) -> float:
    started = time.perf_counter()
    load()
    return time.perf_counter() - started
