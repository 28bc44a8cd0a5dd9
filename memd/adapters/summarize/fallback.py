"""A summarizer that may fail, and one that does not: whoever asks always gets a summary."""

from __future__ import annotations

import logging

from memd.domain.errors import MemdError
from memd.limits import SUMMARIZER_BREAKER_FAILURES, SUMMARIZER_BREAKER_S
from memd.ports import Clock, Summarizer, SummarizerCounts, Summary, SummaryRequest

logger = logging.getLogger(__name__)


class FallbackSummarizer:
    """Asks ``first``; where that fails, or has failed often in a row lately, ``then``."""

    def __init__(self, first: Summarizer, then: Summarizer, clock: Clock) -> None:
        self._first = first
        self._then = then
        self._clock = clock
        self._failures = 0
        self._left_alone_until_s = 0.0
        self.counts = SummarizerCounts()

    async def summarize(self, request: SummaryRequest) -> Summary:
        if self._clock.monotonic_s() < self._left_alone_until_s:
            self.counts.skipped += 1
            return await self._then.summarize(request)
        try:
            summary = await self._first.summarize(request)
        except MemdError as error:
            self._failed(error)
            return await self._then.summarize(request)
        self._failures = 0
        self.counts.made += 1
        self.counts.tokens_in += summary.tokens_in
        self.counts.tokens_out += summary.tokens_out
        return summary

    async def close(self) -> None:
        await self._first.close()
        await self._then.close()

    def _failed(self, error: MemdError) -> None:
        self.counts.failed += 1
        self._failures += 1
        status = error.metadata.get("http_status", "")
        logger.warning("summarizer failed: %s", error.message, extra={"fields": {"http_status": status}})
        if self._failures >= SUMMARIZER_BREAKER_FAILURES:
            self._failures = 0
            self._left_alone_until_s = self._clock.monotonic_s() + SUMMARIZER_BREAKER_S
