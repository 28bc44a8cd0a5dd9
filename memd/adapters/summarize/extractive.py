"""Summarizer without a model: ``memd.domain.summary`` on a thread."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from memd.domain import summary
from memd.domain.context import event_label
from memd.domain.model import Event, EventKind
from memd.ports import Summary, SummaryRequest, TokenCounter

NAME = "extractive"
_EARLIER_IMPORTANCE = 0.6
"""What an earlier summary kept was worth keeping once."""


class ExtractiveSummarizer:
    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    async def summarize(self, request: SummaryRequest) -> Summary:
        return await asyncio.to_thread(self.extract, request)

    def extract(self, request: SummaryRequest) -> Summary:
        """Blocking; a few milliseconds for a working set."""
        events = (*_lines(request.earlier), *request.events)
        text = summary.extract(events, event_label, request.max_tokens, self._counter.count_batch)
        return Summary(text, self._counter.count(text), NAME)

    async def close(self) -> None:
        return None


def _lines(earlier: str) -> tuple[Event, ...]:
    """Each line of an earlier summary as an event, its label as the role."""
    found = []
    for line in earlier.splitlines():
        role, colon, content = line.partition(": ")
        kept = Event(event_id="", kind=EventKind.TURN, content=content if colon else line, role=role if colon else "")
        found.append(replace(kept, importance=_EARLIER_IMPORTANCE))
    return tuple(found)
