"""A store as a whole: backups, compaction, namespaces that move, and another embedding model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from memd.domain.model import (
    BackupMade,
    EmbeddingModel,
    NamespaceSettings,
    Written,
)
from memd.domain.portable import Exported, PortableMemory, TakenIn
from memd.domain.portable_procedures import PortableProcedure
from memd.ports.index import IndexChange, IndexSink


class Backups(Protocol):
    """Copies of everything a store holds."""

    async def backup(self, name: str) -> BackupMade:
        """One snapshot, while writes go on; whole and synced when it returns. AlreadyExists, StoreFull; InvalidArgument for a
        name that is more than a name."""


@dataclass(frozen=True, slots=True)
class Space:
    """Of a file of rows: its size, and how much of it is free."""

    bytes: int
    free_bytes: int


class Compaction(Protocol):
    """A file of rows that keeps the space of what was deleted for what comes next."""

    async def space(self) -> Space: ...

    async def give_back(self, max_bytes: int) -> int:
        """One commit that makes the file shorter by about so much, where that is free; by how much. Other writers wait for
        it."""


class Transfers(Protocol):
    """A namespace as the format of ``domain.portable`` has it."""

    def export(self, namespace: str) -> AsyncGenerator[Sequence[Exported], None]:
        """All of one moment, a few at a time: the header, the settings where the namespace has its own, memories, procedures.
        Every Forget that it does not know has the time of its header or a later one. Until it is closed the log of the store
        keeps growing, and what is deleted stays in the files."""

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        """One commit, as every write: memories that are not here are stored as they are, with their earlier states. One that
        is here as it is, or has expired, is skipped; another state, or another owner of its id, is a conflict and left
        alone; one that was forgotten here at ``exported_us`` or later stays so. ``fence``: a mark taken before it was known
        which model the embeddings are of; StoreBusy when the store's has changed since."""

    async def take_in_procedure(
        self, namespace: str, procedure: PortableProcedure, *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        """The same, for a procedure with its versions, their records, and the reports that are kept."""

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> Written[TakenIn]:
        """The same, for the settings."""


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A row that lacks an embedding of the other model: what of it is embedded. The store's own kind has what it needs."""

    text: str


class Reembedding(Protocol):
    """A store on its way to another embedding model: beside those it serves it keeps embeddings of that, each of its row as
    it is now, and lost with the row. All of it survives a restart. Methods that name the model do nothing, and say False,
    when that is not (any more) the one the store is on its way to."""

    async def target(self) -> EmbeddingModel | None:
        """The model the store is on its way to."""

    async def begin(self, model: EmbeddingModel) -> None:
        """Nothing of an earlier way may be left (``clear``). Again with the same model: nothing. WrongState while it is
        another."""

    async def give_up(self) -> bool:
        """Whether it was on its way. What was made for it goes by ``clear``."""

    async def counts(self) -> tuple[int, int]:
        """Texts that have their embedding, of all. Takes long in a large store."""

    async def lacking(self, most: int) -> Sequence[Unembedded]:
        """The next rows to be embedded. Fewer than ``most``: there are no others."""

    async def put(
        self,
        model: EmbeddingModel,
        read: Sequence[Unembedded],
        embedded: Sequence[Sequence[bytes]],
        index: IndexSink | None,
    ) -> bool:
        """Keep the embeddings, but of rows that have changed since they were read: those lack one still. ``index``, on the
        writer thread after the commit, gets what was put."""

    async def switch(
        self,
        model: EmbeddingModel,
        embed: Callable[[Sequence[str]], Sequence[Sequence[bytes]]],
        most: int,
        index: IndexSink,
        switched: Callable[[], None],
    ) -> bool:
        """One commit: the embeddings of ``model`` become the store's, and writes whose fence is older are refused from then
        on. No write comes between, so that up to ``most`` rows may still lack theirs: blocking, on the writer thread,
        ``embed`` makes them. False when it is more. After the commit, on that thread, before any later write: ``index`` as in
        ``put``, then ``switched``."""

    async def clear(self, most: int) -> int:
        """Delete up to about ``most`` rows of what no model needs any more; how many went. WrongState on the way."""


class ModelSwitch(Protocol):
    """What of a running daemon changes with the model: the embedder and the index, of which a second pair is made beside
    those that serve."""

    async def prepare(self, model: EmbeddingModel) -> None:
        """Load the other model. ModelUnavailable when it is not installed."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        """With the other model, behind queries, never on all threads at once. LimitExceeded as ``Embedder.memories``."""

    def embed_now(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        """Blocking, on the calling thread; for few texts."""

    async def build(self) -> None:
        """Make the other index, of the namespaces that are in memory now; from here on it follows the commits."""

    def put(self, changes: Sequence[IndexChange]) -> None:
        """Embeddings for the other index alone. On the writer thread."""

    def swap(self) -> None:
        """The other pair serves from now on. On the writer thread."""

    async def settle(self) -> None:
        """After ``swap``: let go of the pair of before, once no query uses it."""

    async def abandon(self) -> None:
        """Let go of the other pair, if there is one that does not serve."""
