"""Summaries of working memory as rows, and the working set they are part of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memd.domain.compression import new_summary
from memd.domain.model import Event, WorkingSet

SUMMARY_COLUMNS = "first_position, last_position, tokens, create_time, made_by, content"


def summary_row(summary: Event) -> tuple[int, int, int, int, str, str]:
    """In the order of SUMMARY_COLUMNS."""
    made_by = str(summary.metadata.get("summarizer", ""))
    return (
        summary.summarized_from,
        summary.summarized_through,
        summary.tokens,
        summary.event_time,
        made_by,
        summary.content,
    )


def decode_summary(row: Sequence[Any]) -> Event:
    """From SUMMARY_COLUMNS."""
    first, through, tokens, create_time, made_by, content = row
    return new_summary(content, tokens, first, through, create_time, made_by)


def with_summaries(working: WorkingSet, summaries: Sequence[Event], create_time: int, erased: int) -> WorkingSet:
    """The working set of a session that was created then and erased from so often, its summaries before its items."""
    tokens = working.tokens + sum(summary.tokens for summary in summaries)
    items = (*summaries, *working.items)
    return replace(working, items=items, tokens=tokens, create_time=create_time, erased=erased)


def unchanged(seen: WorkingSet, create_time: int, last_summarized: int, erased: int) -> bool:
    """Whether a session (created then, summarized up to that position, 0 for not at all, erased from so often) was neither
    compressed nor erased from nor replaced since ``seen``."""
    return (seen.create_time, last_position(seen.items), seen.erased) == (create_time, last_summarized, erased)


def last_position(items: Sequence[Event]) -> int:
    """Up to which position they are summaries; 0 where none is one."""
    return max((event.summarized_through for event in items), default=0)
