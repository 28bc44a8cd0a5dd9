"""The in-process index over all namespaces: Rust indexes filled from rows, kept in step by the commits of the store.

Each (namespace, kind) is a slot. A slot is registered before its snapshot is read, so that a commit is either in the
snapshot (its number is not above the snapshot's: dropped) or arrives through ``apply`` (queued until the load is done).
Slots are disposable: one that cannot take a change is dropped and loaded again when it is next asked for, and those unused
for longest leave when there are too many or they take too much memory.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from memd import _core
from memd.adapters.index_files import IndexFiles
from memd.adapters.index_scan import scan
from memd.adapters.index_slot import IndexSlot
from memd.adapters.index_upkeep import IndexUpkeep
from memd.domain.errors import InvalidArgument, NotReady
from memd.domain.filters import Filter, to_json
from memd.limits import (
    DEFAULT_INDEX_MEMORY_MB,
    INDEX_GIVE_BACK_SHARE,
    INDEX_LOAD_INLINE_ROWS,
    INDEX_LOAD_THREADS,
    MAX_NAMESPACES_LOADED,
    MEGABYTE,
)
from memd.ports import INDEX_KINDS, IndexAnswer, IndexChange, IndexHit, IndexSource, IndexState, SearchOptions

log = logging.getLogger(__name__)


class IndexFeed:
    """Implements ``ports.IndexSink``. The stores feed an index that reads from them, so it is opened after them: ``index``
    is set then; nothing that concerns an index is committed before."""

    index: RustNamespaceIndex | None = None
    beside: RustNamespaceIndex | None = None
    """The index of another model's embeddings, while it is made: what is put comes without embeddings, which are not of that
    model."""
    changed: Callable[[Iterable[str]], None] | None = None
    """Told the namespaces that changed, after the index."""

    def __call__(self, changes: Sequence[IndexChange]) -> None:
        if self.index is not None:
            self.index.apply(changes)
        beside = self.beside
        if beside is not None:
            beside.apply([replace(one, put=tuple(replace(row, embeddings=b"") for row in one.put)) for one in changes])
        if self.changed is not None:
            self.changed(change.namespace for change in changes)

    def reset(self, namespace: str) -> None:
        """The rows of the namespace were replaced as a whole."""
        for index in (self.index, self.beside):
            if index is not None:
                index.reset(namespace)
        if self.changed is not None:
            self.changed((namespace,))


class RustNamespaceIndex:
    """Implements ``ports.NamespaceIndex`` over the rows of ``source``; ``dimensions`` are those of the embeddings.

    ``files``: where indexes are saved; without it each start builds them anew. ``memory_bytes``: what all indexes may take
    together; the one in use stays, however large. ``threads``: how many build graphs behind the answers. At most
    MAX_NAMESPACES_LOADED namespaces stay in memory. Every method may be called from any thread. ``close`` ends the threads
    and saves.
    """

    def __init__(
        self,
        source: IndexSource,
        dimensions: int,
        *,
        files: IndexFiles | None = None,
        memory_bytes: int = DEFAULT_INDEX_MEMORY_MB * MEGABYTE,
        threads: int = 1,
        inline_rows: int = INDEX_LOAD_INLINE_ROWS,
    ) -> None:
        self._source = source
        self._dimensions = dimensions
        self._files = files
        self._memory_bytes = memory_bytes
        self._evicted_bytes = 0
        """Since free memory was last given back."""
        self._inline_rows = inline_rows
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[str, str], IndexSlot] = OrderedDict()
        self._loaders = ThreadPoolExecutor(INDEX_LOAD_THREADS, thread_name_prefix="memd-index-load")
        self._upkeep = IndexUpkeep(source, threads, self._evict)
        self._closed = False

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """InvalidArgument for what the index refuses, Corruption when the rows could not be loaded.

        While a namespace of more than ``inline_rows`` is being loaded, an exact scan answers, DEGRADED INDEX_LOADING.
        """
        return self.prepare(namespace, kind, query, where, options)(embedding)

    def prepare(
        self, namespace: str, kind: str, query: str, where: Filter, options: SearchOptions
    ) -> Callable[[bytes | None], IndexAnswer]:
        """``search`` in two halves, with the same errors and the same answer for a namespace that is being loaded."""
        slot = self._slot(namespace, kind)
        if not slot.wait_inline(self._inline_rows):
            return lambda embedding: scan(self._source.load(namespace, kind), embedding, where, options)
        _, core = slot.current()
        conditions, ranking, versions = to_json(where), _ranking(options), _versions(options)
        with self._told(slot):
            prepared = core.prepare(query, conditions, ranking, versions)

        def finish(embedding: bytes | None) -> IndexAnswer:
            seq, now = slot.current()
            if not len(now):
                return IndexAnswer((), nothing_relevant=True, seq=seq)
            with self._told(slot):
                if now is core:
                    result = core.finish(prepared, embedding)
                else:  # everything was deleted in between, and a new index begun
                    result = now.search(query, embedding, conditions, ranking, versions)
            return IndexAnswer(tuple([_hit(h) for h in result.hits]), result.nothing_relevant, seq)

        return finish

    @contextlib.contextmanager
    def _told(self, slot: IndexSlot) -> Iterator[None]:
        """The errors of the core as memd's; a broken index is dropped."""
        try:
            yield
        except ValueError as exc:
            raise InvalidArgument("the search was refused by the index") from exc
        except RuntimeError as exc:
            self._drop(slot)
            raise NotReady("an index broke and is being loaded again") from exc

    def state(self, namespace: str, kind: str) -> IndexState:
        slot = self._slot(namespace, kind)
        slot.wait()
        seq, core = slot.current()
        return IndexState(core.versions(), seq, core.memory_bytes)

    def apply(self, changes: Sequence[IndexChange]) -> None:
        """Cheap for namespaces that are not loaded; never raises. Called in commit order, by one thread at a time.

        A new namespace is in memory from its first commit on: who writes into it is about to ask.
        """
        offers: dict[IndexSlot, list[IndexChange]] = {}
        erased: list[tuple[str, str]] = []
        new: set[tuple[str, str]] = set()
        with self._lock:
            for change in changes:
                for kind in INDEX_KINDS:
                    slot = self._slots.get((change.namespace, kind))
                    if slot is not None:
                        offers.setdefault(slot, []).append(change)
                    elif change.seq == 1:
                        new.add((change.namespace, kind))
                    elif kind == change.kind and (change.delete or change.delete_all):
                        erased.append((change.namespace, kind))
        for slot, offered in offers.items():
            if not slot.offer(offered):
                self._drop(slot)
            elif any(change.kind == slot.kind for change in offered):
                self._upkeep.note(slot)
        for namespace, kind in erased:
            if self._files is not None:
                self._files.remove(namespace, kind)
        for namespace, kind in new if not self._closed else ():
            self._slot(namespace, kind)

    def reset(self, namespace: str) -> None:
        """Throw away what is held of the namespace, files too; the next search loads its rows."""
        with self._lock:
            slots = [slot for kind in INDEX_KINDS if (slot := self._slots.pop((namespace, kind), None)) is not None]
        for slot in slots:
            slot.retire()
            self._upkeep.dropped(slot)
        if self._files is not None:
            for kind in INDEX_KINDS:
                self._files.remove(namespace, kind)

    def begin(self, namespace: str, kind: str) -> bool:
        """Load it where it is not loaded; whether it is."""
        return self._slot(namespace, kind).ready

    def release(self, namespace: str, kind: str) -> None:
        """Let go of one index, files too: it is searched elsewhere. It is loaded again when it is asked for."""
        with self._lock:
            slot = self._slots.pop((namespace, kind), None)
        if slot is None:
            return
        slot.retire()
        self._upkeep.dropped(slot)
        if self._files is not None:
            self._files.remove(namespace, kind)

    def namespaces(self) -> list[str]:
        """Those in memory, the one used last first."""
        with self._lock:
            return list(dict.fromkeys(namespace for namespace, _ in reversed(self._slots)))

    def adopt(self, files: IndexFiles) -> None:
        """Save there from now on; nothing of this index is there yet."""
        with self._lock:
            self._files = files
            slots = list(self._slots.values())
        for slot in slots:
            slot.adopt(files)
            self._upkeep.note(slot)

    def discard(self) -> None:
        """Blocking: close without saving, and delete what is saved. Nothing may search any more."""
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            slot.retire()
            self._upkeep.dropped(slot)
        self.close()
        if self._files is not None:
            self._files.remove_all()

    def loaded(self) -> int:
        with self._lock:
            return len({namespace for namespace, _ in self._slots})

    def reconcile(self, namespaces: Iterable[str]) -> None:
        """Blocking; once at start, with all namespaces there are: delete saved indexes that hold what was deleted."""
        if self._files is not None:
            self._files.reconcile(namespaces, self._source.erased_since)

    def preload(self, namespaces: Iterable[str]) -> int:
        """Blocking: load these namespaces one after the other, as many as may be loaded; how many were."""
        done = 0
        for namespace in namespaces:
            if done >= MAX_NAMESPACES_LOADED or self._memory() > self._memory_bytes:
                break
            for kind in INDEX_KINDS:
                self._slot(namespace, kind).wait()
            done += 1
        return done

    def close(self) -> None:
        self._closed = True
        self._loaders.shutdown(wait=True, cancel_futures=True)
        self._upkeep.close()

    def _slot(self, namespace: str, kind: str) -> IndexSlot:
        """The slot, marked as used just now; registered and loading when it was not there."""
        key = (namespace, kind)
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and not slot.failed:
                self._slots.move_to_end(key)
                return slot
            slot = self._slots[key] = IndexSlot(namespace, kind, self._dimensions, self._files)
            while len(self._slots) > MAX_NAMESPACES_LOADED * len(INDEX_KINDS):
                self._upkeep.dropped(self._slots.popitem(last=False)[1])
        try:
            loading = self._loaders.submit(slot.load, self._source)
        except RuntimeError as exc:  # closed
            raise NotReady("the index is not in use any more") from exc
        loading.add_done_callback(slot.settle)
        loading.add_done_callback(lambda _: self._upkeep.note(slot))
        return slot

    def _drop(self, slot: IndexSlot) -> None:
        log.error("an index of kind %s broke; it will be loaded again", slot.kind)
        self._upkeep.dropped(slot)
        slot.forget_file()
        with self._lock:
            for key in [key for key, have in self._slots.items() if have is slot]:
                del self._slots[key]

    def _memory(self) -> int:
        with self._lock:
            return sum(slot.memory_bytes for slot in self._slots.values())

    def _evict(self) -> None:
        """Let go of what is too much, and of its memory; called by upkeep."""
        self._evict_unused()
        if self._evicted_bytes > self._memory_bytes * INDEX_GIVE_BACK_SHARE:
            self._evicted_bytes = 0
            _core.give_back_memory()

    def _evict_unused(self) -> None:
        """Save and let go of what was unused for longest until the rest fits."""
        with self._lock:
            excess = sum(slot.memory_bytes for slot in self._slots.values()) - self._memory_bytes
            unused = [(key, slot) for key, slot in list(self._slots.items())[:-1] if slot.ready]
        for key, slot in unused:
            if excess <= 0:
                return
            # While it still takes changes: what is deleted meanwhile takes the file along.
            self._upkeep.save_if_worth(slot)
            with self._lock:
                if self._slots.get(key) is slot:
                    del self._slots[key]
            self._upkeep.dropped(slot)
            excess -= slot.memory_bytes
            self._evicted_bytes += slot.memory_bytes


def answered(
    core: _core.NamespaceIndex, query: str, embedding: bytes | None, where: Filter, options: SearchOptions, seq: int
) -> IndexAnswer:
    """What ``core``, at change number ``seq``, finds. InvalidArgument for what it refuses, RuntimeError when it is broken."""
    if not len(core):
        return IndexAnswer((), nothing_relevant=True, seq=seq)
    try:
        result = core.search(query, embedding, to_json(where), _ranking(options), _versions(options))
    except ValueError as exc:
        raise InvalidArgument("the search was refused by the index") from exc
    return IndexAnswer(tuple([_hit(h) for h in result.hits]), result.nothing_relevant, seq)


def _ranking(options: SearchOptions) -> _core.RankingOptions:
    return _core.RankingOptions(
        limit=options.limit,
        candidates=options.candidates,
        vector_weight=options.vector_weight,
        trim_ratio=options.trim_ratio,
        nothing_cosine=options.nothing_below,
        min_relevance=options.min_relevance,
        cues=options.cues,
        now_us=options.now_us,
    )


def _versions(options: SearchOptions) -> bytes | None:
    return None if options.versions is None else to_json(options.versions)


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
