"""Remember, and what follows from it for single memories: read, change, restore, all through the one visibility function.

A memory goes in with its embeddings, durable and found by the very next recall.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memd.domain import ids
from memd.domain.errors import InvalidArgument, LimitExceeded, NotFound, VersionConflict
from memd.domain.filters import And, Filter, matches
from memd.domain.model import Memory, NewMemory, Page, RememberedMemory, RequestKey, Scope, TierName, Written
from memd.domain.spoken import spoken
from memd.domain.visibility import fields_of, visible
from memd.limits import MAX_REVISIONS
from memd.ports import Clock, Embedder, MemoryChange, MemoryStore, SettingsStore
from memd.service.embedding import embedded
from memd.service.policy import PolicySource

_RESTORED = (
    "content",
    "metadata",
    "tags",
    "speaker",
    "event_time",
    "importance",
    "pinned",
    "valid_from",
    "valid_to",
    "expire_time",
    "superseded_by",
)
"""What a revision brings back; origin and links stay as they are. One from before the memory was superseded makes it what
it was: valid, and superseded by nothing."""


@dataclass(frozen=True, slots=True)
class Draft:
    """``memory`` as the caller wrote it: its id may be "", of its scope the session counts (provenance). ``ttl_us`` from
    now; None is the tier's ttl. ``expected_version``: as of NewMemory. ``embeddings``: of what is ``spoken``, where they were
    made since the fence; None: they are still to be made."""

    memory: Memory
    ttl_us: int | None = None
    expected_version: int | None = None
    embeddings: tuple[bytes, ...] | None = None


class RememberService:
    def __init__(
        self, memories: MemoryStore, embedder: Embedder, counts: SettingsStore, settings: PolicySource, clock: Clock
    ) -> None:
        self._memories = memories
        self._embedder = embedder
        self._counts = counts
        self._settings = settings
        self._clock = clock
        self._admission = asyncio.Lock()

    async def remember(
        self,
        scope: Scope,
        drafts: Sequence[Draft],
        *,
        agent_private: bool = False,
        writer: str,
        request: RequestKey | None = None,
        fence: int | None = None,
    ) -> Written[tuple[RememberedMemory, ...]]:
        """Upsert all or none. InvalidArgument names the draft; LimitExceeded when the namespace is full. ``fence``: the mark
        the caller took before it read what the drafts were made of.

        Every draft is embedded, also one that is stored already: whether it is can only be known inside the commit.
        """
        now_us = self._clock.now_us()
        owner = Scope(scope.namespace, scope.user_id, scope.agent_id if agent_private else "", scope.session_id)
        checked = [self._memory(owner, draft, index, writer, now_us) for index, draft in enumerate(drafts)]
        _refuse_repeats(checked)
        memories = await self._begun(checked, now_us)
        if fence is None:
            fence = await self._memories.fence(scope.namespace)
        embeddings = await self._embeddings(drafts, memories)
        new = [
            NewMemory(memory, windows, draft.expected_version)
            for memory, windows, draft in zip(memories, embeddings, drafts, strict=True)
        ]
        async with self._admitted(scope.namespace, memories):
            return await self._memories.remember(scope.namespace, new, fence=fence, writer=writer, request=request)

    async def _embeddings(self, drafts: Sequence[Draft], memories: Sequence[Memory]) -> list[tuple[bytes, ...]]:
        """Of each memory, the draft's own where it has some."""
        missing = [index for index, draft in enumerate(drafts) if draft.embeddings is None]
        texts = [spoken(memories[index].speaker, memories[index].content) for index in missing]
        made = iter(await embedded(self._embedder, texts, [f"memories[{index}].content" for index in missing]))
        return [draft.embeddings if draft.embeddings is not None else next(made) for draft in drafts]

    async def get(self, scope: Scope, memory_id: str, *, as_of_us: int | None = None) -> Memory:
        """NotFound also for what belongs to somebody else; what is superseded is found, with ``as_of_us`` only if it was
        valid then."""
        await self._memories.ready(scope.namespace)
        rows = await asyncio.to_thread(self._memories.fetch, scope.namespace, [memory_id])
        if not rows or not matches(self._visible(scope, as_of_us), fields_of(rows[0])):
            raise NotFound("no such memory")
        return rows[0]

    async def list(
        self,
        scope: Scope,
        where: Filter | None,
        *,
        as_of_us: int | None = None,
        include_invalid: bool = False,
        size: int,
        cursor: str = "",
    ) -> Page[Memory]:
        """Visible memories that match, newest first."""
        now_us = self._clock.now_us()
        at_us = now_us if as_of_us is None else as_of_us
        seen = visible(scope, at_us=at_us, now_us=now_us, include_invalid=include_invalid)
        both = seen if where is None else And((seen, where))
        return await self._memories.page(scope.namespace, both, size=size, cursor=cursor)

    async def revisions(self, scope: Scope, memory_id: str, *, size: int, cursor: str = "") -> Page[Memory]:
        await self.get(scope, memory_id)
        return await self._memories.revisions(scope.namespace, memory_id, size=size, cursor=cursor)

    async def update(
        self,
        scope: Scope,
        memory_id: str,
        values: Mapping[str, Any],
        *,
        expected_version: int = 0,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[Memory]:
        """Change the fields named in ``values``; content is embedded anew. VersionConflict unless ``expected_version``
        is 0 or current."""
        fence = await self._memories.fence(scope.namespace)
        return await self._update(
            scope, memory_id, values, expected_version, fence=fence, writer=writer, request=request
        )

    async def _update(
        self,
        scope: Scope,
        memory_id: str,
        values: Mapping[str, Any],
        expected_version: int,
        *,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[Memory]:
        if values.keys() & {"valid_from", "valid_to"}:
            check_validity(replace(await self.get(scope, memory_id), **values), "memory")
        for last in (False, False, True):
            embeddings, pinned_version = await self._embedded(scope, memory_id, values)
            try:
                return await self._memories.update(
                    scope.namespace,
                    memory_id,
                    self._visible(scope),
                    MemoryChange(dict(values), embeddings),
                    expected_version=expected_version or pinned_version,
                    fence=fence,
                    writer=writer,
                    request=request,
                )
            except VersionConflict:
                if expected_version or last:
                    raise  # the caller's own condition, or a memory that changes faster than it can be embedded
        raise AssertionError("the last attempt returns or raises")

    async def _embedded(
        self, scope: Scope, memory_id: str, values: Mapping[str, Any]
    ) -> tuple[tuple[bytes, ...] | None, int]:
        """The embeddings of the memory as ``values`` will leave it, and the version that was read for them; None and 0
        where they stay as they are."""
        if not values.keys() & {"content", "speaker"}:
            return None, 0
        current = await self.get(scope, memory_id)
        text = spoken(values.get("speaker", current.speaker), values.get("content", current.content))
        return (await embedded(self._embedder, [text], ["memory.content"]))[0], current.version

    async def restore(
        self,
        scope: Scope,
        memory_id: str,
        version: int,
        *,
        expected_version: int = 0,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[Memory]:
        """Make the state of ``version`` current again, as a new version. NotFound when it is no longer kept."""
        fence = await self._memories.fence(
            scope.namespace
        )  # before the old state is read: it may be forgotten on the way
        kept = await self.revisions(scope, memory_id, size=MAX_REVISIONS + 1)
        earlier = next((memory for memory in kept.items if memory.version == version), None)
        if earlier is None:
            raise NotFound("no such revision is kept")
        values = {name: getattr(earlier, name) for name in _RESTORED}
        return await self._update(
            scope, memory_id, values, expected_version, fence=fence, writer=writer, request=request
        )

    def _visible(self, scope: Scope, as_of_us: int | None = None) -> Filter:
        now_us = self._clock.now_us()
        return visible(
            scope, at_us=now_us if as_of_us is None else as_of_us, now_us=now_us, include_invalid=as_of_us is None
        )

    def _memory(self, owner: Scope, draft: Draft, index: int, writer: str, now_us: int) -> Memory:
        memory = draft.memory
        scope = replace(owner, session_id=memory.scope.session_id or owner.session_id)
        ttl_us = draft.ttl_us if draft.ttl_us is not None else self._settings.tier(TierName.SEMANTIC).ttl_us
        ready = replace(
            memory,
            memory_id=memory.memory_id or ids.memory_id(owner, memory.content),
            scope=scope,
            writer=writer,
            expire_time=memory.expire_time if ttl_us is None else now_us + ttl_us,
        )
        check_validity(ready, f"memories[{index}]")
        if ready.supersedes == ready.memory_id:
            raise InvalidArgument("a memory cannot supersede itself", field=f"memories[{index}].supersedes")
        return ready

    async def _begun(self, memories: Sequence[Memory], now_us: int) -> Sequence[Memory]:
        """What supersedes and does not say since when is valid since what it tells happened (a time to come is now), else
        from now on, or since it first said so: the old memory's validity ends there, and at no time are both valid."""
        unsaid = [memory for memory in memories if memory.supersedes and memory.valid_from is None]
        if not unsaid:
            return memories
        namespace = unsaid[0].scope.namespace
        await self._memories.ready(namespace)
        rows = await asyncio.to_thread(self._memories.fetch, namespace, [memory.memory_id for memory in unsaid])
        known = {(row.memory_id, row.supersedes): row.valid_from for row in rows}
        begun = {
            memory.memory_id: replace(
                memory, valid_from=known.get((memory.memory_id, memory.supersedes)) or _since(memory, now_us)
            )
            for memory in unsaid
        }
        ready = [begun.get(memory.memory_id, memory) for memory in memories]
        for index, memory in enumerate(ready):
            check_validity(memory, f"memories[{index}]")
        return ready

    @contextlib.asynccontextmanager
    async def _admitted(self, namespace: str, memories: Sequence[Memory]) -> AsyncIterator[None]:
        """Room in the tier for these memories until the block ends; one writer at a time where there is a bound."""
        most = self._settings.tier(TierName.SEMANTIC).max_items
        if not most:
            yield
            return
        async with self._admission:
            await self._memories.ready(namespace)
            asked = [memory.memory_id for memory in memories]
            stored = await asyncio.to_thread(self._memories.fetch, namespace, asked)
            counts = await self._counts.counts(namespace)
            if counts["memories"] + len(memories) - len(stored) > most:
                raise LimitExceeded(f"the namespace would hold more than {most:,} memories (tiers.semantic.max_items)")
            yield


def check_validity(memory: Memory, path: str) -> None:
    """Validity is [valid_from, valid_to): empty or reversed is InvalidArgument."""
    if memory.valid_from is not None and memory.valid_to is not None and memory.valid_from >= memory.valid_to:
        raise InvalidArgument("valid_from must be before valid_to", field=f"{path}.valid_to")


def _since(memory: Memory, now_us: int) -> int:
    return now_us if memory.event_time is None else min(memory.event_time, now_us)


def _refuse_repeats(memories: Sequence[Memory]) -> None:
    seen: dict[str, int] = {}
    for index, memory in enumerate(memories):
        first = seen.setdefault(memory.memory_id, index)
        if first != index:
            raise InvalidArgument(
                f"memories[{first}] and memories[{index}] are the same memory", field=f"memories[{index}]"
            )
