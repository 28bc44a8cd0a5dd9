"""A few threads that read the store for the event loop, each with its own connection; one wake-up a read."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from memd.adapters.sqlite.connection import Readers
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.outcome import Outcome
from memd.domain.errors import LimitExceeded, ShuttingDown
from memd.limits import READ_QUEUE_DEPTH, READER_THREADS

T = TypeVar("T")
Read = Callable[[apsw.Connection], T]
_QUEUE_FULL_RETRY_S = 0.05
_Waiting = tuple[Read[Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class ReadPool:
    """``run`` reads off the event loop; ``blocking`` reads on the thread that asks."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"memd-sqlite-reader-{i}", daemon=True)
            for i in range(READER_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, read: Read[T]) -> T:
        """LimitExceeded when too many reads wait; a cancelled caller's read is not run."""
        if self._closing:
            raise ShuttingDown("the store is closed")
        if self._queue.qsize() >= READ_QUEUE_DEPTH:
            raise LimitExceeded("too many reads wait for the store", retry_after_s=_QUEUE_FULL_RETRY_S)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((read, loop, future))
        return await future

    def blocking(self, read: Read[T]) -> T:
        with translated():
            return read(self._readers.get())

    def close(self) -> None:
        """Finish what is queued, then stop the threads."""
        self._closing = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (waiting := self._queue.get()) is not None:
            read, loop, future = waiting
            if future.cancelled():
                continue
            outcome = Outcome()
            with outcome:
                outcome.value = self.blocking(read)
            if not loop.is_closed():
                loop.call_soon_threadsafe(outcome.settle, future)
