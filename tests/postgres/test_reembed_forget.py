"""S12 for a change of the embedding model on Postgres: what is forgotten while it runs does not come back with the switch,
and leaves the files of old and new embeddings and of the indexes over them, as far as the receipt claims."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.postgres.pgvector_index import PgvectorIndex
from memd.adapters.postgres.reembed import reembed
from memd.domain.model import EmbeddingModel, ForgetReceipt, NewMemory, Scope
from memd.domain.visibility import EVERYTHING, forgettable
from memd.ports import ForgetPlan, SearchOptions
from tests.contract.builders import MODEL, draft, procedure
from tests.postgres.conftest import OpenStores
from tests.servers.postgres import Launcher, Postgres
from tests.sqlite.test_reembed import TextEmbedder

DIMENSIONS = 64
PIECE = 16
"""Numbers of a vector in a row that must not be found."""
BEFORE = replace(MODEL, dimensions=DIMENSIONS)
AFTER = replace(MODEL, model_id="test/other", digest="cd" * 32, dimensions=DIMENSIONS)
ADA, BOB = Scope("n", "ada"), Scope("n", "bob")
WITHIN_S = 60.0


def unit(text: str, model: EmbeddingModel) -> bytes:
    """As long as 1 in float16 too, so that an index, which makes them so, keeps the same bytes."""
    bits = np.unpackbits(np.frombuffer(hashlib.sha256(f"{model.model_id} {text}".encode()).digest(), np.uint8))
    return ((bits[:DIMENSIONS].astype("<f4") * 2 - 1) / 8).astype("<f4").tobytes()


class SignEmbedder(TextEmbedder):
    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        assert self.model is not None
        return [(unit(text, self.model),) for text in texts]


class Interrupted(Exception): ...


@dataclass(frozen=True)
class Server:
    """``files``: the directory of the database's tables."""

    postgres: Postgres
    name: str
    files: Path

    @property
    def url(self) -> str:
        return self.postgres.url(self.name)

    def send(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(one) for one in self.postgres.send(sql, database=self.name)]

    def holds(self, needles: Sequence[bytes]) -> set[str]:
        """The relations whose files, as they would be read after a crash, hold one of them."""
        self.send("CHECKPOINT")
        names = {str(node): str(name) for node, name in self.send("SELECT relfilenode, relname::text FROM pg_class")}
        found = set()
        for path in (p for p in self.files.iterdir() if p.is_file()):
            content = path.read_bytes()
            if any(needle in content for needle in needles):
                found.add(names.get(path.name.partition(".")[0], "a file of no relation"))
        return {"index" if "_hnsw_" in name else name for name in found}


@pytest.fixture
def server(postgres18: Launcher) -> Iterator[Server]:
    postgres = postgres18.server()
    try:
        name = postgres.create_database()
        ((oid,),) = postgres.send("SELECT oid FROM pg_database WHERE datname = $1", name)
        yield Server(postgres, name, postgres.directory / "base" / str(oid))
    finally:
        postgres.kill()


