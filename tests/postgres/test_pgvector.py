"""A namespace that Postgres searches finds what the in-process index finds, and what was written just now."""

from __future__ import annotations

import asyncio
import math
import random
import struct
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from memd import _core
from memd.adapters.index import RustNamespaceIndex, answered
from memd.adapters.index_routes import RoutedIndex
from memd.adapters.postgres import PostgresStores
from memd.adapters.postgres.pgvector_index import PgvectorIndex
from memd.adapters.postgres.search_tables import SearchTables
from memd.adapters.rows.memory import replica_index_row
from memd.domain.errors import ConfigError, NotReady
from memd.domain.filters import And, Compare, Filter, Not
from memd.domain.model import Memory, NewMemory, Scope
from memd.domain.visibility import EVERYTHING, visible
from memd.ports import IndexAnswer, IndexRow, SearchOptions
from tests.contract.builders import MODEL
from tests.postgres.calls import forget, forget_all, remember
from tests.postgres.conftest import OpenStores
from tests.servers.postgres import Launcher

SEED = 20_261_125
WORDS = (
    *("harbour", "ferry", "gull", "crane", "rope", "Lyon", "train", "tea", "violin", "Ada", "Bob", "paints"),
    *("Tuesday", "bridge", "river", "lamp", "garden", "soup", "chess", "letter", "windows", "seven"),
)
MEMORIES = 400
OPTIONS = SearchOptions(limit=20, now_us=1_700_000_000_000_000)
ALL = SearchOptions(limit=20, trim_ratio=0.0)


@pytest.fixture
async def stores(postgres18: Launcher, open_at: OpenStores) -> AsyncIterator[PostgresStores]:
    """On a Postgres with pgvector, and a database of its own: it gets indexes that others must not find."""
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await asyncio.to_thread(server.create_database)
    yield await open_at(server.url(name))
    await asyncio.to_thread(server.drop_database, name)


@pytest.fixture
def search(stores: PostgresStores) -> PgvectorIndex:
    return stores.pgvector()


def _vector(choose: random.Random) -> bytes:
    numbers = [choose.gauss(0, 1) for _ in range(MODEL.dimensions)]
    length = math.sqrt(sum(number * number for number in numbers))
    return struct.pack("<4f", *(number / length for number in numbers))


def _memory(choose: random.Random, number: int) -> NewMemory:
    turn = choose.random() < 0.7
    memory = Memory(
        memory_id=f"m{number:03}",
        scope=Scope("n", choose.choice(["ada", "bob"]), "", f"s{number % 9}" if turn else ""),
        content=" ".join(choose.choices(WORDS, k=choose.randint(3, 14))) + choose.choice([".", "?"]),
        speaker=choose.choice(["Ada", "Bob"]) if turn else "",
        position=number if choose.random() < 0.9 else None,
        importance=choose.choice([0.2, 0.5, 0.9]),
        metadata={"part": choose.randrange(10)},
        event_time=choose.choice([None, 1_690_000_000_000_000 + number]),
    )
    return NewMemory(memory, tuple(_vector(choose) for _ in range(choose.choice([1, 1, 1, 3]))))


async def _fill(stores: PostgresStores, drafts: Sequence[NewMemory]) -> None:
    for start in range(0, len(drafts), 50):
        await stores.memories.remember("n", drafts[start : start + 50], fence=0, writer="w", request=None)


async def _in_process(stores: PostgresStores) -> _core.NamespaceIndex:
    """What a replica would search: the same rows, the vectors as Postgres has rounded them."""
    core = _core.NamespaceIndex(MODEL.dimensions)
    async for batch in stores.changes.snapshot("n"):
        rows = [replica_index_row(one) for one in batch.memories]
        core.upsert([_core.IndexEntry(r.entry_id, r.version, r.text, r.embeddings, r.fields) for r in rows], 0)
    return core


def _shown(answer: IndexAnswer) -> list[tuple[str, float, float, float]]:
    return [(hit.entry_id, round(hit.score, 4), round(hit.relevance, 4), round(hit.bm25, 3)) for hit in answer.hits]


async def test_it_finds_what_the_in_process_index_finds(stores: PostgresStores, search: PgvectorIndex) -> None:
    choose = random.Random(SEED)
    await _fill(stores, [_memory(choose, number) for number in range(MEMORIES)])
    await search.tables.build("n")
    core = await _in_process(stores)
    part = Compare("eq", "metadata.part", 3)
    scopes: list[Filter] = [
        EVERYTHING,
        visible(Scope("n", "ada"), at_us=1, now_us=1),
        And((visible(Scope("n", "bob"), at_us=1, now_us=1), part)),
        Not(part),
    ]
    for number in range(60):
        query = " ".join(choose.sample(WORDS, choose.randint(1, 5)))
        embedding, where = choose.choice([None, _vector(choose), _vector(choose)]), scopes[number % len(scopes)]
        expected = answered(core, query, embedding, where, OPTIONS, 0)
        found = await search.search("n", query, embedding, where, OPTIONS)
        assert _shown(found) == _shown(expected)
        assert found.nothing_relevant == expected.nothing_relevant


