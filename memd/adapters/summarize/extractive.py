"""Summarizer without a model: what sentences are worth by ``memd.domain.summary``, which are chosen by the Rust core.

It works behind replies and must not be felt in them. The core lets go of the interpreter; what is left to Python does so
every few sentences, since a thread that wants to answer would else wait for the switch interval of 5 ms, again and again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from memd import _core
from memd.domain import summary
from memd.domain.context import event_label
from memd.domain.model import Event, EventKind
from memd.ports import Summary, SummaryRequest

NAME = "extractive"
_EARLIER_IMPORTANCE = 0.6
"""What an earlier summary kept was worth keeping once."""
_SENTENCES_AT_ONCE = 8
"""Weighed without a pause: about a tenth of a millisecond."""
_PAUSE_S = 0.0001
"""Long enough for another thread to wake up and take the interpreter; a pause of 0 is over before that."""


class ExtractiveSummarizer:
    """One summary at a time."""

    def __init__(self, counter: _core.TokenCounter) -> None:
        self._counter = counter
        self._turn = asyncio.Lock()

    async def summarize(self, request: SummaryRequest) -> Summary:
        async with self._turn:
            return await asyncio.to_thread(self.extract, request)

    def extract(self, request: SummaryRequest) -> Summary:
        """Blocking; a few milliseconds for a working set."""
        events = (*_lines(request.earlier), *request.events)
        labels = [f"{event_label(event)}: " for event in events]
        text = _core.extract_sentences(self._counter, list(_weighed(events)), labels, request.max_tokens)
        return Summary(text, self._counter.count(text), NAME)

    async def close(self) -> None:
        return None


def _weighed(events: Sequence[Event]) -> Iterator[tuple[str, int, float]]:
    """The core's sentences, given way in between."""
    left = _SENTENCES_AT_ONCE
    for number, event in enumerate(events):
        for text, value in summary.sentences(event):
            yield text, number, value
            left -= 1
            if not left:
                time.sleep(_PAUSE_S)
                left = _SENTENCES_AT_ONCE


def _lines(earlier: str) -> tuple[Event, ...]:
    """Each line of an earlier summary as an event, its label as the role."""
    found = []
    for line in earlier.splitlines():
        role, colon, content = line.partition(": ")
        kept = Event(event_id="", kind=EventKind.TURN, content=content if colon else line, role=role if colon else "")
        found.append(replace(kept, importance=_EARLIER_IMPORTANCE))
    return tuple(found)
