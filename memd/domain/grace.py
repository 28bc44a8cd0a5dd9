"""How long the sweep waits for what is to be made of an expired session before it goes."""

from __future__ import annotations

from memd.limits import SWEEP_GAP_US


class Grace:
    """``length_us`` 0: nobody consolidates, nothing is waited for.

    It is counted from when a session expired, but not before the sweeps came regularly: a daemon that was off, or a machine
    that slept, has to have had that long to consolidate it."""

    def __init__(self) -> None:
        self.length_us = 0
        self._attended_since_us = self._last_sweep_us = 0

    def spared_since(self, now_us: int) -> int:
        """At a sweep: unconsolidated sessions that expired after this are spared; 0 where the grace has just begun."""
        if not self._last_sweep_us <= now_us <= self._last_sweep_us + SWEEP_GAP_US:
            self._attended_since_us = now_us  # the first sweep, one after a sleep, or the clock went back
        self._last_sweep_us = now_us
        since = now_us - self.length_us
        return since if self._attended_since_us <= since else 0