async def test_the_next_search_sees_a_write_and_nothing_that_was_forgotten(
    stores: PostgresStores, search: PgvectorIndex
) -> None:
    await remember(stores, "a", content="the ferry leaves at seven")
    await search.tables.build("n")

    async def finds(query: str) -> list[str]:
        answer = await search.search("n", query, None, EVERYTHING, ALL)
        assert answer.seq == (await stores.changes.heads(["n"]))["n"].seq
        return [hit.entry_id for hit in answer.hits]

    assert await finds("ferry") == ["a"]
    await remember(stores, "b", content="the ferry is late")
    assert sorted(await finds("ferry")) == ["a", "b"]
    await remember(stores, "a", content="the train leaves at eight")
    assert (await finds("ferry"), await finds("train")) == (["b"], ["a"])
    await forget(stores, "b")
    assert await finds("ferry") == []
    assert {"train", "ferri", "late"} & await _terms(stores) == {"train"}
    await forget_all(stores)
    assert await finds("train") == []
    assert await _terms(stores) == set()


async def _terms(stores: PostgresStores) -> set[str]:
    found = await stores._database.read("n", lambda reader: reader.rows("SELECT DISTINCT term FROM memd.search_term"))
    return {row[0] for row in found}


async def test_each_namespace_is_searched_where_it_is(stores: PostgresStores, search: PgvectorIndex) -> None:
    await remember(stores, "a", content="the ferry leaves at seven")
    await search.tables.build("n")
    moved: set[str] = set()
    local = RustNamespaceIndex(EmptySource(), MODEL.dimensions)
    routed = RoutedIndex(local, search, asyncio.get_running_loop(), moved.__contains__)

    async def finds(kind: str) -> list[str]:
        answer = await asyncio.to_thread(routed.search, "n", kind, "ferry", None, EVERYTHING, ALL)
        return [hit.entry_id for hit in answer.hits]

    assert await finds("memory") == []
    moved.add("n")
    assert (await finds("memory"), await finds("procedure")) == (["a"], [])
    state = await asyncio.to_thread(routed.state, "n", "memory")
    assert (state.entries, state.seq) == ({"a": 1}, 1)
    await asyncio.to_thread(local.close)


class EmptySource:
    """Rows of nobody."""

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        return 0, iter(())

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> None:
        return None

    def mark(self, namespace: str, seq: int) -> str:
        return ""

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        return False


async def test_words_are_counted_once_by_whoever_holds_the_lease(stores: PostgresStores) -> None:
    tables = SearchTables(stores._database, stores.leases, stores._codec, MODEL.dimensions, common=2)
    await remember(stores, "a", content="ferry and gull")
    await remember(stores, "b", content="ferry")
    await tables.build("n")
    sql = "SELECT term, documents FROM memd.search_frequency"
    assert await stores._database.read("n", lambda reader: reader.rows(sql)) == [("ferri", 2)]
    held = await stores.leases.claim("n", "search_frequencies", "another daemon", 60_000_000)
    assert held is not None
    assert not await tables.count("n", "this one")
    await forget(stores, "a")
    await stores.leases.release("n", "search_frequencies", held)
    assert await tables.count("n", "this one")
    assert await stores._database.read("n", lambda reader: reader.rows(sql)) == []


async def test_a_log_that_no_longer_reaches_back_makes_the_rows_anew(
    stores: PostgresStores, search: PgvectorIndex
) -> None:
    await remember(stores, "a", content="ferry")
    await search.tables.build("n")
    await remember(stores, "b", content="ferry")
    await remember(stores, "c", content="ferry")
    await stores._database.write("n", lambda tx: tx.execute("DELETE FROM memd.change_log WHERE seq = 2"))
    answer = await search.search("n", "ferry", None, EVERYTHING, ALL)
    assert sorted(hit.entry_id for hit in answer.hits) == ["a", "b", "c"]


async def test_a_namespace_moves_in_and_out_while_it_is_written(stores: PostgresStores, search: PgvectorIndex) -> None:
    choose = random.Random(SEED)
    await _fill(stores, [_memory(choose, number) for number in range(100)])
    await remember(stores, "x", namespace="other")
    building = asyncio.create_task(search.tables.build("n"))
    await _fill(stores, [_memory(choose, number) for number in range(100, 200)])
    await building
    await search.tables.catch_up("n")
    assert await search.tables.count("n", "the job")
    embedding = _vector(choose)
    expected = answered(await _in_process(stores), "harbour", embedding, EVERYTHING, ALL, 0)
    found = await search.search("n", "harbour", embedding, EVERYTHING, ALL)
    assert [hit.relevance for hit in found.hits] == pytest.approx([hit.relevance for hit in expected.hits], abs=1e-4)
    with pytest.raises(NotReady):
        await search.search("other", "harbour", None, EVERYTHING, ALL)
    await search.tables.drop("n")
    assert await _terms(stores) == set()
    with pytest.raises(NotReady):
        await search.search("n", "harbour", None, EVERYTHING, ALL)
    await search.tables.build("n")
    again = await search.search("n", "harbour", embedding, EVERYTHING, ALL)
    assert _shown(again) == _shown(expected)


async def test_a_server_without_pgvector_is_refused(postgres18: Launcher, open_at: OpenStores) -> None:
    server = await asyncio.to_thread(lambda: postgres18.shared)
    name = await asyncio.to_thread(server.create_database)
    stores = await open_at(server.url(name), pgvector=False)
    assert not stores.has_pgvector
    with pytest.raises(ConfigError, match="pgvector"):
        stores.pgvector()
    await stores.close()
    await asyncio.to_thread(server.drop_database, name)
