"""Another embedding model: all of it or nothing, whenever it is killed."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import random
import signal
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import apsw
import pytest

from memd.adapters.sqlite import SqliteStores, verify_offline
from memd.adapters.sqlite.reembed import reembed
from memd.adapters.sqlite.schema import frozen_model
from memd.domain.errors import ModelMismatch, ModelUnavailable, WrongState
from memd.domain.model import EmbeddingModel, Reembedded
from memd.domain.visibility import forgettable
from memd.limits import REEMBED_BATCH
from memd.ports import EmbedderStats, ForgetPlan
from tests.contract.builders import MODEL, USER, draft, procedure, vector
from tests.sqlite.conftest import Open

T = TypeVar("T")
OTHER = replace(MODEL, model_id="test/int8", digest="cd" * 32, precision="int8")
THIRD = replace(MODEL, model_id="test/fp16", digest="ef" * 32, precision="fp16")
KILLS = 50
MEMORIES = 3 * REEMBED_BATCH + 5


class TextEmbedder:
    """Embeds a text as its own digest, so that every stored vector says what it was made of."""

    def __init__(self, model: EmbeddingModel | None = OTHER) -> None:
        self.model = model
        self.calls = 0

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        self.calls += 1
        return [(embedding_of(text),) for text in texts]

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        return use(embedding_of(text))

    def stats(self) -> EmbedderStats:
        return EmbedderStats(1, 0, 0, 0, 0)

    def close(self) -> None: ...


def embedding_of(text: str) -> bytes:
    return struct.pack("<4f", *hashlib.sha256(text.encode()).digest()[:4])


async def fill(stores: SqliteStores, count: int) -> None:
    drafts = [draft(f"m{i}", speaker="Ada" if i % 2 else "") for i in range(count)]
    for start in range(0, count, 100):
        batch = drafts[start : start + 100]
        await stores.memories.remember("n", batch, fence=0, writer="w", request=None)
    for content in ("one", "two"):
        await stores.procedures.put(
            procedure("key", content), (vector(),), expected_version=None, fence=0, writer="w", request=None
        )


def run(directory: Path, embedder: TextEmbedder | None = None) -> Reembedded:
    return asyncio.run(reembed(directory, embedder or TextEmbedder(), lambda done, total: None))


def run_until_killed(directory: Path, after_s: float) -> None:
    """In a process of its own. SIGALRM's default is to end the process there and then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    run(directory)


def of_other(stores: SqliteStores) -> set[str]:
    """Which rows have the embedding of their own text by OTHER."""
    found = [row for kind in ("memory", "procedure") for batch in stores.memories.load("n", kind)[1] for row in batch]
    by_text = {row.entry_id for row in found if row.embeddings == embedding_of(row.text)}
    # a procedure is indexed with its key, and embedded by its trigger
    return by_text | {row.entry_id for row in found if row.embeddings == embedding_of("when key")}


def model_of(directory: Path) -> EmbeddingModel | None:
    with closing(apsw.Connection(str(directory / "memd.db"))) as database:
        return frozen_model(database)


async def test_everything_is_of_the_other_model_then(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    await fill(stores, MEMORIES)
    stores.close()
    done = await reembed(tmp_path / "data", TextEmbedder(), lambda done, total: None)
    assert done == Reembedded(OTHER, MEMORIES + 2, 0)
    assert verify_offline(tmp_path / "data") == []
    with pytest.raises(ModelMismatch, match="memd reembed --precision fp32"):
        open_stores()
    assert len(of_other(open_stores(model=OTHER))) == MEMORIES + 1


async def test_the_same_model_again_does_nothing(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    await fill(stores, 3)
    stores.close()
    same = TextEmbedder(MODEL)
    assert await reembed(tmp_path / "data", same, lambda done, total: None) == Reembedded(MODEL, 0, 0)
    assert same.calls == 0


async def test_what_changed_since_an_interrupted_run_is_embedded_again(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    await fill(stores, MEMORIES)
    stores.close()
    await interrupt(tmp_path / "data", OTHER)
    stores = open_stores()
    assert of_other(stores) == set(), "until the switch it is of the old model, and serves"
    await stores.memories.remember("n", [draft("m1", "changed")], fence=0, writer="w", request=None)
    gone = ForgetPlan(USER, forgettable(USER), memory_ids=("m2",))
    await stores.memories.forget(gone, writer="w", request=None)
    stores.close()
    done = await reembed(tmp_path / "data", TextEmbedder(), lambda done, total: None)
    assert (done.resumed, done.embedded) == (REEMBED_BATCH - 2, MEMORIES + 1 - (REEMBED_BATCH - 2))
    assert len(of_other(open_stores(model=OTHER))) == MEMORIES


async def test_nothing_of_a_third_model_is_mixed_in(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    await fill(stores, MEMORIES)
    stores.close()
    await interrupt(tmp_path / "data", THIRD)
    assert (await reembed(tmp_path / "data", TextEmbedder(), lambda done, total: None)).resumed == 0


async def interrupt(directory: Path, model: EmbeddingModel) -> None:
    class Interrupted(Exception): ...

    def after_one_batch(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        await reembed(directory, TextEmbedder(model), after_one_batch)


async def test_a_running_daemon_and_a_missing_model_are_told(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores()
    with pytest.raises(WrongState, match=str(tmp_path)):
        await reembed(tmp_path / "data", TextEmbedder(), lambda done, total: None)
    stores.close()
    with pytest.raises(ModelUnavailable):
        await reembed(tmp_path / "data", TextEmbedder(None), lambda done, total: None)
    assert model_of(tmp_path / "data") == MODEL


async def test_killed_fifty_times_it_resumes(open_stores: Open, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    stores = open_stores()
    await fill(stores, MEMORIES)
    stores.close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng, kills = random.Random(7), 0
    there, back = TextEmbedder(OTHER), TextEmbedder(MODEL)
    while kills < KILLS:
        child = context.Process(target=run_until_killed, args=(directory, rng.uniform(0.002, 0.06)))
        child.start()
        await asyncio.to_thread(child.join)
        kills += child.exitcode == -signal.SIGALRM
        assert child.exitcode in (0, -signal.SIGALRM)
        assert verify_offline(directory) == []
        model = model_of(directory)
        assert model in (MODEL, OTHER)
        if model == OTHER:  # it came through: from the start again
            await reembed(directory, back, lambda done, total: None)
    await reembed(directory, there, lambda done, total: None)
    assert len(of_other(open_stores(model=OTHER))) == MEMORIES + 1
