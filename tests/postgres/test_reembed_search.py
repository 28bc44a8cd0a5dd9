"""Namespaces that Postgres searches, through a change of the embedding model: answers of the old one until the switch and of
the new one from then on, never of both, whenever it is killed."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.postgres.pgvector_index import PgvectorIndex
from memd.adapters.postgres.reembed import reembed
from memd.domain.errors import NotReady, WrongState
from memd.domain.model import EmbeddingModel, NewMemory, Reembedded
from memd.domain.portable import Header, PortableMemory
from memd.domain.visibility import EVERYTHING
from memd.ports import IndexHit, SearchOptions
from tests.contract.builders import MODEL, draft
from tests.postgres.conftest import OpenStores
from tests.servers.postgres import Launcher
from tests.sqlite.test_reembed import OTHER, THIRD, TextEmbedder, embedding_of

WIDER = replace(OTHER, dimensions=8)
ALL = SearchOptions(limit=100, trim_ratio=0.0)
TEXTS = tuple(f"the ferry to island {n} leaves from pier {n % 7}" for n in range(90))
WAITS_ALONE = (
    "SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'embedding' AND NOT l.granted"
    " AND l.mode = 'AccessExclusiveLock' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
BUILDS = (
    "SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname LIKE 'embedding\\_next\\_hnsw%'"
    " AND NOT i.indisvalid"
)
INDEXES = (
    "SELECT t.relname::text || '.' || left(c.relname, 14), pg_get_indexdef(i.indexrelid) FROM pg_index i"
    " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
    " WHERE c.relname LIKE 'embedding%hnsw%' AND i.indisvalid"
)
SOON_S = 60.0


class Interrupted(Exception): ...


class WideEmbedder(TextEmbedder):
    """Unit vectors of the texts' digests, of the model's dimensions; ``meanwhile`` runs once, before the first."""

    def __init__(self, model: EmbeddingModel, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(model)
        self._meanwhile = meanwhile

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        assert self.model is not None
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return [(unit(text, self.model),) for text in texts]


def unit(text: str, model: EmbeddingModel) -> bytes:
    """Nothing like that of another model."""
    count = model.dimensions
    seeds = [embedding_of(f"{model.model_id} {place} {text}") for place in range(count)]
    numbers = [struct.unpack("<4f", one)[0] - 127.5 for one in seeds]
    length = math.sqrt(sum(one * one for one in numbers))
    return struct.pack(f"<{count}f", *(one / length for one in numbers))


@pytest.fixture
async def url(postgres18: Launcher) -> AsyncIterator[str]:
    """A database of its own, with pgvector: its model does not stay as it was."""
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await asyncio.to_thread(server.create_database)
    yield server.url(name)
    await asyncio.to_thread(server.drop_database, name)


@pytest.fixture
async def watcher(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def stores(url: str, open_at: OpenStores) -> PostgresStores:
    """Of MODEL, with a namespace that Postgres searches."""
    opened = await open_at(url)
    await opened.use_model(MODEL)
    drafts = [embedded(f"m{n}", text, MODEL) for n, text in enumerate(TEXTS)]
    await opened.memories.remember("n", drafts, fence=0, writer="w", request=None)
    await opened.pgvector().tables.build("n")
    return opened


def embedded(memory_id: str, text: str, model: EmbeddingModel) -> NewMemory:
    return NewMemory(draft(memory_id, text).memory, (unit(text, model),))


async def run(
    url: str, model: EmbeddingModel = WIDER, meanwhile: Callable[[], Awaitable[object]] | None = None
) -> Reembedded:
    return await reembed(PostgresSettings(url), WideEmbedder(model, meanwhile), lambda done, total: None)


async def until_its_last_step(url: str, model: EmbeddingModel) -> None:
    """A run that is interrupted when embeddings and index are made. The next one has but to switch, which, unlike the making
    of an index, does not wait for all who read."""

    def when_made(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        await reembed(PostgresSettings(url), WideEmbedder(model), lambda done, total: None, when_made)


async def hits(search: PgvectorIndex, text: str, model: EmbeddingModel) -> dict[str, IndexHit]:
    """Many: their vectors are compared with that of ``text``, whose words are nobody's."""
    answer = await search.search("n", "zzz", unit(text, model), EVERYTHING, ALL)
    return {hit.entry_id: hit for hit in answer.hits}


