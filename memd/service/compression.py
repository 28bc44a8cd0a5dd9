"""Compression of working memory, behind the replies: who grew is looked at, what is over its threshold is summarized.

Observe only says who grew. A session's first growth after a start is always a look, so that what a crash or another
daemon left over the threshold is found by its next Observe, and by ``CompressionScan`` where none comes. A compression is
one compare-and-set in the store: killed before it, the session is as it was; of two daemons that compress one session, one
finds that it came late.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from memd.domain.compression import Compression, CompressionPolicy, new_summary, parts, plan
from memd.domain.model import ObservedEvent, Scope, WorkingSet
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings
from memd.limits import COMPRESSION_QUEUE, COMPRESSION_WATCHED
from memd.ports import Clock, SessionPolicy, SessionStore, Summarizer, Summary, SummaryRequest


@dataclass(slots=True)
class CompressionCounts:
    """Since the start. ``late``: the session had changed; ``refused``: summaries not shorter than what they were for;
    ``put_off``: sessions that found the queue full. Tokens are those of what was compressed, and of the summaries."""

    done: int = 0
    late: int = 0
    refused: int = 0
    put_off: int = 0
    events: int = 0
    tokens_before: int = 0
    tokens_after: int = 0


@dataclass(slots=True)
class _Growth:
    """Since the last look at a session: its items and tokens then, and what has come since."""

    items: int
    tokens: int
    position: int
    """Of the newest event at the look: what others observed counts as well."""

    def add(self, observed: Sequence[ObservedEvent]) -> None:
        new = [one for one in observed if one.position > self.position]
        if new:
            self.items += new[-1].position - self.position
            self.tokens += sum(one.tokens for one in new)
            self.position = new[-1].position


class CompressionService:
    """Used on the event loop alone. ``extractive`` answers where ``summarizer`` gives what cannot be used."""

    def __init__(self, sessions: SessionStore, summarizer: Summarizer, extractive: Summarizer, clock: Clock) -> None:
        self._sessions = sessions
        self._summarizer = summarizer
        self._extractive = extractive
        self._clock = clock
        self._growth: OrderedDict[Scope, _Growth] = OrderedDict()
        self._waiting: OrderedDict[Scope, SessionPolicy] = OrderedDict()
        self._running: set[Scope] = set()
        self._again: set[Scope] = set()
        """Of those running, the ones that grew meanwhile."""
        self._ready = asyncio.Semaphore(0)
        """As many as are waiting."""
        self.counts = CompressionCounts()

    @property
    def queue_depth(self) -> int:
        return len(self._waiting)

    def observed(
        self,
        scope: Scope,
        observed: Sequence[ObservedEvent],
        policy: SessionPolicy,
        settings: SessionSettings = NO_OVERRIDES,
    ) -> None:
        """Events were appended, or the session's ``settings`` were changed. ``policy`` is the namespace's. Never waits, never
        fails."""
        limits = policy.of_session(settings).compression
        if limits is None or not self._over(scope, observed, limits):
            return
        if scope in self._waiting:
            self._waiting[scope] = policy  # the namespace's may have changed since
        elif scope in self._running:
            self._again.add(scope)
        else:
            self._wait(scope, policy)

    def found(self, scope: Scope, policy: SessionPolicy, settings: SessionSettings = NO_OVERRIDES) -> None:
        """There is such a session: it is looked at, unless it is known to be within its limits."""
        limits = policy.of_session(settings).compression
        if limits is None or scope in self._running or scope in self._waiting:
            return
        if self._over(scope, (), limits):
            self._wait(scope, policy)

    def _wait(self, scope: Scope, policy: SessionPolicy) -> None:
        if len(self._waiting) >= COMPRESSION_QUEUE:
            self.counts.put_off += 1
            self._growth.pop(scope, None)  # so that its next Observe is a look again
        else:
            self._waiting[scope] = policy
            self._ready.release()

    def _over(self, scope: Scope, observed: Sequence[ObservedEvent], limits: CompressionPolicy) -> bool:
        """Whether a look at the session is due, as far as is known here."""
        known = self._growth.get(scope)
        if known is None or scope in self._running:
            return True
        known.add(observed)
        return known.items > limits.max_items or known.tokens > limits.threshold_tokens

    async def work(self) -> None:
        """Compress one session, once there is one that waits. Run it again and again, several side by side."""
        await self._ready.acquire()
        scope, policy = self._waiting.popitem(last=False)
        self._running.add(scope)
        self._growth.pop(scope, None)  # unless this comes to its end, the next Observe is a look
        try:
            self._note(scope, await self._settled(scope, policy))
        finally:
            self._running.discard(scope)
            self._again.discard(scope)

    async def _settled(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        """Compress as long as there is something to compress, by the settings the session has at each look: every time it is
        less. The working set then."""
        while True:
            self._again.discard(scope)
            working = await self._sessions.working(scope, policy)
            limits = policy.of_session(working.settings).compression
            todo = plan(working, limits) if limits is not None else None
            if todo is not None:
                await self._compress(scope, working, todo)
            elif scope not in self._again:
                return working

    def _note(self, scope: Scope, working: WorkingSet) -> None:
        _, items = parts(working)
        newest = items[-1].position if items else 0
        self._growth[scope] = _Growth(len(items), working.tokens, newest)
        self._growth.move_to_end(scope)
        while len(self._growth) > COMPRESSION_WATCHED:
            self._growth.popitem(last=False)

    async def _compress(self, scope: Scope, working: WorkingSet, todo: Compression) -> None:
        summary = await self._summary(todo)
        summaries = (*todo.kept, *todo.folded)
        if summary.text:
            first = todo.folded[0].summarized_from if todo.folded else todo.first
            made = new_summary(summary.text, summary.tokens, first, todo.through, self._clock.now_us(), summary.made_by)
            summaries = (*todo.kept, made)
        if not await self._sessions.compress(scope, working, summaries, todo.through):
            self.counts.late += 1
            return
        self.counts.done += 1
        self.counts.events += len(todo.events)
        self.counts.tokens_before += sum(event.tokens for event in (*todo.events, *todo.folded))
        self.counts.tokens_after += summary.tokens

    async def _summary(self, todo: Compression) -> Summary:
        """At most the tokens of the plan, whoever made it; empty where there is nothing to say."""
        if not todo.events:
            return Summary("", 0, "")
        earlier = "\n".join(summary.content for summary in todo.folded)
        request = SummaryRequest(todo.events, todo.max_tokens, earlier)
        summary = await self._summarizer.summarize(request)
        if summary.tokens <= todo.max_tokens:
            return summary
        self.counts.refused += 1
        return await self._extractive.summarize(request)
