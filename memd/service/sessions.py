"""Sessions: what they work with now, what happened in them, and their end."""

from __future__ import annotations

from memd.domain.model import Event, EventKind, Page, RequestKey, Scope, Session, WorkingSet, Written
from memd.ports import SessionStore
from memd.service.policy import PolicySource


class SessionService:
    """Every scope has a session_id, except in ``list``."""

    def __init__(self, sessions: SessionStore, settings: PolicySource) -> None:
        self._sessions = sessions
        self._settings = settings

    async def working(self, scope: Scope) -> WorkingSet:
        """Empty for an unknown session."""
        return await self._sessions.working(scope, await self._settings.policy(scope.namespace))

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
