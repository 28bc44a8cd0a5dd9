"""The one writer thread: group commit. Requests that wait together share one transaction and one fsync.

The thread drains the queue, runs every request in a savepoint of its own (a failing one rolls back alone), commits,
tells the index, and only then wakes the event loop, once a batch. Requests of the same hot kind may come as a *bundle*:
they run first and together, in a handful of statements, because each statement costs the thread its turn at the
interpreter (``docs/adr/0005-sqlite-group-commit.md``).

An I/O error of COMMIT leaves its outcome unknown: the kernel may have dropped the pages it failed to write, so asking
again would be answered with a success that is none. No such request is ever answered OK, the writer accepts nothing
more, and ``on_fatal`` lets the process stop; the next start reads what the disk really has. An fsync that fails in a
checkpoint does the same.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import apsw

from memd.adapters.sqlite.checkpoint import Checkpointer
from memd.adapters.sqlite.errors import translate
from memd.adapters.sqlite.outcome import Outcome
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import LimitExceeded, MemdError, ShuttingDown
from memd.limits import LAZY_ERASE_S, WRITE_BATCH, WRITE_QUEUE_DEPTH
from memd.ports import Clock, IndexChange, IndexSink

T = TypeVar("T")
Operation = Callable[[Transaction], T]
_QUEUE_FULL_RETRY_S = 0.05
_UNKNOWN = "the disk failed while committing: the outcome is unknown; send the same request_id again after the restart"
_FSYNC_ERRORS = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})
_log = logging.getLogger(__name__)


class Bundle(Protocol):
    """Runs many requests of one kind together, at the start of a transaction."""

    def run(self, tx: Transaction, jobs: Sequence[Job]) -> None:
        """Set every job's ``result``; or raise anything, to have them run one by one after a rollback."""

    def run_one(self, tx: Transaction, item: Any) -> Any:
        """One request, inside its savepoint."""


class Job:
    """One request: what to run, where its reply goes, and how it came out."""

    __slots__ = ("bundle", "changes", "error", "future", "item", "last", "loop", "operation", "result")

    def __init__(
        self, operation: Operation[Any] | None, bundle: Bundle | None, item: Any, *, last: bool = False
    ) -> None:
        self.operation = operation
        self.bundle = bundle
        self.item = item
        self.last = last
        """Nothing runs after it in its transaction."""
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self.changes: tuple[IndexChange, ...] = ()


