"""What a session leaves behind: a digest, and its important episodes as memories; made while it lives.

Each step: fence, then the Forgets that are on their way, then the episodes, then Remember under that fence, then the mark.
So nothing that was forgotten is made again: a Forget before the fence is pending or has taken the episodes, one after it
refuses the Remember. What a crash cuts off is done again and comes to the same ids.

In a fleet a namespace's job is one daemon's at a time, by a lease. One that was paused for longer than that does no harm:
a digest says up to which position it tells the session and replaces only the version it was made from, an event's memory is
stored only where there is none, a mark moves only from where it was read.

Where a model is configured, a step only hands sessions to the ``DigestQueue``; ``ask_model`` works on them beside the steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from memd.domain import ids
from memd.domain.errors import (
    Forgotten,
    InvalidArgument,
    LimitExceeded,
    MemdError,
    ModelUnavailable,
    Unavailable,
    VersionConflict,
)
from memd.domain.filters import And, Compare, Filter, Not
from memd.domain.model import Event, Memory, Scope, SourceKind
from memd.domain.relations import compared
from memd.domain.visibility import visible
from memd.limits import (
    CONSOLIDATE_COUNTED,
    CONSOLIDATE_COUNTS,
    CONSOLIDATE_DRAIN_STEPS,
    CONSOLIDATE_EVENTS,
    CONSOLIDATE_SESSIONS,
    DIGEST_EVENTS,
    DIGEST_IDLE_US,
    DIGEST_INTERVAL_S,
    NEAR_DUPLICATE_COSINE,
    SECOND_US,
)
from memd.ports import (
    Clock,
    Embedder,
    EventRevision,
    IndexAnswer,
    Leases,
    Mark,
    MarkedPage,
    MarkedSession,
    MemoryStore,
    NamespaceIndex,
    PendingForget,
    SearchOptions,
    SessionMarks,
    SessionStore,
    Summarizer,
)
from memd.service.digests import DigestMaker, reached, stored
from memd.service.leases import HeldLeases
from memd.service.remember import RememberService

logger = logging.getLogger(__name__)

PROMOTED_IMPORTANCE = 0.7
_MARKS = frozenset({"explicit_mark"})
_PROMOTE, _DIGEST = "promote", "digest"
_EXPIRES_US = int(DIGEST_INTERVAL_S * 4 * SECOND_US)
"""A session that ends by itself within this time gets its digest before."""
_TELLING = re.compile(r"\w*\d\w*")
_Step: TypeAlias = Callable[[MarkedSession, int], Awaitable[int]]


class Consolidator:
    """``promote_once`` and ``digest_once`` each do one bounded step and say how many sessions were gone on in; with a model
    ``ask_model`` is to be run as well."""

    def __init__(
        self,
        marks: SessionMarks,
        memories: MemoryStore,
        remember: RememberService,
        index: NamespaceIndex,
        embedder: Embedder,
        summarizer: Summarizer,
        leases: Leases,
        clock: Clock,
        holder: str,
        sessions: SessionStore | None = None,
        settled: Callable[[Scope], bool] = lambda scope: True,
        model: Summarizer | None = None,
    ) -> None:
        """``sessions``: where events are told whether they were new. ``settled``: whether all is known of a session's events
        that makes some worth remembering. ``model``: what makes digests where ``summarizer`` need not, slow as it may be."""
        self._marks = marks
        self._memories = memories
        self._remember = remember
        self._index = index
        self._embedder = embedder
        self._clock = clock
        self._sessions = sessions
        self._settled = settled
        self._leases = HeldLeases(leases, clock, holder)
        self.digests = DigestMaker(marks, memories, remember, summarizer, model, clock)
        self._after = {_PROMOTE: "", _DIGEST: ""}
        self._more = {_PROMOTE: False, _DIGEST: False}
        self._turns = {_PROMOTE: asyncio.Lock(), _DIGEST: asyncio.Lock()}
        """Of one job a step at a time: the drain comes beside the regular ones."""

    async def promote_once(self) -> int:
        """Important and marked events become memories."""
        return await self._round(_PROMOTE)

    async def digest_once(self) -> int:
        """Sessions that went on, rested, ended or expire get their digest; of the model's those are counted that came since
        the last step."""
        return await self._round(_DIGEST) + self.digests.queue.finished()

    async def ask_model(self) -> None:
        """The digest of one session that waits for the model, once there is one. Run it again and again, several at once."""
        session, in_time = await self.digests.queue.next()
        step = self.digests.ask_model if in_time else self.digests.extract
        marked = 0
        try:
            attempt = partial(self._attempt, _DIGEST, step, session)
            position = await self._leases.during(session.scope.namespace, _DIGEST, attempt)
            if position is not None:
                marked = await self._mark(_DIGEST, [Mark(session, position)])
        finally:
            self.digests.queue.done(session, marked)

    async def due(self, job: str) -> MarkedPage:
        """Whose turn it is in the next step of "promote" or "digest"."""
        return await self._page(job, CONSOLIDATE_SESSIONS, self._after[job])

    def more(self, job: str) -> bool:
        """Whether the last step went on in some sessions and left others."""
        return self._more[job]

    async def waiting(self, job: str) -> int:
        """How many sessions are to be gone on in, counted up to a bound."""
        after, count = "", 0
        for _ in range(CONSOLIDATE_COUNTS):
            page = await self._page(job, CONSOLIDATE_COUNTED, after)
            after, count = page.after, count + len(page.sessions)
            if not after:
                break
        return count

    async def _page(self, job: str, limit: int, after: str) -> MarkedPage:
        if job == _PROMOTE:
            return await self._marks.unpromoted(limit, after)
        return await self._marks.undigested(
            limit, events=DIGEST_EVENTS, idle_us=DIGEST_IDLE_US, expires_us=_EXPIRES_US, after=after
        )

    async def drain_expired(self) -> int:
        """Promote and digest what has expired until nothing more can be done, in CONSOLIDATE_DRAIN_STEPS steps at most; how
        many sessions were gone on in. Run it before a sweep: expired sessions may have come of time in which nothing ran. The
        sweep waits for no model: these digests are extracts, but for those that a model is asked for already."""
        after, total = "", 0
        for _ in range(CONSOLIDATE_DRAIN_STEPS):
            page = await self._marks.expired(CONSOLIDATE_SESSIONS, after)
            done = await self._turn(_PROMOTE, [one for one in page.sessions if one.promoted < one.last_position])
            done += await self._turn(_DIGEST, [one for one in page.sessions if one.digested < one.last_position])
            total += done
            if not done and not page.after:
                break
            if not done:
                after = page.after
        return total

    async def close(self) -> None:
        """Give the leases back, so that the next daemon need not wait for their end."""
        await self._leases.release()

    async def _round(self, job: str) -> int:
        """One step of each session of a page, in its order, going round. After an error of the program the next round begins
        behind the session that had it."""
        page = await self.due(job)
        if self._after[job] and not page.sessions and not page.after:
            self._after[job] = ""  # the page before was full and the last one: it is not the end of the work
            page = await self.due(job)
        done = await self._turn(job, page.sessions, ask=job == _DIGEST and self.digests.has_model)
        self._after[job] = page.after
        self._more[job] = bool(page.after and done)
        return done

    async def _turn(self, job: str, sessions: Sequence[MarkedSession], *, ask: bool = False) -> int:
        """One step of each; what was done is marked, whatever happens to the others. ``ask`` the model,
        as far as it goes."""
        if not sessions:
            return 0
        async with self._turns[job]:
            done: list[Mark] = []
            try:
                await self._steps(job, sessions, done, ask)
            finally:
                marked = await self._mark(job, done)
        return marked

    async def _steps(self, job: str, sessions: Sequence[MarkedSession], done: list[Mark], ask: bool) -> None:
        step = self._promote if job == _PROMOTE else self.digests.extract
        for session in sessions:
            if job == _DIGEST and self.digests.queue.has(session):
                continue
            if not await self._leases.held(session.scope.namespace, job):
                continue  # another daemon is at it
            self._after[job] = session.key  # by a drain too: those before it come a round later
            if ask and self.digests.queue.takes(session):
                continue
            position = await self._attempt(job, step, session)
            if position is not None:
                done.append(Mark(session, position))

    async def _mark(self, job: str, done: Sequence[Mark]) -> int:
        if not done:
            return 0
        if job == _PROMOTE:
            return await self._marks.mark(promoted=done)
        return await self._marks.mark(digested=done)

    async def _attempt(self, job: str, step: _Step, session: MarkedSession) -> int | None:
        """The position it came to; None when it has to be tried again. Unavailable when the store is."""
        if job == _PROMOTE and not self._settled(session.scope):
            return None
        await self._memories.ready(session.scope.namespace)
        fence = await self._memories.fence(session.scope.namespace)
        if any(_covers(pending, session.scope) for pending in await self._memories.pending_forgets()):
            return None
        try:
            return await step(session, fence)
        except (Forgotten, LimitExceeded, ModelUnavailable, VersionConflict):
            return None  # forgotten meanwhile, all is full, no model, another daemon was first: it stays unmarked
        except Unavailable:
            raise  # it would be the same for all of them
        except MemdError as exc:
            logger.warning("a session waits to be consolidated: %s", exc.message, extra={"fields": {"job": job}})
            return None

    async def _promote(self, session: MarkedSession, fence: int) -> int:
        events = await self._marks.since(session, session.promoted, CONSOLIDATE_EVENTS)
        worth = [event for event in events if worth_remembering(event)]
        revisions = [EventRevision(event, await self._remember_event(session, event, fence)) for event in worth]
        revisions = [revision for revision in revisions if revision.was != revision.becomes]
        if revisions and self._sessions is not None:
            await self._sessions.revise(session.scope, revisions)
        return reached(session, events)

    async def _remember_event(self, session: MarkedSession, event: Event, fence: int) -> Event:
        """The event with its novelty, as far as it was compared."""
        memory_id = ids.promoted_id(session.scope, session.create_time, event.event_id)
        if await asyncio.to_thread(self._memories.fetch, session.scope.namespace, [memory_id]):
            return event  # done before a crash, and perhaps corrected by the user since
        try:
            windows = tuple((await self._embedder.memories([event.content]))[0])
        except InvalidArgument:
            return event  # more text than a memory may have: it is told by the digest
        relevance, known = await self._known(session.scope, event, windows)
        event = compared(event, relevance)
        if known is not None and known.content == event.content:
            return event
        memory = Memory(
            memory_id=memory_id,
            scope=session.scope,
            content=event.content,
            source=SourceKind.USER if event.role == "user" else SourceKind.AGENT,
            event_time=event.event_time,
            position=event.position,
            importance=event.importance,
            supersedes=known.memory_id if known is not None else "",
            event_ids=(event.event_id,),
        )
        with contextlib.suppress(VersionConflict):  # another daemon was first
            await stored(self._remember, session.scope, memory, 0, fence, windows)
        return event

    async def _known(self, scope: Scope, event: Event, windows: Sequence[bytes]) -> tuple[float, Memory | None]:
        """How near the nearest is of what the user knows now (-1: nothing), and the valid memory of the same owner that says
        nearly the same, with the same numbers in it. ``windows``: the event's embeddings."""
        now_us = self._clock.now_us()
        where: Filter = And((visible(scope, at_us=now_us, now_us=now_us), Not(Compare("eq", "source", "digest"))))

        def search(embedding: bytes) -> IndexAnswer:
            return self._index.search(scope.namespace, "memory", "", embedding, where, SearchOptions(limit=1))

        if (
            len(windows) == 1
        ):  # it is the query's embedding as well; of another model by now, what comes of it is refused
            answer = await asyncio.to_thread(search, windows[0])
        else:
            answer = await self._embedder.query(event.content, search, cache=False, behind=True)
        near = [hit.entry_id for hit in answer.hits if hit.relevance >= NEAR_DUPLICATE_COSINE]
        found = await asyncio.to_thread(self._memories.fetch, scope.namespace, near) if near else []
        nearest = max((hit.relevance for hit in answer.hits), default=-1.0)
        return nearest, next((memory for memory in found if restates(event.content, memory, scope)), None)


def worth_remembering(event: Event) -> bool:
    """Whether an event is to outlive its session by itself."""
    marked = not _MARKS.isdisjoint(event.importance_reasons)
    return not event.ephemeral and bool(event.content.strip()) and (marked or event.importance >= PROMOTED_IMPORTANCE)


def restates(content: str, memory: Memory, scope: Scope) -> bool:
    """Of a memory that means nearly the same: of the same owner, not pinned, with the same numbers in order: two ports or two
    dates are two things however alike the sentences are."""
    same_owner = (memory.scope.user_id, memory.scope.agent_id) == (scope.user_id, scope.agent_id)
    return same_owner and not memory.pinned and _TELLING.findall(content) == _TELLING.findall(memory.content)


def _covers(pending: PendingForget, scope: Scope) -> bool:
    plan = pending.plan
    if plan.scope.namespace != scope.namespace:
        return False
    covered = [plan.scope] if plan.everything else []
    covered += [events.scope for events in pending.events]
    return plan.all_users or any(
        one.user_id == scope.user_id
        and one.agent_id in ("", scope.agent_id)
        and one.session_id in ("", scope.session_id)
        for one in covered
    )
