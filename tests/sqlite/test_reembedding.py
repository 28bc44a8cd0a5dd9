"""On the way to another model: what the second embeddings are of, and what a switch lets through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from memd.adapters.sqlite import SqliteStores
from memd.adapters.sqlite.errors import translated
from memd.domain.errors import StoreBusy, WrongState
from memd.domain.model import Outcome, OutcomeReport
from memd.domain.visibility import forgettable
from memd.limits import REEMBED_BATCH
from memd.ports import ForgetPlan, IndexChange, MemoryChange, Unembedded
from tests.contract.builders import MODEL, USER, draft, procedure, vector
from tests.sqlite.conftest import Open
from tests.sqlite.test_reembed import OTHER, THIRD, embedding_of, fill, of_other

MEMORIES = REEMBED_BATCH + 5


def embed(texts: Sequence[str]) -> list[tuple[bytes, ...]]:
    return [(embedding_of(text),) for text in texts]


async def embed_all(stores: SqliteStores) -> None:
    while read := await stores.reembedding.lacking(REEMBED_BATCH):
        assert await put(stores, read)


async def put(stores: SqliteStores, read: Sequence[Unembedded]) -> bool:
    return await stores.reembedding.put(OTHER, read, embed([one.text for one in read]), None)


async def switch(stores: SqliteStores, most: int = 0) -> bool:
    return await stores.reembedding.switch(OTHER, embed, most, lambda changes: None, lambda: None)


def beside(data_dir: Path) -> set[str]:
    with closing(apsw.Connection(str(data_dir / "memd.db"))) as database:
        sql = "SELECT memory_id FROM memory JOIN embedding_next ON memory_pk = pk"
        return {memory_id for (memory_id,) in database.execute(sql)}


@pytest.fixture
async def stores(open_stores: Open) -> SqliteStores:
    made = open_stores()
    await fill(made, MEMORIES)
    await made.reembedding.begin(OTHER)
    return made


async def test_everything_is_of_the_other_model_then_and_nothing_is_left(stores: SqliteStores, tmp_path: Path) -> None:
    await embed_all(stores)
    assert await stores.reembedding.counts() == (MEMORIES + 2, MEMORIES + 2)
    assert of_other(stores) == set()
    assert await switch(stores)
    assert len(of_other(stores)) == MEMORIES + 1
    assert (await stores.frozen_model(), await stores.superseded_model()) == (OTHER, MODEL)
    while await stores.reembedding.clear(20):
        pass
    assert beside(tmp_path / "data") == set()
    await stores.reembedding.begin(MODEL)  # and back
    assert len(await stores.reembedding.lacking(REEMBED_BATCH)) == REEMBED_BATCH


async def test_a_row_that_changes_or_goes_takes_its_embedding_along(stores: SqliteStores, tmp_path: Path) -> None:
    await embed_all(stores)
    await stores.memories.remember("n", [draft("m1", "changed"), draft("new")], fence=0, writer="w", request=None)
    await stores.memories.update(
        "n",
        "m2",
        forgettable(USER),
        MemoryChange({"tags": ("x",)}),
        expected_version=0,
        fence=0,
        writer="w",
        request=None,
    )
    gone = ForgetPlan(USER, forgettable(USER), memory_ids=("m3",))
    await stores.memories.forget(gone, writer="w", request=None)
    assert beside(tmp_path / "data") == {f"m{n}" for n in range(MEMORIES)} - {"m1", "m2", "m3"}
    assert {one.text for one in await stores.reembedding.lacking(REEMBED_BATCH)} >= {"changed"}
    assert len(await stores.reembedding.lacking(REEMBED_BATCH)) == 3


async def test_what_changed_while_it_was_embedded_lacks_its_own(stores: SqliteStores) -> None:
    read = await stores.reembedding.lacking(REEMBED_BATCH)
    gone = ForgetPlan(USER, forgettable(USER), memory_ids=("m3",))
    await stores.memories.remember("n", [draft("m1", "changed")], fence=0, writer="w", request=None)
    await stores.memories.forget(gone, writer="w", request=None)
    await stores.memories.remember("n", [draft("m3", "again")], fence=2**40, writer="w", request=None)
    assert await put(stores, read)
    await embed_all(stores)
    assert await switch(stores)
    assert len(of_other(stores)) == MEMORIES + 1


async def test_the_version_that_is_offered_again_has_its_own(stores: SqliteStores) -> None:
    for n in range(30):
        won = OutcomeReport(Outcome.SUCCESS, f"a{n}")
        await stores.procedures.report("n", procedure("key", "one").procedure_id, 1, won, None)
    await embed_all(stores)
    for n in range(30):
        lost = OutcomeReport(Outcome.FAILURE, f"b{n}")
        await stores.procedures.report("n", procedure("key", "one").procedure_id, 2, lost, None)
    assert len(await stores.reembedding.lacking(REEMBED_BATCH)) == 1
    assert await switch(stores, 1)
    assert len(of_other(stores)) == MEMORIES + 1


async def test_the_last_ones_are_embedded_in_the_switch_itself(stores: SqliteStores) -> None:
    await embed_all(stores)
    told: list[IndexChange] = []
    over: list[bool] = []
    await stores.memories.remember("n", [draft("late"), draft("later")], fence=0, writer="w", request=None)
    assert not await switch(stores, 1)
    assert await stores.reembedding.switch(OTHER, embed, 2, told.extend, lambda: over.append(True))
    assert over == [True]
    assert {row.entry_id for change in told for row in change.put} == {"late", "later"}
    assert {"late", "later"} < of_other(stores)


async def test_a_write_that_was_embedded_before_the_switch_is_refused(stores: SqliteStores) -> None:
    await embed_all(stores)
    fence = await stores.memories.fence("n")
    switching = asyncio.ensure_future(switch(stores))
    await asyncio.sleep(0)  # behind it in the queue
    change = MemoryChange({"content": "x"}, (vector(),))
    late: dict[str, Any] = {"fence": fence, "writer": "w", "request": None}
    writes = [
        stores.memories.remember("n", [draft("late")], **late),
        stores.memories.update("n", "m1", forgettable(USER), change, expected_version=0, **late),
        stores.procedures.put(procedure("late"), (vector(),), expected_version=None, **late),
    ]
    refused = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in refused] == [StoreBusy] * 3
    assert await switching
    late["fence"] = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("now")], **late)
    assert len(of_other(stores)) == MEMORIES + 1


async def test_given_up_nothing_more_is_stored(stores: SqliteStores, tmp_path: Path) -> None:
    read = await stores.reembedding.lacking(REEMBED_BATCH)
    assert await put(stores, read[:10])
    with pytest.raises(WrongState, match="cancel"):
        await stores.reembedding.begin(THIRD)
    with pytest.raises(WrongState):
        await stores.reembedding.clear(1)
    assert await stores.reembedding.give_up()
    assert not await stores.reembedding.give_up()
    assert not await put(stores, read)
    assert not await switch(stores, 1_000)
    while await stores.reembedding.clear(7):
        pass
    assert beside(tmp_path / "data") == set()
    assert await stores.frozen_model() == MODEL


async def test_an_index_is_loaded_with_the_embeddings_of_its_own_model(stores: SqliteStores) -> None:
    read = await stores.reembedding.lacking(REEMBED_BATCH)
    assert await put(stores, read)

    def loaded(model: object) -> list[bytes]:
        source = stores.index_source(MODEL if model is MODEL else OTHER if model is OTHER else THIRD)
        return [
            row.embeddings for kind in ("memory", "procedure") for rows in source.load("n", kind)[1] for row in rows
        ]

    assert set(loaded(MODEL)) == {vector()}
    assert loaded(OTHER).count(b"") == MEMORIES + 1 - REEMBED_BATCH
    assert vector() not in loaded(OTHER)
    assert set(loaded(THIRD)) == {b""}
    await embed_all(stores)
    assert await switch(stores)
    assert set(loaded(MODEL)) == {b""}
    assert b"" not in loaded(OTHER)


async def test_a_switch_that_fails_leaves_the_old_model(stores: SqliteStores) -> None:
    def broken(texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        raise StoreBusy("no")

    with pytest.raises(StoreBusy):
        await stores.reembedding.switch(OTHER, broken, 1_000, lambda changes: None, lambda: None)
    assert await stores.frozen_model() == MODEL
    assert of_other(stores) == set()
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("after")], fence=fence, writer="w", request=None)
    with translated():
        await embed_all(stores)
    assert await switch(stores)
