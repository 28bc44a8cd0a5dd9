"""What Recall is made of: tiers and the packer of their sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from memd.domain.filters import Filter
from memd.domain.model import (
    Scope,
    TierName,
)
from memd.ports.index import SearchOptions
from memd.ports.sessions import SessionPolicy

TierState: TypeAlias = Literal["OK", "DEGRADED", "TIMED_OUT", "SKIPPED"]


@dataclass(frozen=True, slots=True)
class TierAsk:
    """One Recall as a tier sees it. ``scope`` is resolved against the credential.

    ``shared``: what two tiers of this Recall both need, kept by whoever gets it for them; it ends with the Recall.
    """

    scope: Scope
    query: str
    limit: int
    max_episodes: int
    now_us: int
    as_of_us: int
    filter: Filter | None
    options: SearchOptions
    policy: SessionPolicy
    use_cache: bool = True
    min_seq: int = 0
    patience_s: float = 0.0
    """How long a tier may wait for rows that are on their way."""
    shared: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContextSection:
    """A tier's part of the context block: Markdown items in order of preference."""

    heading: str
    items: tuple[str, ...]
    share: float
    reverse: bool = False
    divisible: tuple[int, ...] = ()
    """Places of items of which the newest sentences are shown where the whole does not fit."""


LIVE_SEQ = -1
"""``TierAnswer.seq`` of an answer that came from the rows themselves: no index that could be behind took part."""


@dataclass(frozen=True, slots=True)
class TierAnswer:
    """What one tier found. ``found`` is tier-specific: Events, (Memory, IndexHit) or (Procedure, relevance) pairs.

    ``seq``: the change number the index had at least, 0 for tiers without an index.
    """

    tier: TierName
    found: tuple[Any, ...] = ()
    sections: tuple[ContextSection, ...] = ()
    state: TierState = "OK"
    reason: str = ""
    latency_us: int = 0
    staleness_us: int = 0
    nothing_relevant: bool = False
    seq: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackedContext:
    """``taken``: how many items of each section found room, in the order the sections were given."""

    text: str
    tokens: int
    taken: tuple[int, ...]


class ContextPacker(Protocol):
    """Sections to one Markdown block. Blocking, pure, thread-safe."""

    def ready(self, section: ContextSection, *, count: bool) -> Any:
        """A section as ``pack`` takes it; with ``count`` its tokens are counted now, so that ``pack`` need not."""

    def pack(self, ready: Sequence[Any], budget_tokens: int) -> PackedContext:
        """Exactly counted, never over the budget; empty sections left out; an item that is not divisible goes in whole or
        not at all."""


class Tier(Protocol):
    """One tier's policy: what it contributes to a Recall."""

    @property
    def name(self) -> TierName: ...

    async def recall(self, ask: TierAsk) -> TierAnswer: ...
