"""What a call on one of the store's threads came to: carried back to the caller, whatever it is."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class Outcome:
    """``with outcome: outcome.value = ...`` keeps the value or what was raised, a bug included: it belongs to the caller
    who waits, not to the thread that serves everybody."""

    __slots__ = ("error", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> Outcome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True

    def settle(self, future: asyncio.Future[Any]) -> None:
        """On the event loop of ``future``. A caller that was cancelled meanwhile gets nothing."""
        if future.done():
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.value)
