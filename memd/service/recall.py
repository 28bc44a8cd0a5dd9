"""Recall: all tiers at once, under the caller's deadline, into one context block."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from memd.domain.errors import AWAY_US, DeadlineExceeded, InvalidArgument, MemdError, NotReady
from memd.domain.filters import Filter
from memd.domain.model import Event, Memory, Procedure, Scope, TierName
from memd.limits import DEFAULT_LIMIT, DEFAULT_MAX_EPISODES, DEFAULT_TOKEN_BUDGET
from memd.ports import (
    LIVE_SEQ,
    Clock,
    ContextPacker,
    ContextSection,
    IndexHit,
    PackedContext,
    SearchOptions,
    SessionPolicy,
    Tier,
    TierAnswer,
    TierAsk,
)
from memd.service.policy import PolicySource

_ORDER = (TierName.WORKING, TierName.EPISODIC, TierName.SEMANTIC, TierName.PROCEDURAL)
_OF_A_SESSION = (TierName.WORKING, TierName.EPISODIC)
_INDEXED = (TierName.SEMANTIC, TierName.PROCEDURAL)
_MARGIN_S = 0.05
"""Of the deadline, kept for packing and the way back; of a short deadline, a fifth."""
_MARGIN_SHARE = 0.2
_PATIENCE_SHARE = 0.8
"""Of the time the tiers have, what one may wait for rows that are on their way; the rest is for its search."""
_CANCEL_GRACE_S = 0.05
_PACK_INLINE_CHARS = 8_192
"""More text than this is packed on a thread: counting it would hold up the event loop for milliseconds."""
_AS_OF_CUES = {"date": 0.0, "date_words": 1.0}
"""``as_of`` says which time is meant: a date in the query repeats it. The answer was not said then, nor has its words."""
NO_SESSION = "NO_SESSION"
_FAILED = "FAILED"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """``scope`` is resolved against the credential; the rest is checked. ``min_seq`` 0 demands nothing."""

    scope: Scope
    query: str
    limit: int = DEFAULT_LIMIT
    max_episodes: int = DEFAULT_MAX_EPISODES
    token_budget: int = DEFAULT_TOKEN_BUDGET
    tiers: frozenset[TierName] = frozenset(TierName)
    filter: Filter | None = None
    min_relevance: float | None = None
    as_of_us: int | None = None
    options: SearchOptions = field(default_factory=lambda: SearchOptions(limit=DEFAULT_LIMIT))
    min_seq: int = 0
    use_cache: bool = True


@dataclass(frozen=True, slots=True)
class RecallReply:
    """``omitted``: how many found items have no room in ``context``. ``answers``: one a requested tier."""

    context: str
    tokens: int
    working: tuple[Event, ...]
    episodes: tuple[Event, ...]
    memories: tuple[tuple[Memory, IndexHit], ...]
    procedures: tuple[tuple[Procedure, float], ...]
    nothing_relevant: bool
    answers: tuple[TierAnswer, ...]
    seq: int
    omitted: int
    elapsed_us: int
    shown: tuple[bytes, ...] = ()
    """What ``show`` made of the answers that came."""


Show: TypeAlias = Callable[[TierAnswer], bytes]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A tier's answer with what is made of it while the model still runs for the others."""

    answer: TierAnswer
    sections: tuple[Any, ...] = ()
    shown: bytes = b""


class RecallService:
    """Runs the asked tiers concurrently. One that fails or is late costs its own section, never the call."""

    def __init__(self, tiers: Sequence[Tier], packer: ContextPacker, settings: PolicySource, clock: Clock) -> None:
        self._tiers = sorted(tiers, key=lambda tier: _ORDER.index(tier.name))
        self._packer = packer
        self._settings = settings
        self._clock = clock

    async def recall(self, request: RecallRequest, deadline_s: float, show: Show | None = None) -> RecallReply:
        """``show`` is called with each answer as soon as it is there, its latency unset.

        InvalidArgument for what a tier refuses as malformed, NotReady when ``min_seq`` is not reached.
        """
        started = self._clock.monotonic_s()
        tiers_end = started + deadline_s - min(_MARGIN_S, deadline_s * _MARGIN_SHARE)
        namespace = request.scope.namespace
        policy = self._settings.known_policy(namespace) or await self._policy(namespace, tiers_end)
        patience_s = (tiers_end - self._clock.monotonic_s()) * _PATIENCE_SHARE
        ask = _ask(request, policy, self._clock.now_us(), patience_s)
        found_by = await self._ask_tiers(request.tiers, ask, tiers_end, show)
        answers = tuple([one.answer for one in found_by])
        seq = _change_number(answers, request.min_seq)
        packed = await self._pack(found_by, request.token_budget)
        found = {answer.tier: answer.found for answer in answers}
        return RecallReply(
            context=packed.text,
            tokens=packed.tokens,
            working=found.get(TierName.WORKING, ()),
            episodes=found.get(TierName.EPISODIC, ()),
            memories=found.get(TierName.SEMANTIC, ()),
            procedures=found.get(TierName.PROCEDURAL, ()),
            nothing_relevant=any(answer.nothing_relevant for answer in answers),
            answers=answers,
            seq=seq,
            omitted=sum(map(len, found.values())) - sum(packed.taken),
            elapsed_us=self._us_since(started),
            shown=tuple([one.shown for one in found_by]),
        )

    async def _policy(self, namespace: str, until_s: float) -> SessionPolicy:
        """The namespace's caps; the daemon's, where they cannot be read now."""
        try:
            async with asyncio.timeout(until_s - self._clock.monotonic_s()):
                return await self._settings.policy(namespace)
        except (MemdError, TimeoutError) as error:
            log.warning("settings of a namespace could not be read: %s", type(error).__name__)
            return self._settings.default_policy()

    async def _ask_tiers(
        self, names: frozenset[TierName], ask: TierAsk, until_s: float, show: Show | None
    ) -> tuple[_Answer, ...]:
        started = self._clock.monotonic_s()
        asked = [tier for tier in self._tiers if tier.name in names]
        able = [tier for tier in asked if ask.scope.session_id or tier.name not in _OF_A_SESSION]
        tasks: dict[TierName, asyncio.Future[_Answer]] = {}
        try:
            for first in (True, False):
                starting = [tier for tier in able if _embeds(tier) is first]
                tasks.update({tier.name: asyncio.ensure_future(self._timed(tier, ask, show)) for tier in starting})
                if first:
                    await asyncio.sleep(0)  # the model takes longest: the query is on its way before the rest starts
            if tasks:
                await asyncio.wait(tasks.values(), timeout=max(0.0, until_s - started))
        finally:
            await _cancel([task for task in tasks.values() if not task.done()])
        _raise_refusal(tasks.values())
        elapsed_us = self._us_since(started)
        return tuple([_outcome(tier.name, tasks.get(tier.name), elapsed_us) for tier in asked])

    async def _timed(self, tier: Tier, ask: TierAsk, show: Show | None) -> _Answer:
        started = self._clock.monotonic_s()
        answer = await tier.recall(ask)
        took_us = self._us_since(started)
        early = not _embeds(tier)  # what comes with the last answer is counted in one go with the whole
        sections = [self._packer.ready(section, count=early and _short([section])) for section in answer.sections]
        shown = b"" if show is None else show(answer)
        return _Answer(replace(answer, latency_us=took_us), tuple(sections), shown)

    async def _pack(self, found_by: Sequence[_Answer], budget_tokens: int) -> PackedContext:
        ready = [section for one in found_by for section in one.sections]
        if _short([section for one in found_by for section in one.answer.sections]):
            return self._packer.pack(ready, budget_tokens)
        return await asyncio.to_thread(self._packer.pack, ready, budget_tokens)

    def _us_since(self, started_s: float) -> int:
        return int((self._clock.monotonic_s() - started_s) * 1e6)


