"""Observe: events into a session. Never waits for the embedding model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from memd.domain import importance
from memd.domain.errors import InvalidArgument
from memd.domain.extract import head_and_tail, is_tool_output, of_tool_output
from memd.domain.ids import event_id
from memd.domain.model import Appended, Event, ObservedEvent, RequestKey, Scope
from memd.domain.session_settings import SessionSettings
from memd.limits import EVENT_EXTRACT_BYTES, MAX_EVENT_BYTES, TOOL_OUTPUT_BYTES
from memd.ports import Clock, SessionPolicy, SessionStore, TokenCounter
from memd.service.policy import PolicySource

UNSCORED = -1.0
"""``Event.importance`` of an event whose caller gave none."""
_COUNT_INLINE_CHARS = 8_192
"""More text than this is counted on a thread: it would hold up the event loop for milliseconds."""
_ID_RANDOM_BYTES = 8


class ObserveService:
    """``told`` and ``relate`` hear of what was stored, before the reply and without holding it up."""

    def __init__(
        self,
        sessions: SessionStore,
        counter: TokenCounter,
        settings: PolicySource,
        clock: Clock,
        told: Callable[[Scope, Sequence[ObservedEvent], SessionPolicy, SessionSettings], None] | None = None,
        relate: Callable[[Scope, Sequence[Event], Sequence[ObservedEvent], SessionPolicy], None] | None = None,
    ) -> None:
        self._sessions = sessions
        self._counter = counter
        self._settings = settings
        self._clock = clock
        self._told = told
        self._relate = relate

    async def observe(
        self,
        scope: Scope,
        events: Sequence[Event],
        *,
        extract: bool = False,
        keep_whole: bool = False,
        request: RequestKey | None = None,
    ) -> Appended:
        """Append ``events`` in order, all or none. From the caller may be unset: event_id "", importance UNSCORED,
        event_time 0. A tool's output over TOOL_OUTPUT_BYTES becomes an extract unless ``keep_whole``. Other content over
        MAX_EVENT_BYTES is InvalidArgument, or with ``extract`` becomes one too."""
        ready = await self._ready(events, extract=extract, keep_whole=keep_whole)
        policy = self._settings.known_policy(scope.namespace) or await self._settings.policy(scope.namespace)
        written = await self._sessions.append(scope, ready, policy, request)
        if self._told is not None:
            self._told(scope, written.value, policy, written.settings)
        if self._relate is not None:
            self._relate(scope, ready, written.value, policy)
        return _with_extracted(written, ready)

    async def _ready(self, events: Sequence[Event], *, extract: bool, keep_whole: bool = False) -> list[Event]:
        """The events with everything the server adds."""
        now_us = self._clock.now_us()
        if keep_whole:
            events = [replace(event, kept_whole=is_tool_output(event)) for event in events]
        kept = [
            event if _short(event.content) else await self._kept(event, index, extract, keep_whole)
            for index, event in enumerate(events)
        ]
        tokens = await self._count([event.content for event in kept])
        return [_completed(event, count, now_us) for event, count in zip(kept, tokens, strict=True)]

    async def _kept(self, event: Event, index: int, extract: bool, keep_whole: bool) -> Event:
        """A long event, as it is to be stored."""
        data = event.content.encode()
        tool = is_tool_output(event)
        if len(data) <= (TOOL_OUTPUT_BYTES if tool and not keep_whole else MAX_EVENT_BYTES):
            return event
        if tool and (extract or not keep_whole):
            cut = await asyncio.to_thread(of_tool_output, event.content, self._counter.count_batch)
        elif extract:
            cut = head_and_tail(data, EVENT_EXTRACT_BYTES)
        else:
            raise InvalidArgument(
                f"content has {len(data):,} bytes, at most {MAX_EVENT_BYTES:,}; send OVERFLOW_EXTRACT to keep an extract",
                field=f"events[{index}].content",
            )
        return replace(
            event, content=cut.content, original_bytes=cut.original_bytes, original_sha256=cut.original_sha256
        )

    async def _count(self, texts: list[str]) -> list[int]:
        if sum(map(len, texts)) <= _COUNT_INLINE_CHARS:
            return self._counter.count_batch(texts)
        return await asyncio.to_thread(self._counter.count_batch, texts)


def _short(content: str) -> bool:
    """Whether the content is under every bound, without counting its bytes."""
    return len(content) <= TOOL_OUTPUT_BYTES // 4  # a character has at most four bytes


def _with_extracted(written: Appended, ready: Sequence[Event]) -> Appended:
    """Told of each event whether it was cut. A repeated request is cut as the first one was."""
    if not any(event.original_bytes for event in ready):
        return written
    told = [replace(one, extracted=event.original_bytes > 0) for one, event in zip(written.value, ready, strict=True)]
    return replace(written, value=tuple(told))


def _completed(event: Event, tokens: int, now_us: int) -> Event:
    """What the server adds: id, importance with its reasons, tokens, times."""
    given = event.importance != UNSCORED
    value, reasons = (event.importance, ("given",)) if given else importance.score(event)
    return replace(
        event,
        event_id=event.event_id or event_id(now_us, os.urandom(_ID_RANDOM_BYTES)),
        importance=value,
        importance_reasons=reasons,
        event_time=event.event_time or now_us,
        last_seen=now_us,
        tokens=tokens,
    )
