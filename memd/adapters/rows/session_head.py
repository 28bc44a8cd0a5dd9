"""Where a session stands, and what its events come to: the same for every store that keeps them as rows."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memd.domain.model import Event, Scope, Session, WorkingSet
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings
from memd.ports import SessionPolicy


@dataclass(slots=True)
class Last:
    """The event directly before the next one: what a repeat is merged into."""

    digest: bytes
    position: int
    event_id: str
    count: int
    importance: float
    tokens: int


@dataclass(slots=True)
class Head:
    """``working`` holds (position, tokens) of the working set, oldest first; ``stale_ephemeral`` counts ephemeral events
    that have left it and wait for deletion."""

    pk: int
    scope: Scope
    create_time: int
    update_time: int
    expire_time: int
    end_time: int | None
    last_position: int
    working_from: int
    seq: int
    episodes: int
    working: deque[tuple[int, int]] = field(default_factory=deque)
    working_tokens: int = 0
    last: Last | None = None
    ephemeral: deque[int] = field(default_factory=deque)
    stale_ephemeral: int = 0
    settings: SessionSettings = NO_OVERRIDES

    def trim_working(self, policy: SessionPolicy) -> None:
        """Let go of the oldest items until the session's caps hold; the newest always stays."""
        working, policy = self.working, policy.of_session(self.settings)
        while len(working) > 1 and (
            len(working) > policy.working_max_items or self.working_tokens > policy.working_max_tokens
        ):
            _, tokens = working.popleft()
            self.working_tokens -= tokens
        self._start_working()

    def _start_working(self) -> None:
        working = self.working
        self.working_from = working[0][0] if working else self.last_position + 1
        while self.ephemeral and self.ephemeral[0] < self.working_from:
            self.ephemeral.popleft()
            self.stale_ephemeral += 1

    def compress_working(self, through: int) -> None:
        """Let go of the items up to position ``through``; the newest stays."""
        working = self.working
        while len(working) > 1 and working[0][0] <= through:
            self.working_tokens -= working.popleft()[1]
        self._start_working()

    def revise(self, event: Event) -> None:
        """An event was changed, and may have another number of tokens."""
        for place, (position, tokens) in enumerate(self.working):
            if position == event.position:
                self.working[place] = position, event.tokens
                self.working_tokens += event.tokens - tokens
        if self.last is not None and self.last.position == event.position:
            self.last.importance, self.last.tokens = event.importance, event.tokens

    def empty_working(self) -> None:
        """Nothing is in working memory any more. The caller deletes what was ephemeral: no repeat can be merged into it."""
        if self.ephemeral and self.ephemeral[-1] == self.last_position:
            self.last = None
        self.working.clear()
        self.ephemeral.clear()
        self.working_tokens = 0
        self.working_from = self.last_position + 1

    def row(self) -> tuple[object, ...]:
        scope = self.scope
        return (
            self.pk,
            scope.namespace,
            scope.user_id,
            scope.agent_id,
            scope.session_id,
            self.create_time,
            self.update_time,
            self.expire_time,
            self.end_time,
            self.last_position,
            self.working_from,
            self.seq,
        )

    def session(self) -> Session:
        return Session(
            self.scope,
            self.create_time,
            self.update_time,
            self.expire_time,
            self.end_time,
            self.last_position,
            self.seq,
            self.settings,
        )


def same_but_for_repeats(stored: Event, read: Event) -> bool:
    """Whether an event is as it was read: more repeats may have been merged into it since."""
    return replace(stored, count=read.count, last_seen=read.last_seen) == read


def event_digest(event: Event) -> bytes:
    """Equal for events that differ in nothing a repeat may not differ in."""
    parts = f"{event.kind.value}\0{len(event.role)}\0{event.role}\0{len(event.tool_call_id)}\0{event.tool_call_id}"
    return hashlib.blake2b(f"{parts}\0{event.content}".encode(), digest_size=16).digest()


def working_set(
    seq: int, newest_first: Sequence[Event], policy: SessionPolicy, settings: SessionSettings
) -> WorkingSet:
    """The newest items that fit, at least one."""
    policy = policy.of_session(settings)
    taken: list[Event] = []
    tokens = 0
    for event in newest_first:
        if len(taken) >= policy.working_max_items or (taken and tokens + event.tokens > policy.working_max_tokens):
            break
        taken.append(event)
        tokens += event.tokens
    return WorkingSet(tuple(reversed(taken)), tokens, seq, settings=settings)


def recent(
    seq: int,
    newest_first: Sequence[Event],
    older: Sequence[Event],
    policy: SessionPolicy,
    settings: SessionSettings,
    limit: int,
) -> tuple[WorkingSet, tuple[Event, ...]]:
    """The working set, and the newest ``limit`` episodes not in it, oldest first. ``newest_first`` is what was in the
    working set at the last append, ``older`` the episodes before that; caps may have been lowered since."""
    working = working_set(seq, newest_first, policy, settings)
    left_out = newest_first[len(working.items) :]
    before = [*(event for event in left_out if not event.ephemeral), *older]
    room = policy.episodic_max_items - sum(not event.ephemeral for event in working.items)
    return working, tuple(reversed(before[: max(0, min(limit, room))]))