def _ask(request: RecallRequest, policy: SessionPolicy, now_us: int, patience_s: float) -> TierAsk:
    cues = request.options.cues if request.as_of_us is None else {**_AS_OF_CUES, **request.options.cues}
    return TierAsk(
        scope=request.scope,
        query=request.query,
        limit=request.limit,
        max_episodes=request.max_episodes if TierName.EPISODIC in request.tiers else 0,
        now_us=now_us,
        as_of_us=now_us if request.as_of_us is None else request.as_of_us,
        filter=request.filter,
        options=replace(
            request.options,
            limit=request.limit,
            min_relevance=request.min_relevance,
            cues=cues,
            now_us=now_us if request.as_of_us is None else request.as_of_us,
        ),
        policy=policy,
        use_cache=request.use_cache,
        min_seq=request.min_seq,
        patience_s=patience_s,
    )


def _embeds(tier: Tier) -> bool:
    return tier.name not in _OF_A_SESSION


def _short(sections: Sequence[ContextSection]) -> bool:
    return sum([len(item) for section in sections for item in section.items]) <= _PACK_INLINE_CHARS


async def _cancel(late: list[asyncio.Future[_Answer]]) -> None:
    """Give up on tiers and see them end: what they wait for is released before the reply."""
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_CANCEL_GRACE_S)


def _raise_refusal(tasks: Iterable[asyncio.Future[_Answer]]) -> None:
    """A refused argument is the caller's: it fails the call."""
    errors = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    for error in errors:
        if isinstance(error, InvalidArgument):
            raise error


def _outcome(name: TierName, task: asyncio.Future[_Answer] | None, elapsed_us: int) -> _Answer:
    """A tier's answer, or the status that stands for it."""
    if task is not None and task.done() and not task.cancelled() and task.exception() is None:
        return task.result()
    return _Answer(_failed(name, task, elapsed_us))


def _failed(name: TierName, task: asyncio.Future[_Answer] | None, elapsed_us: int) -> TierAnswer:
    if task is None:
        return TierAnswer(name, state="SKIPPED", reason=NO_SESSION)
    error = None if not task.done() or task.cancelled() else task.exception()
    if error is None:
        return TierAnswer(name, state="TIMED_OUT", latency_us=elapsed_us)
    if isinstance(error, DeadlineExceeded):
        return TierAnswer(name, state="TIMED_OUT", latency_us=elapsed_us)
    away_us = int(error.metadata.get(AWAY_US, "0")) if isinstance(error, MemdError) else 0
    reason = _reason(name, error)
    return TierAnswer(name, state="SKIPPED", reason=reason, latency_us=elapsed_us, staleness_us=away_us)


def _reason(name: TierName, error: BaseException) -> str:
    """A fixed word for the client; type and place, never the message, for the log."""
    if isinstance(error, MemdError):
        log.error("tier %s failed: %s", name.value, type(error).__name__)
        return error.reason
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("tier %s failed: %s\n%s", name.value, type(error).__name__, frames)
    return _FAILED


def _change_number(answers: Sequence[TierAnswer], min_seq: int) -> int:
    """The namespace's change number all answers from the index include. NotReady when it is below ``min_seq``."""
    indexed = [a.seq for a in answers if a.tier in _INDEXED and a.state in ("OK", "DEGRADED") and a.seq != LIVE_SEQ]
    seq = min(indexed, default=0)
    if indexed and seq < min_seq:
        raise NotReady("the change asked for by min_seq is not in the index yet", metadata={"seq": str(seq)})
    return seq
