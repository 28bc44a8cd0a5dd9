"""Working memory: the current task, in order."""

from __future__ import annotations

from memd.domain.context import SESSION_HEADING, SESSION_SHARE, event_item
from memd.domain.model import Event, EventKind, TierName
from memd.domain.settings import TierSettings
from memd.ports import ContextSection, TierAnswer, TierAsk
from memd.tiers.shared import RecentOnce


class WorkingTier:
    """The working set of the scope's session, oldest first; the newest have the first claim on the budget, and of its
    summaries the newest sentences are shown where they do not fit.

    Items and tokens are capped by the session's policy, in the store. With a ``ttl``, items observed longer ago are left
    out.
    """

    name = TierName.WORKING

    def __init__(self, recent: RecentOnce, settings: TierSettings) -> None:
        self._recent = recent
        self._settings = settings

    async def recall(self, ask: TierAsk) -> TierAnswer:
        working, _ = await self._recent.read(ask)
        found = working.items
        if self._settings.ttl_us is not None:
            oldest_us = ask.now_us - self._settings.ttl_us
            found = tuple(event for event in found if _observed(event) >= oldest_us)
        newest_first = found[::-1]
        items = tuple(map(event_item, newest_first))
        summaries = tuple([place for place, event in enumerate(newest_first) if event.kind is EventKind.SUMMARY])
        section = ContextSection(SESSION_HEADING, items, SESSION_SHARE, reverse=True, divisible=summaries)
        return TierAnswer(self.name, found, (section,))


def _observed(event: Event) -> int:
    return event.last_seen or event.event_time
