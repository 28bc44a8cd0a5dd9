"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Implements ``ports.Clock``."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()
