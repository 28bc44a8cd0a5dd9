"""One index of one namespace and kind: how far it is, what it still has to take, and what of it is saved."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from time import monotonic

from memd import _core
from memd.adapters.index_files import IndexFiles
from memd.domain.errors import Corruption, NotReady
from memd.limits import MAX_INDEX_BACKLOG
from memd.ports import IndexChange, IndexRow, IndexSource

log = logging.getLogger(__name__)


class IndexSlot:
    """One Rust index and how far it is. Searches read it without a lock; whoever changes it holds the lock.

    There are two for each of many thousand small namespaces: what only a load needs goes with its end.
    """

    __slots__ = (
        "_backlog",
        "_core",
        "_deletions",
        "_dimensions",
        "_error",
        "_files",
        "_loaded_seq",
        "_loading",
        "_lock",
        "_may_be_saved",
        "_ready",
        "_rows",
        "_saved_at_s",
        "_seq",
        "_unsaved",
        "failed",
        "kind",
        "memory_bytes",
        "namespace",
        "retired",
    )

    def __init__(self, namespace: str, kind: str, dimensions: int, files: IndexFiles | None) -> None:
        self.namespace = namespace
        self.kind = kind
        self.failed = False
        self.retired = False
        """Out of use: it takes no more changes, so that it must not be saved any more."""
        self.memory_bytes = 0
        """When upkeep last looked."""
        self._dimensions = dimensions
        self._files = files
        self._lock = threading.Lock()
        self._loading: threading.Condition | None = threading.Condition(self._lock)
        """Told of what a load does, until it is over."""
        self._core = _core.NamespaceIndex(dimensions)
        self._seq = 0
        self._loaded_seq = 0
        self._rows = 0
        self._ready = False
        self._backlog: list[IndexChange] = []
        self._error: BaseException | None = None
        self._deletions = 0
        self._unsaved = 0
        self._saved_at_s = monotonic()
        self._may_be_saved = True
        """Whether there may be a file of it."""

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def unsaved(self) -> int:
        """Entries put or deleted since the file."""
        return self._unsaved

    def saved_ago_s(self) -> float:
        """Seconds since it was saved, or since there was nothing to save."""
        return monotonic() - self._saved_at_s

    def current(self) -> tuple[int, _core.NamespaceIndex]:
        """A change number the index surely includes, and the index."""
        seq = self._seq
        return seq, self._core

    def wait(self) -> None:
        """Until loaded. Corruption when it cannot be, NotReady when it has to start again."""
        self._wait_until(lambda: False)

    def wait_inline(self, rows: int) -> bool:
        """Until loaded, or (False) until more than ``rows`` rows were seen. Errors as ``wait``."""
        self._wait_until(lambda: self._rows > rows)
        return self._ready

    def _wait_until(self, enough: Callable[[], bool]) -> None:
        """Until the load is over or ``enough`` is there."""
        loading = self._loading
        if loading is not None:
            with loading:
                loading.wait_for(lambda: self._ready or self.failed or enough())
        if not self._ready:
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise Corruption("an index could not be loaded from its rows") from self._error
        if self.failed:
            raise NotReady("an index is being loaded again")

    # -- loading

    def load(self, source: IndexSource) -> None:
        """Blocking; on a loading thread. ``settle`` gets what it raises."""
        seq = self._from_file(source)
        if seq is None:
            seq, batches = source.load(self.namespace, self.kind)
            self._unsaved += self._fill(batches, seq)
        with self._lock:
            self._seq = self._loaded_seq = seq
            if self._backlog:
                self._take(self._backlog)
            self._backlog = []
            self._ready = not self.failed

    def _from_file(self, source: IndexSource) -> int | None:
        """The change number reached from the saved index and what changed since; None without one that can be used."""
        saved = self._files.load(self.namespace, self.kind) if self._files is not None else None
        if saved is None:
            return None
        changes = source.changed(self.namespace, self.kind, saved.seq, saved.mark)
        if changes is None:
            self.forget_file()
            return None
        self._core = saved.core
        if changes.removed:
            self._core.remove(changes.removed, changes.seq)
            self.forget_file()
        self._unsaved += len(changes.removed) + self._fill(changes.rows, changes.seq)
        return changes.seq

    def _fill(self, batches: Iterator[Sequence[IndexRow]], seq: int) -> int:
        filled = 0
        for rows in batches:
            self._core.upsert([_entry(row) for row in rows], seq)
            filled += len(rows)
            with self._lock:
                self._rows = filled
                self._notify()
        return filled

    def settle(self, loading: Future[None]) -> None:
        """The load is over, well or not: wake those who wait."""
        with self._lock:
            self._error = None if loading.cancelled() else loading.exception()
            self.failed = self.failed or not self._ready
            self._notify()
            self._loading = None

    def _notify(self) -> None:
        if self._loading is not None:
            self._loading.notify_all()

    # -- changes

    def offer(self, changes: Sequence[IndexChange]) -> bool:
        """Take the changes of one commit, or keep them until the load is done. False: the slot is broken."""
        with self._lock:
            if not self._ready:
                self._backlog.extend(changes)
                self.failed = len(self._backlog) > MAX_INDEX_BACKLOG
            else:
                try:
                    self._take(changes)
                except (ValueError, RuntimeError):
                    self.failed = True
            return not self.failed

    def _take(self, changes: Sequence[IndexChange]) -> None:
        """Only the last change under a number carries that number into the index: one that is saved between two of them
        must not claim to have both."""
        mine = [change for change in changes if change.kind == self.kind and change.seq > self._loaded_seq]
        for change, following in zip_longest(mine, mine[1:]):
            whole = following is None or following.seq != change.seq
            self._apply(change, change.seq if whole else change.seq - 1)
        self._seq = max(self._seq, *(change.seq for change in changes))

    def _apply(self, change: IndexChange, seq: int) -> None:
        if change.delete_all:
            self._core = _core.NamespaceIndex(self._dimensions)
        if change.delete:
            self._core.remove(change.delete, min(seq, change.seq - 1) if change.put else seq)
        if change.delete or change.delete_all:
            self._deletions += 1
            self.forget_file()
        if change.put:
            self._core.upsert([_entry(row) for row in change.put], seq)
        self._unsaved += len(change.put) + len(change.delete)

    # -- the file

    def save(self, source: IndexSource) -> None:
        """Blocking; by one thread at a time. What is deleted while it runs is not in the file: then there is none."""
        if self._files is None:
            return
        with self._lock:
            core, deletions, unsaved = self._core, self._deletions, self._unsaved
            seq = core.applied_seq
        try:
            mark = source.mark(self.namespace, seq)
            written = self._files.write(self.namespace, self.kind, core, seq, mark)
            with self._lock:
                if self.retired or deletions != self._deletions or core is not self._core:
                    self._files.discard(written)
                    return
                self._files.publish(written)
                self._may_be_saved = True
                self._unsaved -= unsaved
        except OSError as exc:
            log.warning("an index could not be saved and will be built from its rows: %s", exc.strerror)
        finally:
            self._saved_at_s = monotonic()

    def adopt(self, files: IndexFiles) -> None:
        """Where it is saved from now on."""
        with self._lock:
            self._files = files
            self._may_be_saved = True

    def retire(self) -> None:
        """Out of use: nothing of it is published from now on."""
        with self._lock:
            self.retired = True

    def forget_file(self) -> None:
        """Delete what is saved."""
        if self._files is not None and self._may_be_saved:
            self._files.remove(self.namespace, self.kind)
            self._may_be_saved = False


def _entry(row: IndexRow) -> _core.IndexEntry:
    return _core.IndexEntry(row.entry_id, row.version, row.text, row.embeddings, row.fields)
