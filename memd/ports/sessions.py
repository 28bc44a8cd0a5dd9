"""Where sessions are kept, and what consolidation asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from memd.domain.compression import CompressionPolicy
from memd.domain.model import (
    Appended,
    Event,
    EventKind,
    Page,
    RequestKey,
    Scope,
    Session,
    SessionEvents,
    WorkingSet,
    Written,
)
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings, SettingsChange


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Caps of the sessions of a namespace, from settings. Counts are items, ``working_max_tokens`` tokens. A store that holds
    a session's own settings goes by ``of_session``."""

    working_max_items: int
    working_max_tokens: int
    episodic_max_items: int
    ttl_us: int
    compression: CompressionPolicy | None = None
    """None: what is over the working caps leaves working memory as it is. Else the caps leave room for it to wait."""
    switched_off: CompressionPolicy | None = None
    """Where ``compression`` is None: that of a session that switches it on."""

    @classmethod
    def of(cls, limits: CompressionPolicy, *, compressed: bool, episodic_max_items: int, ttl_us: int) -> SessionPolicy:
        items, tokens = limits.held if compressed else (limits.max_items, limits.max_tokens)
        on, off = (limits, None) if compressed else (None, limits)
        return cls(items, tokens, episodic_max_items, ttl_us, on, off)

    @property
    def limits(self) -> CompressionPolicy:
        """The numbers themselves, whether sessions are compressed or not."""
        whatever = self.compression or self.switched_off
        return whatever or CompressionPolicy(self.working_max_items, self.working_max_tokens)

    def of_session(self, settings: SessionSettings) -> SessionPolicy:
        """What holds in a session that has these settings of its own."""
        if settings is NO_OVERRIDES:
            return self
        compressed = self.compression is not None if settings.compress is None else settings.compress
        return SessionPolicy.of(
            self.limits.overridden(settings),
            compressed=compressed,
            episodic_max_items=self.episodic_max_items,
            ttl_us=self.ttl_us,
        )


@dataclass(frozen=True, slots=True)
class LiveSession:
    scope: Scope
    settings: SessionSettings = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class EventRevision:
    """An event as it was read and as it is to be. They differ in importance and its reasons, ``resolves``, ``resolved_by``,
    ``body_event_id``, and, but for the newest event of a session, in the content with its tokens, size and digest."""

    was: Event
    becomes: Event


