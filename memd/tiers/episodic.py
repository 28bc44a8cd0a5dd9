"""Episodic memory: what happened in the session before the working set, and in the sessions before it, by recency."""

from __future__ import annotations

from memd.domain.context import RECENT_HEADING, RECENT_SHARE, event_item
from memd.domain.model import Event, EventKind, Memory, TierName
from memd.domain.settings import TierSettings
from memd.limits import DIGESTS_RECALLED
from memd.ports import ContextSection, MemoryStore, TierAnswer, TierAsk, TokenCounter
from memd.tiers.budget import within_tokens
from memd.tiers.shared import RecentOnce

DIGEST_ROLE = "earlier session"


class EpisodicTier:
    """The digests of the user's last other sessions, as events of the role DIGEST_ROLE; then the newest ``max_episodes``
    episodes that are not in the working set; oldest first. Of digests the newest sentences are shown where they do not fit.
    """

    name = TierName.EPISODIC

    def __init__(
        self, recent: RecentOnce, memories: MemoryStore, settings: TierSettings, counter: TokenCounter
    ) -> None:
        self._recent = recent
        self._memories = memories
        self._settings = settings
        self._counter = counter

    async def recall(self, ask: TierAsk) -> TierAnswer:
        _, episodes = await self._recent.read(ask)
        # on the event loop, as the session's own read: an indexed read of a row or two
        digests = self._memories.digests(ask.scope, DIGESTS_RECALLED) if ask.max_episodes else []
        found = (*map(_as_event, reversed(digests)), *episodes)
        newest_first = [event_item(event) for event in reversed(found)]
        items = within_tokens(newest_first, self._settings.max_tokens, self._counter)
        told = tuple(range(len(episodes), len(items)))  # the digests
        section = ContextSection(RECENT_HEADING, items, RECENT_SHARE, reverse=True, divisible=told)
        return TierAnswer(self.name, found, (section,))


def _as_event(digest: Memory) -> Event:
    return Event(
        event_id=digest.memory_id,
        kind=EventKind.TURN,
        role=DIGEST_ROLE,
        content=digest.content,
        importance=digest.importance,
        event_time=digest.event_time or digest.create_time,
    )
