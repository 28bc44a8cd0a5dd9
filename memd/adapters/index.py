"""The in-process index over all namespaces: Rust indexes filled from rows, kept in step by the commits of the store.

Each (namespace, kind) is a slot. A slot is registered before its snapshot is read, so that a commit is either in the
snapshot (its number is not above the snapshot's: dropped) or arrives through ``apply`` (queued until the load is done).
Slots are disposable: one that cannot take a change is dropped and loaded again when it is next asked for.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from memd import _core
from memd.adapters.index_scan import scan
from memd.domain.errors import Corruption, InvalidArgument, NotReady
from memd.domain.filters import Filter, to_json
from memd.limits import INDEX_LOAD_INLINE_ROWS, INDEX_LOAD_THREADS, MAX_INDEX_BACKLOG, MAX_NAMESPACES_LOADED
from memd.ports import IndexAnswer, IndexChange, IndexHit, IndexRow, IndexState, SearchOptions

KINDS = ("memory", "procedure")
Load: TypeAlias = Callable[[str, str], tuple[int, Iterator[Sequence[IndexRow]]]]
log = logging.getLogger(__name__)


class RustNamespaceIndex:
    """Implements ``ports.NamespaceIndex``. ``load`` is ``MemoryStore.load``; ``dimensions`` those of the embeddings.

    At most MAX_NAMESPACES_LOADED namespaces stay in memory. Every method may be called from any thread. ``close`` ends
    the loading threads.
    """

    def __init__(self, load: Load, dimensions: int, *, inline_rows: int = INDEX_LOAD_INLINE_ROWS) -> None:
        self._load = load
        self._dimensions = dimensions
        self._inline_rows = inline_rows
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[str, str], _Slot] = OrderedDict()
        self._loaders = ThreadPoolExecutor(INDEX_LOAD_THREADS, thread_name_prefix="memd-index-load")

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """InvalidArgument for what the index refuses, Corruption when the rows could not be loaded.

        While a namespace of more than ``inline_rows`` is being loaded, an exact scan answers, DEGRADED INDEX_LOADING.
        """
        slot = self._slot(namespace, kind)
        if not slot.wait_inline(self._inline_rows):
            return scan(self._load(namespace, kind), embedding, where, options)
        seq, core = slot.current()
        if not len(core):
            return IndexAnswer((), nothing_relevant=True, seq=seq)
        try:
            result = core.search(query, embedding, to_json(where), _ranking(options))
        except ValueError as exc:
            raise InvalidArgument("the search was refused by the index") from exc
        except RuntimeError as exc:
            self._drop(slot)
            raise NotReady("an index broke and is being loaded again") from exc
        return IndexAnswer(tuple([_hit(h) for h in result.hits]), result.nothing_relevant, seq)

    def state(self, namespace: str, kind: str) -> IndexState:
        slot = self._slot(namespace, kind)
        slot.wait()
        seq, core = slot.current()
        return IndexState(core.versions(), seq, core.memory_bytes)

    def apply(self, changes: Sequence[IndexChange]) -> None:
        """Cheap for namespaces that are not loaded; never raises. Called in commit order, by one thread at a time."""
        with self._lock:
            offers = [(self._slots.get((change.namespace, kind)), change) for change in changes for kind in KINDS]
        for slot, change in offers:
            if slot is not None and not slot.offer(change):
                self._drop(slot)

    def loaded(self) -> int:
        with self._lock:
            return len({namespace for namespace, _ in self._slots})

    def preload(self, namespaces: Iterable[str]) -> int:
        """Blocking: load these namespaces one after the other, as many as may be loaded; how many were."""
        done = 0
        for namespace in namespaces:
            if done >= MAX_NAMESPACES_LOADED:
                break
            for kind in KINDS:
                self._slot(namespace, kind).wait()
            done += 1
        return done

    def close(self) -> None:
        self._loaders.shutdown(wait=True, cancel_futures=True)

    def _slot(self, namespace: str, kind: str) -> _Slot:
        """The slot, marked as used just now; registered and loading when it was not there."""
        key = (namespace, kind)
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and not slot.failed:
                self._slots.move_to_end(key)
                return slot
            slot = self._slots[key] = _Slot(kind, self._dimensions)
            while len(self._slots) > MAX_NAMESPACES_LOADED * len(KINDS):
                self._slots.popitem(last=False)
        self._loaders.submit(slot.load, lambda: self._load(namespace, kind)).add_done_callback(slot.settle)
        return slot

    def _drop(self, slot: _Slot) -> None:
        log.error("an index of kind %s broke; it will be loaded again", slot.kind)
        with self._lock:
            for key in [key for key, have in self._slots.items() if have is slot]:
                del self._slots[key]


class _Slot:
    """One Rust index and how far it is. Searches read it without a lock; whoever changes it holds the condition."""

    def __init__(self, kind: str, dimensions: int) -> None:
        self.kind = kind
        self.failed = False
        self._dimensions = dimensions
        self._changed = threading.Condition()
        self._core = _core.NamespaceIndex(dimensions)
        self._seq = 0
        self._snapshot_seq = 0
        self._rows = 0
        self._ready = False
        self._backlog: list[IndexChange] = []
        self._error: BaseException | None = None

    def current(self) -> tuple[int, _core.NamespaceIndex]:
        """A change number the index surely includes, and the index."""
        seq = self._seq
        return seq, self._core

    def wait(self) -> None:
        """Until loaded. Corruption when it cannot be, NotReady when it has to start again."""
        if not self._ready:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self.failed)
            self._check()

    def wait_inline(self, rows: int) -> bool:
        """Until loaded, or (False) until more than ``rows`` rows were seen. Errors as ``wait``."""
        if not self._ready:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self.failed or self._rows > rows)
            self._check()
        return self._ready

    def _check(self) -> None:
        if self._error is not None:
            raise Corruption("an index could not be loaded from its rows") from self._error
        if self.failed:
            raise NotReady("an index is being loaded again")

    def load(self, open_rows: Callable[[], tuple[int, Iterator[Sequence[IndexRow]]]]) -> None:
        """Blocking; on a loading thread. ``settle`` gets what it raises."""
        seq, batches = open_rows()
        for rows in batches:
            self._core.upsert([_entry(row) for row in rows], seq)
            with self._changed:
                self._rows += len(rows)
                self._changed.notify_all()
        with self._changed:
            self._seq = self._snapshot_seq = seq
            for change in self._backlog:
                self._take(change)
            self._backlog.clear()
            self._ready = not self.failed

    def settle(self, loading: Future[None]) -> None:
        """The load is over, well or not: wake those who wait."""
        with self._changed:
            self._error = None if loading.cancelled() else loading.exception()
            self.failed = self.failed or not self._ready
            self._changed.notify_all()

    def offer(self, change: IndexChange) -> bool:
        """Take one commit, or keep it until the load is done. False: the slot is broken and must be dropped."""
        with self._changed:
            if not self._ready:
                self._backlog.append(change)
                self.failed = len(self._backlog) > MAX_INDEX_BACKLOG
            else:
                try:
                    self._take(change)
                except (ValueError, RuntimeError):
                    self.failed = True
            return not self.failed

    def _take(self, change: IndexChange) -> None:
        if change.kind == self.kind and change.seq > self._snapshot_seq:
            if change.delete_all:
                self._core = _core.NamespaceIndex(self._dimensions)
            if change.delete:
                self._core.remove(change.delete, change.seq)
            if change.put:
                self._core.upsert([_entry(row) for row in change.put], change.seq)
        self._seq = max(self._seq, change.seq)


def _entry(row: IndexRow) -> _core.IndexEntry:
    return _core.IndexEntry(row.entry_id, row.version, row.text, row.embeddings, row.fields)


def _ranking(options: SearchOptions) -> _core.RankingOptions:
    nothing = {} if options.nothing_below is None else {"nothing_cosine": options.nothing_below}
    return _core.RankingOptions(
        limit=options.limit,
        candidates=options.candidates,
        vector_weight=options.vector_weight,
        trim_ratio=options.trim_ratio,
        min_relevance=options.min_relevance,
        cues=options.cues,
        now_us=options.now_us,
        **nothing,
    )


def _hit(hit: _core.Hit) -> IndexHit:
    return IndexHit(
        hit.memory_id,
        hit.version,
        hit.score,
        hit.relevance,
        hit.bm25,
        hit.vector_part,
        hit.word_part,
        hit.matched_terms,
        hit.cues,
    )
