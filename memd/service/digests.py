"""The digest of one session: a summary of what came since the last one, put in its place.

It says up to which position it tells the session, so whoever comes next goes on from there, whatever the marks say, and
replaces only the version it was made from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from memd.domain import ids
from memd.domain.errors import Forgotten, InvalidArgument, MemdError, VersionConflict
from memd.domain.model import Event, Memory, Scope, SourceKind
from memd.limits import CONSOLIDATE_EVENTS, DIGEST_TOKENS, MAX_LINKS
from memd.ports import Clock, MarkedSession, MemoryStore, SessionMarks, Summarizer, Summary, SummaryRequest
from memd.service.digest_queue import DigestCounts, DigestQueue
from memd.service.remember import Draft, RememberService

WRITER = "memd"
THROUGH, MADE_BY = "through_position", "summarizer"
"""In the metadata of a digest: what it tells, and what made it."""


class DigestMaker:
    """``queue`` holds the sessions that a model is to be asked for, where there is one."""

    def __init__(
        self,
        marks: SessionMarks,
        memories: MemoryStore,
        remember: RememberService,
        summarizer: Summarizer,
        model: Summarizer | None,
        clock: Clock,
    ) -> None:
        """``summarizer``: one that works here and at once."""
        self._marks = marks
        self._memories = memories
        self._remember = remember
        self._summarizer = summarizer
        self._model = model
        self.counts = DigestCounts()
        self.queue = DigestQueue(clock, self.counts)

    @property
    def has_model(self) -> bool:
        return self._model is not None

    async def extract(self, session: MarkedSession, fence: int) -> int:
        """Make the session's digest here; the position up to which it is told then. Errors as of ``remember``."""
        return await self._digest((self._summarizer,), session, fence)

    async def ask_model(self, session: MarkedSession, fence: int) -> int:
        """``extract`` with the model in the first place. Where it cannot be stored the namespace is spared from it: it would
        be asked, and paid for, again with every step."""
        assert self._model is not None
        try:
            return await self._digest((self._model, self._summarizer), session, fence)
        except (Forgotten, VersionConflict):
            raise  # the session has changed: next time it is told otherwise
        except MemdError:
            self.queue.rest(session.scope.namespace)
            raise

    async def _digest(self, summarizers: Sequence[Summarizer], session: MarkedSession, fence: int) -> int:
        """By the first of them whose summary a memory can hold; where there is none these events are told by no digest."""
        earlier = await self._earlier(session)
        told_through = max(session.digested, _through(earlier)) if earlier else session.digested
        events = await self._marks.since(session, told_through, CONSOLIDATE_EVENTS)
        telling = _Telling(session, fence, earlier, tuple(event for event in events if not event.ephemeral))
        for summarizer in summarizers if telling.told else ():
            if await self._tell(telling, reached(session, events), summarizer):
                break
        return reached(session, events)

    async def _tell(self, telling: _Telling, through: int, summarizer: Summarizer) -> bool:
        """False where no memory can hold what the summarizer wrote."""
        earlier = telling.earlier
        request = SummaryRequest(telling.told, DIGEST_TOKENS, earlier.content if earlier else "")
        summary = await summarizer.summarize(request)
        if not summary.text:
            return True
        digest, version = telling.digest(summary, through), earlier.version if earlier else 0
        try:
            await stored(self._remember, telling.session.scope, digest, version, telling.fence)
        except InvalidArgument:
            self.counts.refused += 1
            return False
        self.counts.made += 1
        return True

    async def _earlier(self, session: MarkedSession) -> Memory | None:
        """The digest that there is."""
        memory_id = ids.digest_id(session.scope, session.create_time)
        found = await asyncio.to_thread(self._memories.fetch, session.scope.namespace, [memory_id])
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Telling:
    """What a digest is made of: the one before it, and the events since."""

    session: MarkedSession
    fence: int
    earlier: Memory | None
    told: tuple[Event, ...]

    def digest(self, summary: Summary, through: int) -> Memory:
        links = (*(self.earlier.event_ids if self.earlier else ()), *(event.event_id for event in self.told))
        return Memory(
            memory_id=ids.digest_id(self.session.scope, self.session.create_time),
            scope=self.session.scope,
            content=summary.text,
            source=SourceKind.DIGEST,
            event_time=self.told[-1].event_time,
            metadata={THROUGH: through, MADE_BY: summary.made_by},
            event_ids=tuple(dict.fromkeys(links))[-MAX_LINKS:],
        )


async def stored(
    remember: RememberService,
    scope: Scope,
    memory: Memory,
    version: int,
    fence: int,
    embeddings: tuple[bytes, ...] | None = None,
) -> None:
    """Remember what background work made, in the place of ``version`` of it; 0 is none."""
    draft = Draft(memory, expected_version=version, embeddings=embeddings)
    await remember.remember(scope, [draft], agent_private=bool(scope.agent_id), writer=WRITER, fence=fence)


def reached(session: MarkedSession, events: Sequence[Event]) -> int:
    """Where to go on after ``events``, CONSOLIDATE_EVENTS at most: after a full page its end, else the end of all."""
    return events[-1].position if len(events) == CONSOLIDATE_EVENTS else session.last_position


def _through(digest: Memory) -> int:
    """Up to which position the digest tells its session; 0 where somebody took that away."""
    position = digest.metadata.get(THROUGH)
    return int(position) if isinstance(position, int | float) else 0