async def assert_of(search: PgvectorIndex, model: EmbeddingModel, texts: Sequence[str] = TEXTS) -> None:
    """A text is found by its own embedding, and each relevance is that of two embeddings of one model."""
    for number in range(0, len(texts), 10):
        assert_one(await hits(search, texts[number], model), model, texts, number)


def assert_one(found: Mapping[str, IndexHit], model: EmbeddingModel, texts: Sequence[str], asked: int) -> None:
    assert len(found) > 20
    assert f"m{asked}" in found
    for entry_id, hit in found.items():
        expected = cosine(texts[asked], texts[int(entry_id.removeprefix("m"))], model)
        assert hit.relevance == pytest.approx(max(0.0, expected), abs=2e-3)


def cosine(one: str, other: str, model: EmbeddingModel) -> float:
    first, second = (struct.unpack(f"<{model.dimensions}f", unit(text, model)) for text in (one, other))
    return float(sum(a * b for a, b in zip(first, second, strict=True)))


async def until(
    watcher: asyncpg.Connection[asyncpg.Record], sql: str, or_done: asyncio.Future[Reembedded] | None = None
) -> None:
    for _ in range(int(SOON_S / 0.01)):
        if await watcher.fetch(sql) or (or_done is not None and or_done.done()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(sql)


@pytest.mark.parametrize("model", [OTHER, WIDER])
async def test_searches_are_answered_by_the_old_model_until_the_switch_and_by_the_new_one_at_once(
    url: str,
    stores: PostgresStores,
    open_at: OpenStores,
    watcher: asyncpg.Connection[asyncpg.Record],
    model: EmbeddingModel,
) -> None:
    old = stores.pgvector()

    async def meanwhile() -> None:
        await assert_of(old, MODEL)
        await stores.memories.remember("n", [embedded("m3", "changed", MODEL)], fence=0, writer="w", request=None)

    await run(url, model, meanwhile)
    with pytest.raises(NotReady):
        await hits(old, TEXTS[7], MODEL)
    texts = [text if n != 3 else "changed" for n, text in enumerate(TEXTS)]
    new = await open_at(url, model=model)
    await new.use_model(model)
    await assert_of(new.pgvector(), model, texts)
    ((name, made),) = await watcher.fetch(INDEXES)
    assert (name, f"halfvec({model.dimensions})" in made) == ("embedding.embedding_hnsw", True)
    await new.memories.remember("n", [embedded("m4", "later", model)], fence=0, writer="w", request=None)
    assert (await hits(new.pgvector(), "later", model))["m4"].relevance == pytest.approx(1.0, abs=1e-3)
    await run(url, MODEL)
    back = await open_at(url)
    await back.use_model(MODEL)
    await assert_of(back.pgvector(), MODEL, [text if n != 4 else "later" for n, text in enumerate(texts)])


async def test_a_search_that_began_before_the_switch_ends_with_the_old_vectors(
    url: str, stores: PostgresStores, watcher: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the model and its look at the vectors, which are in tables that change names."""
    await until_its_last_step(url, OTHER)
    by_words = PgvectorIndex._by_words
    switching: list[asyncio.Future[Reembedded]] = []

    async def slow(*given: Any) -> list[int]:
        switching.append(asyncio.ensure_future(run(url, OTHER)))
        await until(watcher, WAITS_ALONE, switching[0])
        return await by_words(*given)

    monkeypatch.setattr(PgvectorIndex, "_by_words", slow)
    assert_one(await hits(stores.pgvector(), TEXTS[7], MODEL), MODEL, TEXTS, 7)
    await switching[0]
    with pytest.raises(NotReady):
        await hits(stores.pgvector(), TEXTS[7], MODEL)


async def test_an_export_and_a_replica_that_began_before_the_switch_have_the_old_vectors(
    url: str, stores: PostgresStores, watcher: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memd.adapters.postgres.reembed.REEMBED_LOCK_PAUSE_S", 0.1)
    await until_its_last_step(url, OTHER)
    export = stores.transfers.export("n")
    (header,) = await anext(export)
    assert isinstance(header, Header)
    assert header.model.startswith(MODEL.model_id)
    replica = stores.changes.snapshot("n")
    await anext(replica)
    switching = asyncio.ensure_future(run(url, OTHER))
    await until(watcher, WAITS_ALONE, switching)
    exported = [one for batch in [batch async for batch in export] for one in batch if isinstance(one, PortableMemory)]
    followed = [one for batch in [batch async for batch in replica] for one in batch.memories]
    told = {one.memory.content: one.embeddings for one in exported}
    for found in (told, {one.content: one.embeddings for one in followed}):
        assert len(found) == len(TEXTS)
        for text, (window,) in found.items():
            assert struct.unpack("<4f", window) == pytest.approx(struct.unpack("<4f", unit(text, MODEL)), abs=2e-3)
    assert (await switching).model == OTHER


async def test_it_waits_for_a_reader_and_gets_out_of_a_deadlock(
    url: str, stores: PostgresStores, watcher: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that has read embeddings when writes are stopped, as a Forget does, and then wants to write."""
    monkeypatch.setattr("memd.adapters.postgres.reembed.REEMBED_LOCK_PAUSE_S", 0.1)
    await until_its_last_step(url, OTHER)
    writer = await asyncpg.connect(url)
    begun = writer.transaction()
    await begun.start()
    await writer.execute("SET LOCAL ROLE memd_keeper")
    await writer.fetch("SELECT FROM memd.embedding LIMIT 1")
    switching = asyncio.ensure_future(run(url, OTHER))
    await until(watcher, WAITS_ALONE, switching)
    assert not switching.done()
    try:
        await writer.execute("UPDATE memd.memory SET content = 'x' WHERE memory_id = 'm1'", timeout=SOON_S)
    except asyncpg.DeadlockDetectedError:
        await begun.rollback()  # as memd's writes do, which then run again
    else:
        await begun.commit()
    await writer.close()
    assert (await switching).model == OTHER


async def test_killed_while_it_makes_an_index_it_goes_on(
    url: str, stores: PostgresStores, open_at: OpenStores, watcher: asyncpg.Connection[asyncpg.Record]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    async with watcher.transaction(isolation="repeatable_read"):
        await watcher.fetch("SELECT count(*) FROM memd.memory")  # the build waits for the end of this snapshot
        child = context.Process(target=run_in_process, args=(url,))
        child.start()
        other = await asyncpg.connect(url)
        try:
            await until(other, BUILDS)
        finally:
            child.kill()
            await asyncio.to_thread(child.join)
            await other.close()
    assert child.exitcode == -signal.SIGKILL
    await assert_of(stores.pgvector(), MODEL)
    done = await run(url)
    assert (done.embedded, done.resumed) == (0, len(TEXTS))
    new = await open_at(url, model=WIDER)
    await new.use_model(WIDER)
    await assert_of(new.pgvector(), WIDER)
    assert [name for name, _ in await watcher.fetch(INDEXES)] == ["embedding.embedding_hnsw"]


def run_in_process(url: str) -> None:
    asyncio.run(run(url))


async def test_a_run_towards_another_model_ends_one_that_is_at_work(url: str, stores: PostgresStores) -> None:
    first = run(url, OTHER, lambda: run(url, THIRD))
    with pytest.raises(WrongState, match="another `memd reembed`"):
        await first
    assert await stores.changed_model() == THIRD


async def test_what_is_left_of_a_third_model_is_of_no_harm(
    url: str, stores: PostgresStores, open_at: OpenStores, watcher: asyncpg.Connection[asyncpg.Record]
) -> None:
    """A run of other dimensions that got as far as its index."""
    await until_its_last_step(url, WIDER)
    assert sorted(name for name, _ in await watcher.fetch(INDEXES)) == [
        "embedding.embedding_hnsw",
        "embedding_next.embedding_next",
    ]
    await run(url, THIRD)
    new = await open_at(url, model=THIRD)
    await new.use_model(THIRD)
    await assert_of(new.pgvector(), THIRD)


async def test_a_namespace_that_is_not_yet_searched_by_postgres_is_moved_anew(
    url: str, stores: PostgresStores, open_at: OpenStores
) -> None:
    await stores._database.write("n", lambda tx: tx.execute("UPDATE memd.search_namespace SET searchable = false"))
    await run(url)
    new = await open_at(url, model=WIDER)
    await new.use_model(WIDER)
    with pytest.raises(NotReady):
        await hits(new.pgvector(), TEXTS[7], WIDER)
    await new.pgvector().tables.build("n")
    await assert_of(new.pgvector(), WIDER)
