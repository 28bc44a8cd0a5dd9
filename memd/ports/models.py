"""The parts that are models or stand for the machine: clock, token counter, embedder, summarizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from memd.domain.model import (
    EmbeddingModel,
    Event,
)

T = TypeVar("T")


class Clock(Protocol):
    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch. Stored times come from here alone."""

    def monotonic_s(self) -> float: ...


class TokenCounter(Protocol):
    """``memd._core.TokenCounter``: exact, thread-safe."""

    @property
    def encoding(self) -> str: ...
    def count(self, text: str) -> int: ...
    def count_batch(self, texts: Sequence[str]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class EmbedderStats:
    threads: int
    queue_depth: int
    cache_entries: int
    cache_hits: int
    cache_misses: int


class Embedder(Protocol):
    """Texts to unit vectors, on worker threads; queries go before memories; never touches the network.

    Raises ModelUnavailable where there is no model, LimitExceeded when the queue is full, InvalidArgument for a text of
    more than MAX_WINDOWS windows (of ``memories``: metadata "text" is its number). Embeddings are float32 little-endian
    bytes.
    """

    @property
    def model(self) -> EmbeddingModel | None:
        """None while there is no usable model."""

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        """Embed and run ``use`` on a worker thread. ``meanwhile`` runs before ``use``, on another worker thread while the
        model runs where one is free. ``behind``: nobody waits for it, it comes after queries as memories do."""

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        """One embedding a window of each text."""

    def stats(self) -> EmbedderStats: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """Events oldest first, after ``earlier``, the summary of what came before them ("" for none)."""

    events: tuple[Event, ...]
    max_tokens: int
    earlier: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """``tokens`` by memd's counter. ``made_by`` names the summarizer; ``tokens_in`` and ``tokens_out`` are what a model
    charged for, 0 where none ran."""

    text: str
    tokens: int
    made_by: str
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True)
class SummarizerCounts:
    """Since the start. Tokens are those the model charged for; ``skipped``: not asked, because it had failed before."""

    made: int = 0
    failed: int = 0
    skipped: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Summarizer(Protocol):
    """Runs behind the reply, never in a write or a recall."""

    async def summarize(self, request: SummaryRequest) -> Summary:
        """At most ``max_tokens``. Unavailable when it cannot be made now; text that does not keep to the bound is never
        returned."""

    async def close(self) -> None: ...
