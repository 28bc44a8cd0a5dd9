"""The embedder's worker threads: a bounded queue with two priorities, and the way back to the event loop.

A ``Job`` is a list of steps; one step is one run of the model, a few milliseconds, and the unit of scheduling: a query
that arrives while a batch of memories is being embedded waits for one step, not for the batch. Steps of waiting batches
take turns. Queries go first, but after EMBED_QUERIES_BEFORE_WRITE of them in a row a waiting batch gets one step, so
that a flood of queries slows writes down and never stops them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar

from memd.domain.errors import LimitExceeded, ShuttingDown
from memd.limits import EMBED_QUERIES_BEFORE_WRITE, EMBED_QUEUE_DEPTH

T = TypeVar("T")
Step = Callable[[], None]

_JOIN_TIMEOUT_S = 5.0
_MAX_RETRY_AFTER_S = 5.0
_MIN_RETRY_AFTER_S = 0.05


class Mailbox:
    """Carries outcomes from worker threads to the futures of one event loop: one wake-up for all that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._letters: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._lock = threading.Lock()
        self._woken = False

    def post(self, future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
        with self._lock:
            self._letters.append((future, value, error))
            if self._woken:
                return
            self._woken = True
        loop = self._loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            letters, self._letters = self._letters, deque()
            self._woken = False
        for future, value, error in letters:
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


class Job(Generic[T]):
    """Steps to run, then ``finish`` for the value. The first error ends the job and becomes its outcome."""

    def __init__(self, steps: Iterable[Step], finish: Callable[[], T]) -> None:
        self.steps: deque[Step] = deque(steps)
        self.finish = finish
        self.bulk = False
        self.running = 0
        self.error: BaseException | None = None


class _Attempt:
    """A ``with`` block whose exception is kept, to be raised in the caller that awaits the job."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.error = error
        return True


def _steps(jobs: Iterable[Job[Any]]) -> int:
    return sum(len(job.steps) for job in jobs)


class Workers:
    """``threads`` worker threads. ``submit`` is called on an event loop; steps run on the threads."""

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._queries: deque[Job[Any]] = deque()
        self._bulk: deque[Job[Any]] = deque()
        self._waiting: dict[Job[Any], tuple[Mailbox, asyncio.Future[Any]]] = {}
        self._queries_in_a_row = 0
        self._idle: list[threading.Lock] = []
        """What the idle threads wait on, the last to become idle at the end: it is woken first, its caches are warm."""
        self._mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
        self._closed = False
        self._steps_run = 0
        self._busy_s = 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"memd-embed-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def threads(self) -> int:
        return len(self._threads)

    def depth(self) -> int:
        """Steps waiting for a thread."""
        with self._lock:
            return _steps(self._queries) + _steps(self._bulk)

    async def submit(self, job: Job[T], *, bulk: bool) -> T:
        """Queue ``job`` and wait for it. LimitExceeded over the bound of its queue; ShuttingDown after ``close``.

        A cancelled caller's job leaves the queue at once; a step already running finishes and is thrown away.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        mailbox = self._mailboxes.get(loop) or self._mailboxes.setdefault(loop, Mailbox(loop))
        job.bulk = bulk
        with self._lock:
            self._admit(bulk=bulk)
            self._queue_of(job).append(job)
            self._waiting[job] = (mailbox, future)
            self._wake(len(job.steps))
        try:
            return await future
        finally:
            self._drop(job)

    def extend(self, job: Job[Any], steps: Iterable[Step]) -> None:
        """Add steps to a job from within one of its steps; they were admitted with the job. A query's come next."""
        more = list(steps)
        with self._lock:
            if not more or job not in self._waiting or job.error is not None:
                return
            if not job.steps:
                self._put_back(job)
            job.steps.extend(more)
            self._wake(len(more))

    def close(self) -> None:
        """Refuse new work, fail what waits with ShuttingDown, wait for what runs. Idempotent."""
        with self._lock:
            self._closed = True
            unfinished = [(job, *address) for job, address in self._waiting.items() if job.steps]
            for job, _, _ in unfinished:
                job.steps.clear()
                job.error = ShuttingDown("the daemon is shutting down")
            self._queries.clear()
            self._bulk.clear()
        for job, mailbox, future in unfinished:
            if not job.running:
                mailbox.post(future, None, job.error)
        with self._lock:
            self._wake(len(self._idle))
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)

    def _admit(self, *, bulk: bool) -> None:
        if self._closed:
            raise ShuttingDown("the daemon is shutting down")
        steps = _steps(self._bulk) if bulk else len(self._queries)
        if steps < EMBED_QUEUE_DEPTH:
            return
        mean_step_s = self._busy_s / max(1, self._steps_run)
        retry_after_s = min(_MAX_RETRY_AFTER_S, max(_MIN_RETRY_AFTER_S, steps * mean_step_s / self.threads))
        what = "texts" if bulk else "queries"
        raise LimitExceeded(f"{steps} {what} are waiting to be embedded already", retry_after_s=round(retry_after_s, 3))

    def _drop(self, job: Job[Any]) -> None:
        with self._lock:
            del self._waiting[job]
            if job.steps:
                job.steps.clear()
                self._queue_of(job).remove(job)

    def _queue_of(self, job: Job[Any]) -> deque[Job[Any]]:
        return self._bulk if job.bulk else self._queries

    def _put_back(self, job: Job[Any]) -> None:
        """A job with more steps: batches take turns, a query is done before the next one."""
        if job.bulk:
            self._bulk.append(job)
        else:
            self._queries.appendleft(job)

    def _wake(self, steps: int) -> None:
        """Wake as many idle threads as there are steps for; with the lock held."""
        for _ in range(min(steps, len(self._idle))):
            self._idle.pop().release()

    def _work(self) -> None:
        wake = threading.Lock()
        wake.acquire()
        while True:
            with self._lock:
                taken = self._take()
                if taken is None:
                    if self._closed:
                        return
                    self._idle.append(wake)
            if taken is None:
                wake.acquire()
            else:
                self._run(*taken)

    def _take(self) -> tuple[Job[Any], Step] | None:
        """The next step, with the lock held; None when there is none."""
        bulk_turn = bool(self._bulk) and (not self._queries or self._queries_in_a_row >= EMBED_QUERIES_BEFORE_WRITE)
        waiting = self._bulk if bulk_turn else self._queries
        if not waiting:
            return None
        self._queries_in_a_row = 0 if bulk_turn or not self._bulk else self._queries_in_a_row + 1
        job = waiting.popleft()
        step = job.steps.popleft()
        if job.steps:
            self._put_back(job)
        job.running += 1
        return job, step

    def _run(self, job: Job[Any], step: Step) -> None:
        started = time.perf_counter()
        with _Attempt() as attempt:
            step()
        elapsed = time.perf_counter() - started
        with self._lock:
            self._steps_run += 1
            self._busy_s += elapsed
            job.running -= 1
            if attempt.error is not None and job.error is None:
                job.error = attempt.error
                self._abandon(job)
            address = self._waiting.get(job)
            if address is None or job.running or job.steps:
                return
        self._settle(job, *address)

    def _abandon(self, job: Job[Any]) -> None:
        if job.steps:
            job.steps.clear()
            self._queue_of(job).remove(job)

    def _settle(self, job: Job[T], mailbox: Mailbox, future: asyncio.Future[T]) -> None:
        value: T | None = None
        if job.error is None:
            with _Attempt() as attempt:
                value = job.finish()
            job.error = attempt.error
        mailbox.post(future, value, job.error)
