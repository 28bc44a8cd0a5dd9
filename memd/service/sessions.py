"""Sessions: what they work with now, what happened in them, and their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memd.domain.model import (
    Event,
    EventKind,
    ObservedEvent,
    Page,
    RequestKey,
    Scope,
    Session,
    WorkingSet,
    Written,
)
from memd.domain.session_settings import SESSION_SETTINGS, SessionSettings, SettingsChange
from memd.ports import SessionPolicy, SessionStore
from memd.service.policy import PolicySource


class SessionService:
    """Every scope has a session_id, except in ``list``."""

    def __init__(
        self,
        sessions: SessionStore,
        settings: PolicySource,
        changed: Callable[[Scope, Sequence[ObservedEvent], SessionPolicy, SessionSettings], None] | None = None,
    ) -> None:
        """``changed`` hears of settings that were changed, with no events, as it does of events that were observed."""
        self._sessions = sessions
        self._settings = settings
        self._changed = changed

    async def working(self, scope: Scope) -> WorkingSet:
        """Empty for an unknown session."""
        return await self._sessions.working(scope, await self._settings.policy(scope.namespace))

    async def update_settings(
        self, scope: Scope, change: SettingsChange, *, reset: bool = False, request: RequestKey | None = None
    ) -> Written[Session]:
        """``reset``: what ``change`` does not name goes back to the namespace's. A session that is not there is opened: its
        settings hold from its first event on."""
        if reset:
            change = {**dict.fromkeys(SESSION_SETTINGS), **change}
        policy = await self._settings.policy(scope.namespace)
        written = await self._sessions.configure(scope, change, policy, request)
        if self._changed is not None:
            self._changed(scope, (), policy, written.value.settings)
        return written

    async def clear(self, scope: Scope, request: RequestKey | None = None) -> Written[int]:
        """How many items left working memory."""
        return await self._sessions.clear_working(scope, request)

    async def episodes(
        self, scope: Scope, kinds: frozenset[EventKind] = frozenset(), *, size: int, cursor: str = ""
    ) -> Page[Event]:
        """Newest first; empty ``kinds`` is all."""
        policy = await self._settings.policy(scope.namespace)
        return await self._sessions.episodes(scope, policy, kinds=kinds, size=size, cursor=cursor)

    async def list(self, scope: Scope, *, size: int, cursor: str = "") -> Page[Session]:
        """Most recently active first."""
        return await self._sessions.sessions(scope, size=size, cursor=cursor)

    async def end(self, scope: Scope, request: RequestKey | None = None) -> Written[Session]:
        """NotFound for an unknown session; ending twice changes nothing."""
        return await self._sessions.end(scope, request)
