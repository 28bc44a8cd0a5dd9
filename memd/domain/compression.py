"""When working memory is compressed, which of its items go, and how long the summary may be. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memd.domain.model import Event, EventKind, WorkingSet
from memd.domain.session_settings import SessionSettings
from memd.limits import (
    DEFAULT_COMPRESS_AT,
    DEFAULT_COMPRESS_KEEP,
    DEFAULT_COMPRESS_TO,
    DEFAULT_SUMMARY_SHARE,
    MAX_EVENTS_PER_OBSERVE,
    MIN_SUMMARY_TOKENS,
    WORKING_HOLD,
)


@dataclass(frozen=True, slots=True)
class CompressionPolicy:
    """``max_items`` and ``max_tokens`` are the working tier's. Compressed is over ``at`` of the tokens or over the items:
    all but the ``keep`` newest items, to ``to`` of their tokens. Summaries that would take more than ``summary_share`` of
    ``max_tokens`` together are folded into one of half of that."""

    max_items: int
    max_tokens: int
    at: float = DEFAULT_COMPRESS_AT
    keep: int = DEFAULT_COMPRESS_KEEP
    to: float = DEFAULT_COMPRESS_TO
    summary_share: float = DEFAULT_SUMMARY_SHARE

    @property
    def threshold_tokens(self) -> int:
        return int(self.at * self.max_tokens)

    @property
    def held(self) -> tuple[int, int]:
        """Items and tokens that working memory may have: what waits for its summary must not be dropped for waiting."""
        items = max(WORKING_HOLD * self.max_items, self.max_items + MAX_EVENTS_PER_OBSERVE)
        return items, WORKING_HOLD * self.max_tokens

    def overridden(self, settings: SessionSettings) -> CompressionPolicy:
        """With the numbers that a session has of its own."""
        own: dict[str, Any] = {
            "max_items": settings.working_max_items,
            "max_tokens": settings.working_max_tokens,
            "at": settings.compress_at,
            "keep": settings.compress_keep,
            "to": settings.compress_to,
            "summary_share": settings.summary_share,
        }
        return replace(self, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Compression:
    """``events`` go, and whatever else is between the positions ``first`` and ``through``; the summary has at most
    ``max_tokens``. It follows the ``kept`` summaries, and says again what the ``folded`` ones said."""

    events: tuple[Event, ...]
    first: int
    through: int
    max_tokens: int
    kept: tuple[Event, ...]
    folded: tuple[Event, ...]


def plan(working: WorkingSet, policy: CompressionPolicy) -> Compression | None:
    """What is to be compressed now; None while nothing is, or while nothing can be."""
    summaries, items = parts(working)
    if len(items) <= policy.max_items and working.tokens <= policy.threshold_tokens:
        return None
    cut = _cut(items, policy)
    if not cut:
        return None
    gone = items[:cut]
    replaced = sum(event.tokens for event in gone)
    room = int(policy.summary_share * policy.max_tokens)
    wanted = max(1, min(replaced, max(MIN_SUMMARY_TOKENS, int(policy.to * replaced)), room))
    before = sum(event.tokens for event in summaries)
    folds = bool(summaries) and before + wanted > room
    return Compression(
        # what is ephemeral stays in working memory alone: no summary repeats it
        events=tuple(event for event in gone if not event.ephemeral),
        first=gone[0].position,
        through=gone[-1].position,
        max_tokens=min(before + replaced, max(1, room // 2)) if folds else wanted,
        kept=() if folds else summaries,
        folded=summaries if folds else (),
    )


def parts(working: WorkingSet) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Its summaries, and its items."""
    count = sum(event.kind is EventKind.SUMMARY for event in working.items)
    return working.items[:count], working.items[count:]


def new_summary(content: str, tokens: int, first: int, through: int, now_us: int, made_by: str) -> Event:
    """A summary as an item of working memory; ``metadata`` says which summarizer made it."""
    return Event(
        event_id=f"summary-{first}-{through}",
        kind=EventKind.SUMMARY,
        content=content,
        role="summary",
        event_time=now_us,
        last_seen=now_us,
        tokens=tokens,
        position=through,
        metadata={"summarizer": made_by},
        summarized_from=first,
        summarized_through=through,
    )


def _cut(items: Sequence[Event], policy: CompressionPolicy) -> int:
    """How many of the oldest items go: all but the newest ``keep``, and of those as many as fit; the newest stays. What
    belongs to one tool call stays together, in memory if the rest still fits, else it goes as a whole. No more go at once
    than a full working set has."""
    whole = _between_calls(items)
    first = max(len(items) - policy.keep, 0)
    while first < len(items) - 1 and not _fits(items[first:], policy):
        first += 1
    places = [cut for cut in range(1, len(items)) if whole[cut]]
    earlier = [cut for cut in places if cut <= first and (cut == first or _fits(items[cut:], policy))]
    cut = earlier[-1] if earlier else next((cut for cut in places if cut > first > 0), 0)
    if not cut:
        return 0
    at_once = [place for place in places if place <= cut and _tokens(items[:place]) <= policy.max_tokens]
    return at_once[-1] if at_once else places[0]


def _fits(items: Sequence[Event], policy: CompressionPolicy) -> bool:
    return len(items) <= policy.max_items and _tokens(items) <= policy.threshold_tokens


def _tokens(items: Sequence[Event]) -> int:
    return sum(event.tokens for event in items)


def _between_calls(items: Sequence[Event]) -> list[bool]:
    """For every place between two items, whether no tool call is on both sides of it."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, event in enumerate(items):
        if event.tool_call_id:
            first.setdefault(event.tool_call_id, number)
            last[event.tool_call_id] = number
    opened = [0] * (len(items) + 1)
    for call, start in first.items():
        opened[start + 1] += 1
        opened[last[call] + 1] -= 1
    whole, depth = [], 0
    for change in opened:
        depth += change
        whole.append(depth == 0)
    return whole
