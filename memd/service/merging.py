"""The merge job: of two memories that say the same in the same words, the newer supersedes the older.

Nothing is deleted: the older one keeps its content, its links and its revisions, is found as of its time, and is valid again
once its earlier state is restored. A memory is looked at once after it was stored; what a start forgets of that is looked at
again. Candidates come by their words; both rows are compared word for word, then by their embeddings.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from memd.domain.errors import Forgotten, LimitExceeded, ModelUnavailable, NotFound, VersionConflict
from memd.domain.filters import And, Compare, Not
from memd.domain.model import Memory
from memd.domain.restatement import may_be_merged, restates, unmarked
from memd.domain.visibility import EVERYTHING, visible
from memd.limits import (
    MERGE_AFTER_US,
    MERGE_CANDIDATES,
    MERGE_COSINE,
    MERGE_NAMESPACES,
    MERGE_ROWS,
    MERGE_SAMPLE,
)
from memd.ports import Clock, Embedder, Leases, MemoryChange, MemoryStore, NamespaceIndex, SearchOptions
from memd.service.digests import WRITER
from memd.service.jobs import Ran
from memd.service.leases import HeldLeases

JOB = "merge"


@dataclass(slots=True)
class _Walk:
    """Through a namespace, from the newest memory down to ``done``, the create_time up to which all were looked at."""

    done: int = 0
    newest: int = 0
    cursor: str = ""


class NearDuplicates:
    """``namespaces`` lists those that are at hand."""

    def __init__(
        self,
        memories: MemoryStore,
        index: NamespaceIndex,
        embedder: Embedder,
        namespaces: Callable[[], Awaitable[Sequence[str]]],
        leases: Leases,
        clock: Clock,
        holder: str,
    ) -> None:
        self._memories = memories
        self._index = index
        self._embedder = embedder
        self._namespaces = namespaces
        self._clock = clock
        self._leases = HeldLeases(leases, clock, holder)
        self._walks: dict[str, _Walk] = {}
        self._after = ""

    async def run_once(self) -> Ran:
        """A page of each of at most MERGE_NAMESPACES namespaces, going round. ``changed``: memories that were superseded."""
        merged = 0
        for namespace in await self._turn():
            self._after = namespace  # those behind it come first, should this one fail
            if await self._leases.held(namespace, JOB):
                merged += await self._step(namespace)
        return Ran(merged, merged)

    async def due(self, namespace: str) -> Ran:
        """What the next page of a namespace would merge: as ``ids`` "older newer", at most MERGE_SAMPLE pairs."""
        page, _ = await self._page(namespace, self._walks.get(namespace, _Walk()))
        pairs = await self._pairs(namespace, page)
        ids = tuple(f"{older.memory_id} {newer.memory_id}" for older, newer in pairs[:MERGE_SAMPLE])
        return Ran(len(pairs), 0, ids)

    async def _turn(self) -> list[str]:
        known = sorted(await self._namespaces())
        self._walks = {namespace: self._walks.get(namespace, _Walk()) for namespace in known}
        behind = [namespace for namespace in known if namespace > self._after]
        return [*behind, *known[: len(known) - len(behind)]][:MERGE_NAMESPACES]

    async def _step(self, namespace: str) -> int:
        walk = self._walks[namespace]
        fence = await self._memories.fence(namespace)
        page, cursor = await self._page(namespace, walk)
        try:
            pairs = await self._pairs(namespace, page)
        except (ModelUnavailable, LimitExceeded):
            return 0  # no model, or it has no time: the page is looked at again
        merged = await self._merge_all(namespace, pairs, fence)
        walk.newest = max([walk.newest, *(memory.create_time for memory in page)])
        walk.cursor = cursor
        if not cursor:
            walk.done, walk.newest = max(walk.done, walk.newest), 0
        return merged

    async def _page(self, namespace: str, walk: _Walk) -> tuple[list[Memory], str]:
        """The next memories of the walk, and where it goes on; "" at its end."""
        settled = Not(Compare("gt", "create_time", self._clock.now_us() - MERGE_AFTER_US))
        where = And((settled, Not(Compare("eq", "source", "digest"))))
        page = await self._memories.page(namespace, where, size=MERGE_ROWS, cursor=walk.cursor)
        new = [memory for memory in page.items if memory.create_time > walk.done]
        return new, page.next_cursor if len(new) == len(page.items) else ""

    async def _pairs(self, namespace: str, page: Sequence[Memory]) -> list[tuple[Memory, Memory]]:
        """(older, newer), each older one once, with the newest that says the same."""
        found: dict[str, tuple[Memory, Memory]] = {}
        for memory in page:
            if not may_be_merged(memory):
                continue
            alike = await asyncio.to_thread(self._alike, namespace, memory)
            if alike:
                *older, newest = sorted([memory, *alike], key=lambda one: (one.create_time, one.memory_id))
                found.update({one.memory_id: (one, newest) for one in older})
        return [(older, newer) for older, newer in found.values() if await self._near(older, newer)]

    def _alike(self, namespace: str, memory: Memory) -> list[Memory]:
        """Blocking. Other memories of the same owner with the same words."""
        now_us = self._clock.now_us()
        where = visible(memory.scope, at_us=now_us, now_us=now_us)
        options = SearchOptions(limit=MERGE_CANDIDATES, trim_ratio=0.0)
        hits = self._index.search(namespace, "memory", memory.content, None, where, options).hits
        rows = self._memories.fetch(namespace, [hit.entry_id for hit in hits])
        return [row for row in rows if restates(memory, row, WRITER)]

    async def _near(self, older: Memory, newer: Memory) -> bool:
        one, other = await self._embedder.memories([unmarked(older.content), unmarked(newer.content)])
        return len(one) == len(other) and all(
            sum(x * y for x, y in zip(array("f", a), array("f", b), strict=True)) >= MERGE_COSINE
            for a, b in zip(one, other, strict=True)
        )

    async def _merge_all(self, namespace: str, pairs: Sequence[tuple[Memory, Memory]], fence: int) -> int:
        """Passed over is what was changed or forgotten meanwhile. A newer memory names the first that it supersedes, if it
        did not name one itself; each older one names the newer."""
        merged, linked = 0, set[str]()
        for older, newer in pairs:
            try:
                if not newer.supersedes and newer.memory_id not in linked:
                    await self._update(namespace, newer, {"supersedes": older.memory_id}, fence)
                    linked.add(newer.memory_id)
                over = {"valid_to": self._clock.now_us(), "superseded_by": newer.memory_id}
                await self._update(namespace, older, over, fence)
            except (Forgotten, NotFound, VersionConflict):
                continue
            merged += 1
        return merged

    async def _update(self, namespace: str, memory: Memory, values: dict[str, object], fence: int) -> None:
        await self._memories.update(
            namespace,
            memory.memory_id,
            EVERYTHING,
            MemoryChange(values),
            expected_version=memory.version,
            fence=fence,
            writer=WRITER,
            request=None,
        )