class _BatchLost(Exception):
    """SQLite rolled the whole transaction back: no request of the batch was applied."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


def _one_of_bundle(job: Job, tx: Transaction) -> Any:
    assert job.bundle is not None
    return job.bundle.run_one(tx, job.item)


class Writer:
    """Owns the write connection. ``submit`` is called on an event loop, everything else happens on the thread."""

    def __init__(
        self,
        connection: apsw.Connection,
        clock: Clock,
        sink: IndexSink,
        checkpointer: Checkpointer,
        on_fatal: Callable[[BaseException], None] | None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._sink = sink
        self._checkpointer = checkpointer
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = False
        self._postponed = False
        self._serving: list[Job] = []
        self.failed = threading.Event()
        self.on_rollback: list[Callable[[], None]] = []
        """Called whenever requests were rolled back: caches of what they wrote must be dropped."""
        self.on_commit: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._supervise, name="memd-sqlite-writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return self._queue.qsize()

    async def submit(self, operation: Operation[T], *, last: bool = False) -> T:
        """Run in the next batch; returns after its commit. LimitExceeded when too many wait. ``last``: what its
        ``after_commit`` does comes before any later request."""
        result: T = await self._enqueue(Job(operation, None, None, last=last))
        return result

    async def submit_bundled(self, bundle: Bundle, item: Any) -> Any:
        """As ``submit`` for a request that may run together with others of its bundle."""
        return await self._enqueue(Job(None, bundle, item))

    def _enqueue(self, job: Job) -> asyncio.Future[Any]:
        if self._closing or self.failed.is_set():
            raise ShuttingDown("the store accepts no more writes")
        if self._queue.qsize() >= WRITE_QUEUE_DEPTH:
            raise LimitExceeded("too many writes wait for the disk", retry_after_s=_QUEUE_FULL_RETRY_S)
        self._queue.put(job)
        if self.failed.is_set():  # the thread may have emptied the queue just before
            raise ShuttingDown(_UNKNOWN)
        return job.future

    def close(self) -> None:
        """Finish what is queued, then stop the thread."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    # -- the thread

    def _supervise(self) -> None:
        with Outcome() as caught:
            self._run()
        if caught.error is not None:
            _log.critical("the writer thread fell: %s", type(caught.error).__name__, exc_info=caught.error)
            self._fail(self._serving, caught.error)

    def _run(self) -> None:
        stop = False
        while self._checkpoint() and not stop:
            jobs, stop = self._drain()
            if jobs:
                self._serve(jobs)
            if self.failed.is_set():
                return

    def _checkpoint(self) -> bool:
        """False when the disk failed for good."""
        with Outcome() as caught:
            caught.value = self._checkpointer.step(idle=self._queue.empty())
        if caught.error is not None and _fsync_failed(caught.error):
            self._fail([], caught.error)
            return False
        if caught.value or caught.error is not None:
            self._note_postponed(caught.error)
        return True

    def _note_postponed(self, error: BaseException | None) -> None:
        """One line when checkpoints begin to fail and one when they work again: a full disk may stay full for days."""
        if error is not None and not isinstance(error, apsw.Error | OSError):
            raise error
        if error is not None and not self._postponed:
            _log.warning("checkpoints are postponed: %s", type(error).__name__)
        elif error is None and self._postponed:
            _log.warning("checkpoints work again")
        self._postponed = error is not None

    def _drain(self) -> tuple[list[Job], bool]:
        """Wait for one request, then take all that are there, up to WRITE_BATCH; True when it is time to stop."""
        jobs: list[Job] = []
        try:
            job = self._queue.get(timeout=self._checkpointer.wait_s())
            while job is not None:
                jobs.append(job)
                if len(jobs) >= WRITE_BATCH or job.last:
                    return jobs, False
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _serve(self, jobs: list[Job]) -> None:
        self._serving = jobs
        tx = Transaction(self._connection, self._clock.now_us())
        try:
            self._apply(tx, jobs)
        except _BatchLost as lost:
            self._rolled_back()
            for job in jobs:
                job.error = job.error or lost.cause
            self._reply(jobs)
            return
        if not self._commit(tx, jobs):
            return
        for settle in self.on_commit:
            settle()
        changes = [change for job in jobs if job.error is None for change in job.changes]
        if changes:
            self._sink(changes)
        for done in tx.after_commit:
            done()
        if tx.erases or tx.erases_later:
            self._checkpointer.erase(0.0 if tx.erases else LAZY_ERASE_S)
        self._reply(jobs)

    def _apply(self, tx: Transaction, jobs: list[Job]) -> None:
        self._begin()
        bundled = [job for job in jobs if job.bundle is not None]
        if bundled and not self._run_bundles(tx, bundled):
            self._rolled_back()
            self._rollback()
            tx.restart()
            self._begin()
            for job in bundled:
                self._run_one(tx, job, partial(_one_of_bundle, job))
        for job in jobs:
            if job.operation is not None:
                self._run_one(tx, job, job.operation)

    def _begin(self) -> None:
        with Outcome() as caught:
            self._connection.execute("BEGIN IMMEDIATE")
        if caught.error is not None:
            raise _BatchLost(_plain(caught.error))

    def _run_bundles(self, tx: Transaction, jobs: list[Job]) -> bool:
        """All together, in front of everything else; False when they have to be tried one by one."""
        with Outcome() as caught:
            for bundle in {job.bundle for job in jobs if job.bundle is not None}:
                bundle.run(tx, [job for job in jobs if job.bundle is bundle])
        return caught.error is None

    def _run_one(self, tx: Transaction, job: Job, operation: Operation[Any]) -> None:
        pending, erases = len(tx.after_commit), tx.erases
        self._connection.execute("SAVEPOINT request")
        with Outcome() as caught:
            job.result = operation(tx)
            self._connection.execute("RELEASE request")
        changes = tx.close_request()
        if caught.error is None:
            job.changes = changes
            return
        job.error = _plain(caught.error)
        del tx.after_commit[pending:]
        tx.erases = erases
        self._undo(caught.error)

    def _undo(self, error: BaseException) -> None:
        """Roll back one request; _BatchLost when SQLite has already thrown the whole transaction away."""
        self._rolled_back()
        if not self._connection.in_transaction:
            raise _BatchLost(_plain(error))
        with Outcome() as caught:
            self._connection.execute("ROLLBACK TO request")
            self._connection.execute("RELEASE request")
        if caught.error is not None:
            self._rollback()
            raise _BatchLost(_plain(error))

    def _commit(self, tx: Transaction, jobs: list[Job]) -> bool:
        with Outcome() as caught:
            self._connection.execute("COMMIT")
        if caught.error is None:
            return True
        if isinstance(caught.error, apsw.IOError) or not isinstance(caught.error, apsw.Error):
            self._fail(jobs, caught.error)
            return False
        self._rollback()
        self._rolled_back()
        for job in jobs:
            job.error = job.error or _plain(caught.error)
        self._reply(jobs)
        return False

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            with Outcome():
                self._connection.execute("ROLLBACK")

    def _rolled_back(self) -> None:
        for forget_cached in self.on_rollback:
            forget_cached()

    def _fail(self, jobs: list[Job], error: BaseException) -> None:
        """The outcome of ``jobs`` is unknown; nothing is accepted any more."""
        self.failed.set()
        _log.critical("the store failed and stops: %s", type(error).__name__)
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting is not None:
                jobs.append(waiting)
        for job in jobs:
            job.error = job.error or ShuttingDown(_UNKNOWN)
        try:
            self._reply(jobs)
        finally:
            if self._on_fatal is not None:
                self._on_fatal(error)

    def _reply(self, jobs: Sequence[Job]) -> None:
        """One wake-up a loop, whatever the size of the batch."""
        loops = {job.loop for job in jobs}
        for loop in loops:
            mine = jobs if len(loops) == 1 else [job for job in jobs if job.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, mine)


def _resolve(jobs: Sequence[Job]) -> None:
    """On the event loop. A cancelled caller's write is kept, its reply has nobody to go to."""
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _fsync_failed(error: BaseException) -> bool:
    """Whatever the kernel could not write it may have dropped: a later fsync that succeeds says nothing about it."""
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _FSYNC_ERRORS


def _plain(error: BaseException) -> BaseException:
    """memd's error for one of SQLite's, anything else as it is."""
    if not isinstance(error, apsw.Error):
        return error
    ours: MemdError | None = translate(error)
    if ours is None:
        return error
    ours.__cause__ = error
    return ours
