"""A summarizer that may fail, and one that does not: whoever asks always gets a summary."""

from __future__ import annotations

import logging

from memd.domain.errors import MemdError
from memd.limits import SUMMARIZER_BREAKER_FAILURES, SUMMARIZER_BREAKER_S
from memd.ports import Clock, Summarizer, SummarizerCounts, Summary, SummaryRequest

logger = logging.getLogger(__name__)


class Breaker:
    """Of one service, whoever asks it: left alone for a while after some failures in a row."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0

    @property
    def open(self) -> bool:
        return self._clock.monotonic_s() < self._until_s

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= SUMMARIZER_BREAKER_FAILURES:
            self._failures = 0
            self._until_s = self._clock.monotonic_s() + SUMMARIZER_BREAKER_S


class FallbackSummarizer:
    """Asks ``first``; where that fails, or has failed often in a row lately, ``then``."""

    def __init__(self, first: Summarizer, then: Summarizer, breaker: Breaker) -> None:
        self._first = first
        self._then = then
        self._breaker = breaker
        self.counts = SummarizerCounts()

    def beside(self) -> FallbackSummarizer:
        """The same for another use, with counts of its own: the same service, so one breaker. Close the first one alone."""
        return FallbackSummarizer(self._first, self._then, self._breaker)

    async def summarize(self, request: SummaryRequest) -> Summary:
        if self._breaker.open:
            self.counts.skipped += 1
            return await self._then.summarize(request)
        try:
            summary = await self._first.summarize(request)
        except MemdError as error:
            self._failed(error)
            return await self._then.summarize(request)
        self._breaker.succeeded()
        self.counts.made += 1
        self.counts.tokens_in += summary.tokens_in
        self.counts.tokens_out += summary.tokens_out
        return summary

    async def close(self) -> None:
        await self._first.close()
        await self._then.close()

    def _failed(self, error: MemdError) -> None:
        self.counts.failed += 1
        status = error.metadata.get("http_status", "")
        logger.warning("summarizer failed: %s", error.message, extra={"fields": {"http_status": status}})
        self._breaker.failed()
