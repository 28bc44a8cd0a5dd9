"""What events mean to each other, found behind the replies: failures and what resolved them, what is said again, tool outputs
that share a body.

Observe only says what came. A look reads the newest events of a session from its store and changes them by compare-and-set:
cut off, or done by two daemons, it comes to the same. What a daemon does not know of a session, after a start or because
another one had it, makes its next Observe a look.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memd.domain import relations
from memd.domain.extract import is_tool_output
from memd.domain.model import Event, ObservedEvent, Scope
from memd.domain.shared_body import shared
from memd.limits import (
    RELATE_EVENTS,
    RELATE_QUEUE,
    RELATE_SAID,
    RELATE_SESSIONS,
    SAID_TIMES,
    SHARED_BODY_CHARS,
)
from memd.ports import EventRevision, SessionPolicy, SessionStore, TokenCounter

_ATTEMPTS = 3
"""To revise what others revise as well."""


@dataclass(slots=True)
class _Known:
    """Of a session: is a failure open, how often was what said (by hash), up to which position was it looked at."""

    failing: bool = False
    said: Counter[int] = field(default_factory=Counter)
    looked: int = 0


class EventRelations:
    """Used on the event loop alone."""

    def __init__(self, sessions: SessionStore, counter: TokenCounter) -> None:
        self._sessions = sessions
        self._counter = counter
        self._known: OrderedDict[Scope, _Known] = OrderedDict()
        self._waiting: OrderedDict[Scope, SessionPolicy] = OrderedDict()
        self._running: Scope | None = None
        self._ready = asyncio.Semaphore(0)
        """As many as are waiting."""

    def settled(self, scope: Scope) -> bool:
        """Whether nothing is waiting to be looked at in a session."""
        return scope not in self._waiting and scope != self._running

    def observed(
        self, scope: Scope, events: Sequence[Event], observed: Sequence[ObservedEvent], policy: SessionPolicy
    ) -> None:
        """Events were appended. Never waits, never fails."""
        known = self._known.get(scope)
        fresh = known is None and observed[0].position > 1
        if known is None:
            known = self._known[scope] = _Known()
            if len(self._known) > RELATE_SESSIONS:
                self._known.popitem(last=False)
        due = [_due(known, event) for event in events]  # all of them: they are counted
        if (fresh or any(due)) and scope not in self._waiting:
            self._wait(scope, policy)

    def _wait(self, scope: Scope, policy: SessionPolicy) -> None:
        if len(self._waiting) >= RELATE_QUEUE:
            self._known.pop(scope, None)  # so that its next Observe is a look again
        else:
            self._waiting[scope] = policy
            self._ready.release()

    async def work(self) -> None:
        """Look at one session, once there is one that waits. Run it again and again."""
        await self._ready.acquire()
        scope, policy = self._waiting.popitem(last=False)
        known = self._known.pop(scope, None)  # unless this comes to its end, the next Observe is a look
        self._running = scope
        try:
            seen = await self._look(scope, policy, known.looked if known else 0)
        finally:
            self._running = None
        self._known.setdefault(scope, seen).looked = seen.looked  # if more came meanwhile, that is another look

    async def _look(self, scope: Scope, policy: SessionPolicy, since: int) -> _Known:
        for _ in range(_ATTEMPTS):
            page = await self._sessions.episodes(scope, policy, kinds=frozenset(), size=RELATE_EVENTS, cursor="")
            events = page.items[::-1]
            revisions = await asyncio.to_thread(self._revisions, events, since)
            if not revisions or await self._sessions.revise(scope, revisions) == len(revisions):
                break  # else somebody else revised one of them, or the session is gone
        return _known(events, revisions)

    def _revisions(self, events: Sequence[Event], since: int) -> list[EventRevision]:
        becomes = related(events, since)
        changed = [event for event in becomes.values() if event.body_event_id]
        tokens = self._counter.count_batch([event.content for event in changed])
        becomes.update({event.position: replace(event, tokens=n) for event, n in zip(changed, tokens, strict=True)})
        return [EventRevision(event, becomes[event.position]) for event in events if event.position in becomes]


def related(events: Sequence[Event], since: int) -> dict[int, Event]:
    """By position, what is to be changed of a session's events, oldest first. Bodies are compared with events after ``since``
    alone; new tokens are not counted."""
    becomes: dict[int, Event] = {}

    def now(event: Event) -> Event:
        return becomes.get(event.position, event)

    for failure, by in relations.resolutions(events):
        becomes[failure.position] = relations.resolved(now(failure), by)
        becomes[by.position] = relations.resolving(now(by), failure)
    for event in relations.repeated(events):
        becomes[event.position] = relations.emphasized(now(event))
    for older, reference in shared(events, since):
        links = now(older)
        becomes[older.position] = replace(
            links,
            content=reference.content,
            body_event_id=reference.body_event_id,
            original_bytes=reference.original_bytes,
            original_sha256=reference.original_sha256,
        )
    return {position: event for position, event in becomes.items() if event not in events}


def _known(events: Sequence[Event], revisions: Sequence[EventRevision]) -> _Known:
    """Of a session that was just looked at."""
    becomes = {revision.was.position: revision.becomes for revision in revisions}
    failing = relations.still_failing([becomes.get(event.position, event) for event in events])
    said = Counter(hash(words) for event in events[-RELATE_SAID:] if (words := relations.said(event)))
    return _Known(failing, said, events[-1].position if events else 0)


def _due(known: _Known, event: Event) -> bool:
    """Whether the event may mean something to others; what is to be known of it for later ones is noted."""
    if event.ephemeral:
        return False
    due = len(event.content) >= SHARED_BODY_CHARS and is_tool_output(event)
    due = due or (known.failing and relations.may_resolve(event))
    known.failing = known.failing or relations.failed(event)
    words = relations.said(event)
    if words:
        known.said[hash(words)] += 1
        due = due or known.said[hash(words)] >= SAID_TIMES
        if len(known.said) > RELATE_SAID:
            del known.said[next(iter(known.said))]
    return due