class Erasure(Protocol):
    """What a server keeps of deleted rows in its files, where it must be asked to let go of it."""

    async def erase(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        """After a Forget that removed ``counts``: ask, without waiting for it to be done. What is out of reach until then and
        afterwards, in words true to what was asked; a server that refuses or is away is no error."""


class SessionStore(Protocol):
    """Working sets, episodes and sessions. All parts of the scope select by equality; ``session_id`` is set."""

    async def append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Appended:
        """Append in order, all or none; open or reopen the session, refresh its TTL, trim to the session's caps.

        An ``event_id`` the session already holds is not stored again. An event equal to the one directly before it in
        kind, role, tool_call_id and content is merged: count and last_seen grow. Each result tells which.
        """

    async def working(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        """The summaries and the newest items within the caps, oldest first; empty for an unknown session."""

    async def compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        """Put ``summaries`` (all there are to be from now on) in the place of the items up to position ``through`` and of
        the summaries of ``seen``; ephemeral ones of the items are deleted, the others stay episodes. The newest item
        stays in any case. The session's TTL is not refreshed.

        False and nothing changed where the session has been compressed, cleared, ended or forgotten since ``seen``."""

    async def revise(self, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        """Change what was found out about events after their reply; one commit. Passed over is an event that is no longer
        as it was read (count and last_seen aside), and one whose ``body_event_id`` is new and no episode of the session.
        The session's TTL is not refreshed. How many were changed."""

    async def configure(
        self, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        """Change the session's own settings, for as long as it lives. One that is not there is opened, without events; of one
        that is there neither TTL nor end change. Every other method that takes a policy goes by these settings too."""

    async def clear_working(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        """How many items left working memory, summaries among them. Summaries and ephemeral events are deleted, the
        others stay episodes."""

    async def episodes(
        self, scope: Scope, policy: SessionPolicy, *, kinds: frozenset[EventKind], size: int, cursor: str
    ) -> Page[Event]:
        """Newest first; empty ``kinds`` is all."""

    async def recent(self, scope: Scope, policy: SessionPolicy, limit: int) -> tuple[WorkingSet, tuple[Event, ...]]:
        """Working set, and the newest ``limit`` episodes not in it, oldest first: one snapshot, for Recall."""

    async def sessions(self, scope: Scope, *, size: int, cursor: str) -> Page[Session]:
        """Sessions of namespace, user and agent, most recently active first."""

    async def live(self, size: int, cursor: str) -> Page[LiveSession]:
        """Sessions of every namespace, for background work: those that may have more than one item in working memory. About
        ``size``, in an order of the store's own, some perhaps twice; what is there from the first page to the last is on
        one."""

    async def end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        """NotFound for an unknown session; ending twice changes nothing."""

    async def forget(self, scope: Scope, *, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        """Delete every session in scope (unset session_id: all, unset agent_id: every agent's; ``all_users``: the whole
        namespace). Idempotent per receipt: the counts ``events`` and ``sessions`` of the first run again."""

    async def count(self, scope: Scope, *, all_users: bool) -> Mapping[str, int]:
        """The same counts without deleting; the namespace's for ``all_users``."""

    async def forget_events(
        self, namespace: str, events: Sequence[SessionEvents], *, receipt_id: str
    ) -> Mapping[str, int]:
        """Delete the events, live or expired, and of a session whose summaries tell one of them all summaries. Its digest
        is due anew, from its beginning, and a ``compress`` on its way changes nothing. Idempotent per receipt: the counts
        ``events`` and ``summaries`` of the first run again. ``receipt_id`` "" only counts."""

    async def sweep(self, max_rows: int) -> int:
        """Delete up to ``max_rows`` expired rows, return how many; bounded time."""


@dataclass(frozen=True, slots=True)
class MarkedSession:
    """A session as background work knows it, live or not. ``key`` is the store's own name of this life of it: a session that
    expired and was opened again has another. ``promoted``, ``digested``: positions up to which that work is done."""

    key: str
    scope: Scope
    create_time: int
    promoted: int
    digested: int
    last_position: int


@dataclass(frozen=True, slots=True)
class MarkedPage:
    """``after``: where to go on; "" at the end. A store looks at a bounded number of sessions for one page, so it may be
    short, or empty, with more behind it."""

    sessions: tuple[MarkedSession, ...]
    after: str


@dataclass(frozen=True, slots=True)
class Mark:
    """``session`` as it was read when the work began, and the position it has come to."""

    session: MarkedSession
    position: int


class SessionMarks(Protocol):
    """How far background work has come in each session. A session that expired is here until the sweep takes it. Pages are in
    the store's own order and go on after ``after``; "" begins."""

    async def unpromoted(self, limit: int, after: str = "") -> MarkedPage:
        """Sessions with events past ``promoted``."""

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: str = ""
    ) -> MarkedPage:
        """Sessions with events past ``digested`` that have at least ``events`` of them, or were ended, or were idle for
        ``idle_us``, or expire within ``expires_us`` or did."""

    async def expired(self, limit: int, after: str = "") -> MarkedPage:
        """Expired sessions with events past ``promoted`` or ``digested``."""

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        """The first ``limit`` events after ``position`` up to its ``last_position``, oldest first, ephemeral ones too, also
        of an expired session; those that were deleted are missing."""

    async def mark(self, promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        """How many were set. Each is a compare-and-set: nothing happens where another has marked that work of the session
        since it was read, or where it is gone."""

    def spare(self, grace_us: int) -> None:
        """From now on the sweep leaves expired sessions for so long that are here as ``expired``. Counted from when they
        expired, but not before the sweeps came regularly: see ``domain.grace``."""