@pytest.fixture
async def stores(server: Server, open_at: OpenStores) -> PostgresStores:
    """In which Ada and Bob have memories and a procedure each, in a namespace that Postgres searches; with the embeddings of
    AFTER made, and the index over them, by a run that ended before its last step."""
    opened = await open_at(server.url, model=BEFORE)
    await opened.use_model(BEFORE)
    for scope in (ADA, BOB):
        drafts = [
            NewMemory(draft(id_of(scope, number), text, scope=scope).memory, (unit(text, BEFORE),))
            for number in range(5)
            for text in (text_of(scope, number),)
        ]
        await opened.memories.remember("n", drafts, fence=0, writer="w", request=None)
        how = procedure("how", scope=scope, trigger=trigger_of(scope))
        vectors = (unit(trigger_of(scope), BEFORE),)
        await opened.procedures.put(how, vectors, expected_version=None, fence=0, writer="w", request=None)
    await opened.pgvector().tables.build("n")

    def when_made(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        await reembed(PostgresSettings(server.url), SignEmbedder(AFTER), lambda done, total: None, when_made)
    return opened


def id_of(scope: Scope, number: int) -> str:
    return f"{scope.user_id}-{number}"


def text_of(scope: Scope, number: int) -> str:
    return f"{scope.user_id} keeps bees in hive {number}"


def trigger_of(scope: Scope) -> str:
    return f"{scope.user_id} opens a hive"


def needles(scope: Scope, model: EmbeddingModel, *forms: str) -> list[bytes]:
    """Of each vector, as halfvec and as float32, which procedures have."""
    vectors = [np.frombuffer(unit(text, model), "<f4") for text in texts(scope)]
    pieces = [vector[at : at + PIECE] for vector in vectors for at in range(0, DIMENSIONS, PIECE)]
    return [piece.astype(form).tobytes() for piece in pieces for form in forms or ("<f2", "<f4")]


def texts(scope: Scope) -> list[str]:
    return [*(text_of(scope, number) for number in range(5)), trigger_of(scope)]


async def wait_until_gone(server: Server, wanted: Sequence[bytes]) -> None:
    """Of the relations; the server unlinks files of its own accord."""
    for _ in range(int(WITHIN_S / 0.1)):
        left = await asyncio.to_thread(server.holds, wanted)
        if not left:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(left)


async def forget(stores: PostgresStores, *scopes: Scope) -> ForgetReceipt:
    for scope in scopes:
        plan = ForgetPlan(scope, forgettable(scope), everything=True)
        receipt = (await stores.memories.forget(plan, writer="w", request=None)).value
    return receipt


async def seen(server: Server, scope: Scope) -> None:
    """All of it is in the files before, so that its absence tells something."""
    assert await asyncio.to_thread(server.holds, needles(scope, BEFORE)) == {"embedding", "index", "procedure_version"}
    expected = {"embedding_next", "index", "procedure_reembedding"}
    assert await asyncio.to_thread(server.holds, needles(scope, AFTER)) == expected
    assert await asyncio.to_thread(server.holds, [text_of(scope, 1).encode()]) >= {"memory"}


def everything(scope: Scope) -> list[bytes]:
    return [*needles(scope, BEFORE), *needles(scope, AFTER), *(text.encode() for text in texts(scope))]


async def test_with_the_last_rows_their_vectors_leave_the_files(server: Server, stores: PostgresStores) -> None:
    await seen(server, ADA)
    await forget(stores, ADA, BOB)
    # VACUUM, which memd asked for, cuts off the tables' ends and overwrites the vectors of the indexes
    await wait_until_gone(server, [*everything(ADA), *everything(BOB)])


async def test_what_others_keep_is_changed_over_without_the_forgotten(
    server: Server, stores: PostgresStores, open_at: OpenStores
) -> None:
    await seen(server, ADA)
    receipt = await forget(stores, ADA)
    assert "VACUUM FULL" in receipt.out_of_reach[0]
    await asyncio.to_thread(server.send, "VACUUM FULL")
    await wait_until_gone(server, everything(ADA))
    done = await reembed(PostgresSettings(server.url), SignEmbedder(AFTER), lambda done, total: None)
    assert (done.embedded, done.resumed) == (0, 6)
    new = await open_at(server.url, model=AFTER)
    await new.use_model(AFTER)
    told = await found(new.pgvector(), text_of(ADA, 1))
    assert told
    assert told <= {id_of(BOB, number) for number in range(5)}
    await wait_until_gone(server, [*everything(ADA), *needles(BOB, BEFORE, "<f2")])
    assert await asyncio.to_thread(server.holds, needles(BOB, AFTER)) == {"embedding", "index", "procedure_version"}


async def found(search: PgvectorIndex, text: str) -> set[str]:
    options = SearchOptions(limit=100, trim_ratio=0.0)
    answer = await search.search("n", text, unit(text, AFTER), EVERYTHING, options)
    return {hit.entry_id for hit in answer.hits}
