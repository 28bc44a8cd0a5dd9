"""How much is left for the moment in which writes wait for the change of model, while others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from memd.domain.model import EmbeddingModel
from memd.limits import REEMBED_HELD_ROWS
from memd.ports import IndexChange, IndexSink, Unembedded
from memd.service.reembed import Phase, ReembedService
from tests.contract.builders import MODEL


@dataclass
class BusyStore:
    """Rows by their number alone. Somebody writes one for every ``every`` that are embedded, and cancels when
    ``cancelled_at`` are done."""

    rows: int
    every: int
    cancelled_at: int | None = None
    done: int = 0
    written: float = 0.0
    held: list[int] = field(default_factory=list)
    over: bool = False

    async def target(self) -> EmbeddingModel | None:
        return None if self.over else MODEL

    async def begin(self, model: EmbeddingModel) -> None: ...

    async def give_up(self) -> bool:
        self.over = True
        return True

    async def counts(self) -> tuple[int, int]:
        return self.done, self.rows

    async def lacking(self, most: int) -> Sequence[Unembedded]:
        return [Unembedded("x") for _ in range(min(most, self.rows - self.done))]

    async def put(
        self,
        model: EmbeddingModel,
        read: Sequence[Unembedded],
        embedded: Sequence[Sequence[bytes]],
        index: IndexSink | None,
    ) -> bool:
        self.done += len(read)
        self.written += len(read) / self.every
        self.rows, self.written = self.rows + int(self.written), self.written % 1
        if self.cancelled_at is not None and self.done >= self.cancelled_at:
            self.over = True
        return not self.over

    async def switch(
        self,
        model: EmbeddingModel,
        embed: Callable[[Sequence[str]], Sequence[Sequence[bytes]]],
        most: int,
        index: IndexSink,
        switched: Callable[[], None],
    ) -> bool:
        left = self.rows - self.done
        if self.over or left > most:
            return False
        self.held.append(left)
        self.over = True
        return True

    async def clear(self, most: int) -> int:
        return 0


@dataclass
class Building:
    """While the index is built ``meanwhile`` rows are written."""

    store: BusyStore
    meanwhile: int

    async def prepare(self, model: EmbeddingModel) -> None: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        return [(b"",) for _ in texts]

    def embed_now(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        return [(b"",) for _ in texts]

    async def build(self) -> None:
        self.store.rows += self.meanwhile

    def put(self, changes: Sequence[IndexChange]) -> None: ...

    def swap(self) -> None: ...

    async def settle(self) -> None: ...

    async def abandon(self) -> None: ...


def service(store: BusyStore, meanwhile: int = 1_000) -> ReembedService:
    return ReembedService(store, Building(store, meanwhile), lambda name: MODEL, lambda: None)


@pytest.mark.parametrize("every", [2, 8, 64])
async def test_few_are_left_when_writes_are_held_while_the_model_keeps_up(every: int) -> None:
    store = BusyStore(rows=10_000, every=every)
    running = service(store)
    await running.work()
    assert len(store.held) == 1
    assert store.held[0] <= 8 * REEMBED_HELD_ROWS
    assert running.running is None


async def test_writers_that_are_faster_than_the_model_do_not_keep_it_from_the_switch() -> None:
    store = BusyStore(rows=400, every=1)
    await service(store, meanwhile=10).work()
    assert store.held


@pytest.mark.parametrize("at", [1, 5_000, 10_500])
async def test_it_ends_when_it_is_cancelled(at: int) -> None:
    store = BusyStore(rows=10_000, every=8, cancelled_at=at)
    running = service(store)
    await running.work()
    assert not store.held
    assert running._run is not None
    assert running._run.phase is Phase.CANCELLED
