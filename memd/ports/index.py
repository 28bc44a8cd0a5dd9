"""The search over memories and procedures, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from memd.domain.decay import Decay
from memd.domain.filters import Filter

INDEX_KINDS = ("memory", "procedure")
"""What has an index, and so a watermark to keep in step with the namespace's change number."""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What the index needs of one row. ``embeddings`` are concatenated float32; ``fields`` is the JSON of _core."""

    entry_id: str
    version: int
    text: str
    embeddings: bytes
    fields: bytes


@dataclass(frozen=True, slots=True)
class IndexChange:
    """One committed change, in commit order. ``kind`` is "memory" or "procedure"."""

    namespace: str
    kind: str
    seq: int
    put: tuple[IndexRow, ...] = ()
    delete: tuple[str, ...] = ()
    delete_all: bool = False


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """What an index needs to be as the rows are at change number ``seq``: first ``removed`` taken out, then ``rows`` put."""

    seq: int
    removed: tuple[str, ...]
    rows: Iterator[Sequence[IndexRow]]


IndexSink: TypeAlias = Callable[[Sequence[IndexChange]], None]
"""Called by a store on its writer thread after each commit and before the replies; must not raise."""


class IndexSource(Protocol):
    """Where an index gets its rows from. Every method blocks."""

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        """The namespace's change number and batches of all rows of ``kind``, one snapshot."""

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> IndexChanges | None:
        """What changed since ``since``, where the change log had ``mark``; None when that cannot be told: all
        rows must be loaded."""

    def mark(self, namespace: str, seq: int) -> str:
        """Identifies the change log up to ``seq``: another history has another mark."""

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        """Whether something was deleted since ``seq``: an index saved then still holds words of it."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """See ``_core.RankingOptions``."""

    limit: int
    candidates: int = 50
    vector_weight: float = 0.5
    trim_ratio: float = 0.35
    min_relevance: float | None = None
    cues: Mapping[str, float] = field(default_factory=dict)
    """Weights by name; what is not named has its default."""
    nothing_below: float | None = None
    """``nothing_cosine``; None is its default."""
    now_us: int | None = None
    """The time of the question: "last week" counts from it."""
    decay: Decay = field(default=Decay())
    """Taken after the search, by the tier."""
    versions: Filter | None = None
    """Which other versions of what is found (superseded, or valid later) may lend it their evidence; None: none."""


@dataclass(frozen=True, slots=True)
class IndexHit:
    entry_id: str
    version: int
    score: float
    relevance: float
    bm25: float
    vector_part: float
    word_part: float
    matched_terms: int
    cues: Callable[[], Mapping[str, float]] = field(default=dict, compare=False, repr=False)
    """What each cue gave or took, by name; made when asked for."""


@dataclass(frozen=True, slots=True)
class IndexAnswer:
    """``degraded`` is a fixed upper-case word when the answer is not what a complete index would give, else ""."""

    hits: tuple[IndexHit, ...]
    nothing_relevant: bool
    seq: int
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class IndexState:
    entries: Mapping[str, int]
    """Entry id to version."""
    seq: int
    memory_bytes: int


class NamespaceIndex(Protocol):
    """The in-process index over all namespaces: a disposable cache of rows, fed by ``IndexSink``."""

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """Blocking; loads the namespace on first use."""

    def prepare(
        self, namespace: str, kind: str, query: str, where: Filter, options: SearchOptions
    ) -> Callable[[bytes | None], IndexAnswer]:
        """Blocking: ``search`` in two halves, for the time in which the embedding is made. The result is the other half,
        blocking too, and sees what was changed in between."""

    def state(self, namespace: str, kind: str) -> IndexState:
        """Blocking. For Verify and GetStats; loads the namespace."""

    def apply(self, changes: Sequence[IndexChange]) -> None:
        """The IndexSink."""

    def loaded(self) -> int:
        """How many namespaces are in memory."""


class SearchedAway(Protocol):
    """Namespaces whose memories another server searches: nobody else should wait for it, so no thread is held meanwhile."""

    def away(self, namespace: str) -> bool:
        """From any thread."""

    async def search_away(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """As ``NamespaceIndex.search`` of memories."""
