"""Another embedding model for a database: all of it or nothing, whenever it is killed, beside daemons that write."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import signal
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.postgres.reembed import reembed
from memd.adapters.rows.memory import spoken_text
from memd.domain.errors import ModelMismatch, StoreBusy
from memd.domain.model import EmbeddingModel, Reembedded
from memd.domain.visibility import forgettable
from memd.limits import REEMBED_BATCH
from memd.ports import ForgetPlan, Head, MemoryChange
from tests.contract.builders import MODEL, USER, draft, procedure, vector
from tests.postgres.conftest import OpenStores
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher
from tests.sqlite.test_reembed import OTHER, THIRD, TextEmbedder, embedding_of

MEMORIES = REEMBED_BATCH + 5
KILLS = scaled(5)


@pytest.fixture
async def url(postgres_launcher: Launcher) -> AsyncIterator[str]:
    """A database of its own: its model does not stay as it was."""
    server = await asyncio.to_thread(lambda: postgres_launcher.shared)
    name = await asyncio.to_thread(server.create_database)
    yield server.url(name)
    await asyncio.to_thread(server.drop_database, name)


async def run(url: str, model: EmbeddingModel = OTHER) -> Reembedded:
    return await reembed(PostgresSettings(url), TextEmbedder(model), lambda done, total: None)


async def fill(stores: PostgresStores) -> None:
    for start in range(0, MEMORIES, 50):
        batch = [draft(f"m{i}", speaker="Ada" if i % 2 else "") for i in range(start, min(start + 50, MEMORIES))]
        await stores.memories.remember("n", batch, fence=0, writer="w", request=None)
    await stores.memories.remember("other", [draft("m0")], fence=0, writer="w", request=None)
    for content in ("one", "two"):
        await stores.procedures.put(
            procedure("key", content), (vector(),), expected_version=None, fence=0, writer="w", request=None
        )


async def of_other(stores: PostgresStores, namespace: str = "n") -> set[str]:
    """Which rows have the embedding of their own text by OTHER, as a replica gets them."""
    found = set()
    async for batch in stores.changes.snapshot(namespace):
        for one in batch.memories:
            if one.embeddings == (embedding_of(spoken_text(one.content, one.fields)),):
                found.add(one.memory_id)
        found |= {"key" for one in batch.procedures if one.embeddings == (embedding_of("when key"),)}
    return found


async def beside(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE memd_keeper")
            return int(await connection.fetchval("SELECT count(*) FROM memd.embedding_next"))
    finally:
        await connection.close()


async def test_daemons_write_until_the_last_step_and_no_embedding_after_it(url: str, open_at: OpenStores) -> None:
    stores = await open_at(url)
    await stores.use_model(MODEL)
    await fill(stores)
    embedder = Interrupting(stores)
    done = await reembed(PostgresSettings(url), embedder, lambda done, total: None)
    assert (done.embedded, done.resumed) == (MEMORIES + 4, 0), "m1 twice, m2 not to the end"
    assert await beside(url) == 0
    changed = await stores.changed_model()
    assert changed == OTHER
    late = stores.memories.remember("n", [draft("late")], fence=0, writer="w", request=None)
    with pytest.raises(StoreBusy, match="another embedding model"):
        await late
    with pytest.raises(StoreBusy):
        await stores.procedures.put(
            procedure("late"), (vector(),), expected_version=None, fence=0, writer="w", request=None
        )
    await stores.memories.update(
        "n",
        "m3",
        forgettable(USER),
        MemoryChange({"tags": ("x",)}),
        expected_version=0,
        fence=0,
        writer="w",
        request=None,
    )
    async for batch in stores.changes.snapshot("n"):
        assert not any(one.embeddings for one in batch.memories), "never those of another model"
        assert not any(one.embeddings for one in batch.procedures)
    followed = await stores.changes.changes("n", Head(0, 0))
    assert followed is None or not any(one.embeddings for one in followed.memories)
    with pytest.raises(ModelMismatch, match="memd reembed --precision fp32"):
        await open_at(url)
    new = await open_at(url, model=OTHER)
    assert await new.superseded_model() == MODEL
    assert await of_other(new) == {f"m{n}" for n in range(MEMORIES)} - {"m2"} | {"key"}
    assert await of_other(new, "other") == {"m0"}
    assert await run(url) == Reembedded(OTHER, 0, 0)
    assert (await run(url, MODEL)).embedded == MEMORIES + 2


class Interrupting(TextEmbedder):
    """Changes and forgets what it embeds the first time."""

    def __init__(self, stores: PostgresStores) -> None:
        super().__init__(OTHER)
        self._stores = stores

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        made = await super().memories(texts)
        if self.calls == 1:
            memories = self._stores.memories
            await memories.remember("n", [draft("m1", "changed")], fence=0, writer="w", request=None)
            gone = ForgetPlan(USER, forgettable(USER), memory_ids=("m2",))
            await memories.forget(gone, writer="w", request=None)
        return made


async def test_interrupted_it_goes_on_and_nothing_of_a_third_model_is_mixed_in(url: str, open_at: OpenStores) -> None:
    class Interrupted(Exception): ...

    def after_one_batch(done: int, total: int) -> None:
        if done:
            raise Interrupted

    stores = await open_at(url)
    await fill(stores)
    with pytest.raises(Interrupted):
        await reembed(PostgresSettings(url), TextEmbedder(OTHER), after_one_batch)
    assert await of_other(stores) == set()
    assert await beside(url) == REEMBED_BATCH
    gone = ForgetPlan(USER, forgettable(USER), memory_ids=("m2",))
    await stores.memories.forget(gone, writer="w", request=None)
    assert await beside(url) == REEMBED_BATCH - 1, "what is forgotten takes it along"
    assert (await run(url)).resumed == REEMBED_BATCH - 1
    with pytest.raises(Interrupted):
        await reembed(PostgresSettings(url), TextEmbedder(MODEL), after_one_batch)
    assert (await run(url, THIRD)).resumed == 0


def run_until_killed(url: str, after_s: float) -> None:
    """In a process of its own. SIGALRM's default is to end the process there and then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    asyncio.run(run(url))


async def test_killed_anywhere_it_goes_on(url: str, open_at: OpenStores) -> None:
    stores = await open_at(url)
    await fill(stores)
    await stores.close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng, kills = random.Random(7), 0
    while kills < KILLS:
        child = context.Process(target=run_until_killed, args=(url, rng.uniform(0.05, 0.4)))
        child.start()
        await asyncio.to_thread(child.join)
        assert child.exitcode in (0, -signal.SIGALRM)
        kills += child.exitcode == -signal.SIGALRM
        await assert_clean(url, open_at)
        if child.exitcode == 0:  # it came through: from the start again
            await run(url, MODEL)
    await run(url)
    stores = await open_at(url, model=OTHER)
    assert len(await of_other(stores)) == MEMORIES + 1
    assert not (await stores.memories.verify("n"))[2]


async def assert_clean(url: str, open_at: OpenStores) -> None:
    """Of one of the two models as a whole, and as `Verify` wants it."""
    stores = await open_at(url, model=None)
    model = await stores.frozen_model()
    assert model in (MODEL, OTHER)
    assert not (await stores.memories.verify("n"))[2]
    assert len(await of_other(stores)) in ({MEMORIES + 1} if model == OTHER else {0, MEMORIES + 1})
    await stores.close()
