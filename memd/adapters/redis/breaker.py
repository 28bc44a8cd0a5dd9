"""A circuit breaker: who does not answer is not asked again until it is known to be back."""

from __future__ import annotations


class Breaker:
    """Opens after ``failures`` in a row, or at once after a decisive one; any success closes it. Pure, one event loop."""

    def __init__(self, failures: int) -> None:
        self._most = failures
        self._failed = 0
        self.open = False

    def failed(self, *, decisive: bool) -> bool:
        """Count a failure; True when the breaker opened by it."""
        self._failed += 1
        opens = not self.open and (decisive or self._failed >= self._most)
        self.open = self.open or opens
        return opens

    def succeeded(self) -> bool:
        """True when the breaker closed by it."""
        closes, self.open, self._failed = self.open, False, 0
        return closes
