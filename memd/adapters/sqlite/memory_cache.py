"""Memories that were read lately, kept decoded: a Recall then reads no row of what its user asks about again and again.

What a commit changes or deletes leaves the cache before the reply, through the changes the index is fed with. A row that
was read before such a commit and comes after it is not taken in.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from memd.domain.model import Memory
from memd.limits import MEMORY_CACHE_BYTES, MEMORY_CACHE_ENTRIES
from memd.ports import IndexChange, IndexSink

_KIND = "memory"


class MemoryCache:
    """By namespace and id, least recently used out first. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memories: OrderedDict[tuple[str, str], Memory] = OrderedDict()
        self._bytes = 0
        self._generation = 0

    def fetch(
        self, namespace: str, memory_ids: Sequence[str], read: Callable[[Sequence[str]], Iterable[Memory]]
    ) -> list[Memory]:
        """The memories there are, in the order asked; ``read`` gets the ids that are not in the cache."""
        found: dict[str, Memory] = {}
        with self._lock:
            generation = self._generation
            for memory_id in memory_ids:
                memory = self._memories.get((namespace, memory_id))
                if memory is not None:
                    self._memories.move_to_end((namespace, memory_id))
                    found[memory_id] = memory
        missing = [memory_id for memory_id in memory_ids if memory_id not in found]
        if missing:
            fresh = {memory.memory_id: memory for memory in read(missing)}
            self._take_in(namespace, fresh.values(), generation)
            found.update(fresh)
        return [found[memory_id] for memory_id in memory_ids if memory_id in found]

    def feeding(self, sink: IndexSink) -> IndexSink:
        """``sink`` for a store whose rows these are."""

        def feed(changes: Sequence[IndexChange]) -> None:
            self._drop(changes)
            sink(changes)

        return feed

    def resetting(self, reset: Callable[[str], None]) -> Callable[[str], None]:
        """``reset`` for a store whose rows these are: all of a namespace is other rows from now on."""

        def forget(namespace: str) -> None:
            self._drop([IndexChange(namespace, _KIND, 0, delete_all=True)])
            reset(namespace)

        return forget

    def _take_in(self, namespace: str, memories: Iterable[Memory], generation: int) -> None:
        with self._lock:
            if generation != self._generation:
                return
            for memory in memories:
                self._remove((namespace, memory.memory_id))
                self._memories[namespace, memory.memory_id] = memory
                self._bytes += _size(memory)
            while len(self._memories) > MEMORY_CACHE_ENTRIES or self._bytes > MEMORY_CACHE_BYTES:
                self._bytes -= _size(self._memories.popitem(last=False)[1])

    def _drop(self, changes: Sequence[IndexChange]) -> None:
        with self._lock:
            for change in changes:
                if change.kind != _KIND:
                    continue
                self._generation += 1
                gone = [*change.delete, *(row.entry_id for row in change.put)]
                if change.delete_all:
                    gone = [memory_id for namespace, memory_id in self._memories if namespace == change.namespace]
                for memory_id in gone:
                    self._remove((change.namespace, memory_id))

    def _remove(self, key: tuple[str, str]) -> None:
        memory = self._memories.pop(key, None)
        if memory is not None:
            self._bytes -= _size(memory)


def _size(memory: Memory) -> int:
    """What may be long of it."""
    return len(memory.content) + sum(len(key) + len(str(value)) for key, value in memory.metadata.items())
