"""Episodic memory: what happened in the session before the working set, by recency."""

from __future__ import annotations

from memd.domain.context import RECENT_HEADING, RECENT_SHARE, event_item
from memd.domain.model import TierName
from memd.domain.settings import TierSettings
from memd.ports import ContextSection, TierAnswer, TierAsk, TokenCounter
from memd.tiers.budget import within_tokens
from memd.tiers.shared import RecentOnce


class EpisodicTier:
    """The newest ``max_episodes`` episodes that are not in the working set, oldest first."""

    name = TierName.EPISODIC

    def __init__(self, recent: RecentOnce, settings: TierSettings, counter: TokenCounter) -> None:
        self._recent = recent
        self._settings = settings
        self._counter = counter

    async def recall(self, ask: TierAsk) -> TierAnswer:
        _, episodes = await self._recent.read(ask)
        newest_first = [event_item(event) for event in reversed(episodes)]
        items = within_tokens(newest_first, self._settings.max_tokens, self._counter)
        return TierAnswer(self.name, episodes, (ContextSection(RECENT_HEADING, items, RECENT_SHARE, reverse=True),))
