"""Callers that send the next call when the last one is answered: latencies of given calls, and the rate they reach."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Call: TypeAlias = Callable[[T], Awaitable[object]]


async def latencies_ms(call: Call[T], arguments: Sequence[T], in_flight: int = 1) -> list[float]:
    """Milliseconds of each call, one an argument, with at most ``in_flight`` of them at a time."""
    waiting = iter(arguments)
    taken: list[float] = []

    async def caller() -> None:
        for argument in waiting:
            started = time.perf_counter()
            await call(argument)
            taken.append((time.perf_counter() - started) * 1e3)

    await _together(caller, in_flight)
    return taken


@dataclass(slots=True)
class Rate:
    """Calls answered, and the seconds they took; slices of one measurement add up."""

    calls: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return self.calls / self.seconds


async def add_slice(rate: Rate, call: Call[T], arguments: Iterator[T], in_flight: int, seconds: float) -> None:
    """Keep ``in_flight`` calls going for about ``seconds`` and add them to ``rate``."""
    started = time.perf_counter()
    end = started + seconds
    counts = itertools.count()

    async def caller() -> None:
        while time.perf_counter() < end:
            await call(next(arguments))
            next(counts)

    await _together(caller, in_flight)
    rate.calls += next(counts)
    rate.seconds += time.perf_counter() - started


async def _together(caller: Callable[[], Coroutine[None, None, None]], in_flight: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
