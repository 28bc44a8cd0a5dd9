"""Finds idle sessions over their threshold: grown beside a daemon that died, or overtaken by a change of settings."""

from __future__ import annotations

from collections.abc import Callable

from memd.limits import COMPRESSION_SCAN_PAUSE_S, COMPRESSION_SCAN_SESSIONS
from memd.ports import Clock, SessionStore
from memd.service.compression import CompressionService
from memd.service.policy import PolicySource


class CompressionScan:
    """Goes through all sessions, round after round. ``policies`` gives a source that has not read anything yet."""

    def __init__(
        self,
        compression: CompressionService,
        sessions: SessionStore,
        policies: Callable[[], PolicySource],
        clock: Clock,
    ) -> None:
        self._compression = compression
        self._sessions = sessions
        self._policies = policies
        self._clock = clock
        self._cursor = ""
        self._next_round_s = 0.0

    async def run_once(self) -> int:
        """Have the next COMPRESSION_SCAN_SESSIONS sessions looked at; how many there were. None while others wait to be
        compressed, and for COMPRESSION_SCAN_PAUSE_S after the last one."""
        if self._compression.queue_depth or self._clock.monotonic_s() < self._next_round_s:
            return 0
        page = await self._sessions.live(COMPRESSION_SCAN_SESSIONS, self._cursor)
        policies = self._policies()
        for one in page.items:
            self._compression.found(one.scope, await policies.policy(one.scope.namespace), one.settings)
        self._cursor = page.next_cursor
        if not self._cursor:
            self._next_round_s = self._clock.monotonic_s() + COMPRESSION_SCAN_PAUSE_S
        return len(page.items)
