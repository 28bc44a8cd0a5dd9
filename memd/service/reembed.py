"""Another embedding model while the daemon serves.

The store makes and keeps the second embeddings (``ports.Reembedding``), the daemon a second embedder and index
(``ports.ModelSwitch``); this is the order of things. Whatever ends it, until the switch the store is of the old model and
from there on of the new one, and the next start goes on where this one ended.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from memd.domain.errors import LimitExceeded, WrongState
from memd.domain.model import EmbeddingModel
from memd.limits import (
    MAX_REEMBED_HELD_ROWS,
    REEMBED_BATCH,
    REEMBED_CLEAR_ROWS,
    REEMBED_HELD_ROWS,
    REEMBED_PROGRESS_S,
)
from memd.ports import IndexSink, ModelSwitch, Reembedding, Unembedded

T = TypeVar("T")
logger = logging.getLogger(__name__)
_ON_SERVERS = "the rows are in Postgres, which is changed from outside: run memd reembed --postgres URL"


class Phase(Enum):
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    SWITCHING = "switching"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Reembed:
    """One way to ``model``: ``done`` of ``total`` texts have their embedding."""

    model: EmbeddingModel
    phase: Phase = Phase.EMBEDDING
    done: int = 0
    total: int = 0

    @property
    def over(self) -> bool:
        return self.phase in (Phase.DONE, Phase.CANCELLED)


class ReembedService:
    def __init__(
        self,
        store: Reembedding | None,
        switch: ModelSwitch,
        known: Callable[[str], EmbeddingModel],
        serving: Callable[[], EmbeddingModel | None],
    ) -> None:
        """``store`` None: the rows are on a server. ``known``: the model of a name, InvalidArgument for none; ``serving``:
        the one that serves."""
        self._store = store
        self._switch = switch
        self._known = known
        self._serving = serving
        self._run: Reembed | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()  # an earlier daemon may have been at it
        self._turn = asyncio.Lock()

    @property
    def running(self) -> Reembed | None:
        """The one under way."""
        return None if self._run is None or self._run.over else self._run

    async def follow(self, name: str) -> AsyncGenerator[Reembed, None]:
        """Begin the way to the model called ``name``, or join it, and tell how far it is until it is over; it goes on when
        nobody listens. ModelUnavailable when it is not installed, WrongState while it goes to another one."""
        model = self._known(name)
        store = self._needed()
        if model == self._serving() and await store.target() is None:
            yield Reembed(model, Phase.DONE)
            return
        run = await self._begun(store, model)
        while not run.over:
            yield run
            await asyncio.sleep(REEMBED_PROGRESS_S)
        yield run

    async def cancel(self) -> bool:
        """Leave everything as it was; whether something was under way. Too late is False."""
        cancelled = await self._needed().give_up()
        run = self._run
        if cancelled and run is not None and not run.over:
            run.phase = Phase.CANCELLED
        self._wanted.set()
        return cancelled

    async def work(self) -> None:
        """Wait for something to do and do it to its end. Run it again whenever it returns or raises."""
        if self._store is None:
            await asyncio.Event().wait()
            return
        await self._wanted.wait()
        async with self._turn:
            self._wanted.clear()
            try:
                await self._step(self._store)
            except BaseException:
                self._wanted.set()
                raise

    def _needed(self) -> Reembedding:
        if self._store is None:
            raise WrongState(_ON_SERVERS)
        return self._store

    async def _begun(self, store: Reembedding, model: EmbeddingModel) -> Reembed:
        if await store.target() is None:
            async with self._turn:  # what was cancelled just now winds up
                await self._switch.prepare(model)
                await self._clear(store)
                await store.begin(model)
                self._run = Reembed(model)
                self._wanted.set()
        run = self._run
        if run is None or run.over:
            run = self._run = Reembed(await store.target() or model)
        if run.model != model:
            raise WrongState(f"the store is on its way to {run.model.model_id}: cancel that first")
        return run

    async def _step(self, store: Reembedding) -> None:
        model = await store.target()
        if model is None:
            await self._clear(store)
            return
        if self._run is None or self._run.over or self._run.model != model:
            self._run = Reembed(model)
        run = self._run
        try:
            await self._switch.prepare(model)
            done = await self._go(store, run)
        finally:
            await self._switch.abandon()
        if done:
            await self._switch.settle()
            run.phase = Phase.DONE
            logger.info("the store has another embedding model", extra={"fields": {"model": model.model_id}})
        else:
            run.phase = Phase.CANCELLED
        await self._clear(store)

    async def _go(self, store: Reembedding, run: Reembed) -> bool:
        """False: it was given up."""
        if not await self._catch_up(store, run, None):
            return False
        run.phase = Phase.INDEXING
        await self._switch.build()
        run.phase = Phase.SWITCHING
        held = REEMBED_HELD_ROWS
        while await self._catch_up(store, run, self._switch.put):
            if await _to_its_end(
                store.switch(run.model, self._switch.embed_now, held, self._switch.put, self._switch.swap)
            ):
                return True
            held = min(held * 2, MAX_REEMBED_HELD_ROWS)
        return False

    async def _catch_up(self, store: Reembedding, run: Reembed, index: IndexSink | None) -> bool:
        """Embed what lacks it, then what was written during that, and so on while it gets less by half: there is always
        some for as long as there are writers. False: it was given up."""
        before: float = math.inf
        while True:
            run.done, run.total = await store.counts()
            lacking = run.total - run.done
            if lacking > before / 2:
                return True
            goal = run.total
            while read := await store.lacking(REEMBED_BATCH):
                if not await self._embed(store, run, read, index):
                    return False
                if run.done >= goal:
                    break
            else:
                return await self._embed(store, run, (), index)
            before = lacking

    async def _embed(
        self, store: Reembedding, run: Reembed, read: Sequence[Unembedded], index: IndexSink | None
    ) -> bool:
        """False: it was given up."""
        try:
            made = await self._switch.embed([one.text for one in read])
            if not await store.put(run.model, read, made, index):
                return False
        except LimitExceeded as exc:  # writes come first
            await asyncio.sleep(exc.retry_after_s)
            return True
        run.done += len(read)
        run.total = max(run.total, run.done)
        return True

    async def _clear(self, store: Reembedding) -> None:
        while await store.clear(REEMBED_CLEAR_ROWS):
            pass


async def _to_its_end(work: Awaitable[T]) -> T:
    """Also where this task is cancelled: what the store does for it needs what would be taken down."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
