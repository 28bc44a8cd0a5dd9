"""SessionStore on Redis. See ``memd.ports`` for what each method promises, ``keys.py`` for where things are.

Every change of a session is one Lua script over the keys of its slot: an append decides by what is there (repeats, caps,
who came first), which MULTI could only do after a WATCH, two more round trips, and starting over whenever two met.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from memd.adapters.redis import keys, scripts
from memd.adapters.redis.codec import decode_event, decode_events, event_arguments, revision_arguments
from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.persistence import RedisFacts
from memd.adapters.redis.receipts import Receipt
from memd.adapters.redis.replies import outcome
from memd.adapters.redis.schedule import fitting
from memd.adapters.redis.session_index import Numbers, SessionIndex
from memd.adapters.redis.settings import RedisSettings
from memd.adapters.redis.work_index import WorkIndex
from memd.adapters.rows.compact import encode
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.session import decode_session_reply, decode_settings
from memd.adapters.rows.session_head import recent, working_set
from memd.adapters.rows.summary import decode_summary, last_position, summary_row, with_summaries
from memd.domain.errors import NotFound, StoreBusy
from memd.domain.grace import Grace
from memd.domain.model import (
    Appended,
    Event,
    EventKind,
    ObservedEvent,
    Page,
    RequestKey,
    Scope,
    Session,
    SessionEvents,
    WorkingSet,
    Written,
)
from memd.domain.session_settings import SettingsChange
from memd.limits import (
    MAX_EVENTS_PER_OBSERVE,
    REDIS_BATCH,
    REDIS_GRACE_US,
    REDIS_REGISTRATION_US,
    REDIS_WAITING_US,
    WORKING_HOLD,
)
from memd.ports import Clock, EventRevision, LiveSession, SessionPolicy

_NOTHING = WorkingSet((), 0, 0)
_REGISTRATIONS = 2
"""A session that was just registered is refused only when the cluster's clocks are far apart."""


class RedisSessions:
    """``link`` may be shared with RedisCheckpoints; whoever opened it closes it."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self.index = SessionIndex(link)
        self.work = WorkIndex(link, self.index.schedule)
        self.grace = Grace()

    @classmethod
    async def open(cls, settings: RedisSettings, clock: Clock | None = None) -> Self:
        """See ``RedisLink.open``. ``clock`` replaces the server's: for tests."""
        return cls(await RedisLink.open(settings, clock))

    async def close(self) -> None:
        await self.link.close()

    def describe(self) -> RedisFacts:
        return self.link.describe()

    # -- writes

    async def append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Appended:
        return await self.link.finished(self._append(scope, events, policy, request))

    async def _append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Appended:
        caps = policy.working_max_items, policy.working_max_tokens, policy.episodic_max_items
        limits, compressed = policy.limits, int(policy.compression is not None)
        own = limits.max_items, limits.max_tokens, compressed, WORKING_HOLD, MAX_EVENTS_PER_OBSERVE
        tail = [argument for event in events for argument in event_arguments(event)]
        args = *caps, _body_digest(request), int(self.grace.length_us > 0), *own, *tail
        reply = await self._opening(scripts.APPEND, scope, policy, request, args)
        (seq, observed, *settings), replayed = outcome(reply)
        self._note(scope)
        durability, own_settings = await self.link.persistence(), decode_settings(settings[0] if settings else None)
        return Appended(tuple(map(_observed, observed)), seq, durability, replayed, own_settings)

    async def configure(
        self, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        return await self.link.finished(self._configure(scope, change, policy, request))

    async def _configure(
        self, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        pairs = [word for name, value in change.items() for word in (name, "" if value is None else encode(value))]
        args = _body_digest(request), int(self.grace.length_us > 0), *pairs
        numbers, replayed = outcome(await self._opening(scripts.CONFIGURE, scope, policy, request, args))
        configured = _replied(scope, numbers)
        return await self._written(configured, configured.seq, replayed)

    async def _opening(
        self,
        script: scripts.Script,
        scope: Scope,
        policy: SessionPolicy,
        request: RequestKey | None,
        args: Sequence[Any],
    ) -> list[Any]:
        """The reply of a script that opens a session where there is none: then it is registered first."""
        names, kept_us, registered = keys.append_keys(scope, request), self._kept_us(), ""
        for _ in range(_REGISTRATIONS + 1):
            times = registered, policy.ttl_us, kept_us, REDIS_REGISTRATION_US
            reply: list[Any] = await self.link.run(
                script, names, self.link.now(), *times, *args, repeatable=request is not None
            )
            if reply[0] != b"UNREGISTERED":
                return reply
            registered = str(await self.index.register(scope, policy.ttl_us))
        raise StoreBusy("the clocks of the Redis cluster's nodes are more than ten minutes apart")

    async def compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        return await self.link.finished(self._compress(scope, seen, summaries, through))

    async def _compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        names, rows = keys.session_keys(scope), encode([summary_row(summary) for summary in summaries])
        expected = str(seen.create_time), last_position(seen.items), seen.erased
        after = len(summaries), last_position(summaries)
        # not repeated when the reply is lost: whether it was done is seen at the next look
        done = await self.link.run(
            scripts.COMPRESS, names, self.link.now(), *expected, through, *after, rows, repeatable=False
        )
        return bool(done)

    async def revise(self, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        arguments = [argument for revision in revisions for argument in revision_arguments(revision)]
        run = self.link.run(scripts.REVISE, keys.session_keys(scope), self.link.now(), *arguments, repeatable=False)
        return int(await self.link.finished(run))

    async def clear_working(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        return await self.link.finished(self._clear(scope, request))

    async def _clear(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        reply = await self._write(scripts.CLEAR, scope, request, _body_digest(request))
        (seq, cleared), replayed = outcome(reply)
        return await self._written(cleared, seq, replayed)

    async def end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        return await self.link.finished(self._end(scope, request))

    async def _end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        reply = await self._write(scripts.END, scope, request, _body_digest(request))
        if reply[0] == b"NOT_FOUND":
            raise NotFound("there is no such session")
        numbers, replayed = outcome(reply)
        self._note(scope)
        ended = _replied(scope, numbers)
        return await self._written(ended, ended.seq, replayed)

    def _kept_us(self) -> int:
        """How long keys outlive the session: longer while they may have to wait for somebody who consolidates it."""
        return REDIS_WAITING_US if self.grace.length_us else REDIS_GRACE_US

    def _note(self, scope: Scope) -> None:
        if self.grace.length_us:
            self.work.note(scope)

    async def _write(self, script: scripts.Script, scope: Scope, request: RequestKey | None, *args: Any) -> list[Any]:
        names, repeatable = keys.session_keys(scope, request), request is not None
        reply: list[Any] = await self.link.run(script, names, self.link.now(), *args, repeatable=repeatable)
        return reply

    async def _written(self, value: Any, seq: int, replayed: bool) -> Written[Any]:
        return Written(value, seq, await self.link.persistence(), replayed)

    # -- reads

    async def working(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        reply = await self._recent(scope, 0)
        if not reply:
            return _NOTHING
        working = working_set(reply[0], decode_events(reply[1]), policy, decode_settings(reply[6]))
        return _with_summaries(working, reply)

    async def recent(self, scope: Scope, policy: SessionPolicy, limit: int) -> tuple[WorkingSet, tuple[Event, ...]]:
        # Caps may have been lowered since the last append: what they push out of the working set is recent.
        reply = await self._recent(scope, limit)
        if not reply:
            return _NOTHING, ()
        items, older = decode_events(reply[1]), decode_events(reply[2])
        working, episodes = recent(reply[0], items, older, policy, decode_settings(reply[6]), limit)
        return _with_summaries(working, reply), episodes

    async def _recent(self, scope: Scope, older: int) -> list[Any] | None:
        names = keys.session_keys(scope)
        reply: list[Any] | None = await self.link.run(scripts.RECENT, names, self.link.now(), older)
        return reply

    async def episodes(
        self, scope: Scope, policy: SessionPolicy, *, kinds: frozenset[EventKind], size: int, cursor: str
    ) -> Page[Event]:
        (before,) = decode_cursor(cursor, int) or (0,)
        wanted = f" {' '.join(sorted(kind.value for kind in kinds))} " if kinds else ""
        found: list[bytes] = []
        while True:
            args = before, size + 1 - len(found), policy.episodic_max_items, wanted
            reply = await self.link.run(scripts.EPISODES, keys.session_keys(scope), self.link.now(), *args)
            before = reply[0]
            found += reply[1]
            if not before or len(found) > size:
                break
        items = tuple(decode_event(one) for one in found[:size])
        return Page(items, encode_cursor(items[-1].position) if len(found) > size else "")

    async def sessions(self, scope: Scope, *, size: int, cursor: str) -> Page[Session]:
        """Reads the numbers of all the user's sessions for each page: there are at most MAX_SESSIONS_PER_USER, and an
        order kept in Redis would be another write of every append, in another slot."""
        update_time, name = decode_cursor(cursor, int, str) or (1 << 62, "")
        known = await self.index.of_user(scope.namespace, scope.user_id)
        live = await self.index.live([one for one in known if one.agent_id == scope.agent_id])
        newest = sorted(
            ((one.update, one.scope.session_id, one) for one in live), key=lambda key: key[:2], reverse=True
        )
        after = [one for one in newest if one[:2] < (update_time, name)]
        items = tuple(_session(one) for _, _, one in after[:size])
        more = len(after) > size
        return Page(items, encode_cursor(items[-1].update_time, items[-1].scope.session_id) if more else "")

    async def live(self, size: int, cursor: str) -> Page[LiveSession]:
        """By the schedule of the sweep, which has every session; of how many items is not known here."""
        after, found = await self.link.command("ZSCAN", keys.DUE_SESSIONS, cursor or "0", "COUNT", size)
        names = {name: None for name, _ in found}
        live = await self.index.live([Scope(*keys.split(name.decode())) for name in names])
        more = int(after)
        items = tuple(LiveSession(one.scope, one.settings) for one in live if one.end is None)
        return Page(items, str(more) if more else "")

    async def count(self, scope: Scope, *, all_users: bool) -> Mapping[str, int]:
        sessions = events = 0
        async for batch in self._batches(scope, all_users):
            live = await self.index.live(batch)
            sessions += len(live)
            events += sum(await self.link.commands([("HLEN", keys.session_keys(one.scope)[1]) for one in live]))
        return {"events": events, "sessions": sessions}

    # -- removal

    async def forget(self, scope: Scope, *, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        return await self.link.finished(self._forget(scope, all_users, receipt_id))

    async def _forget(self, scope: Scope, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        receipt = Receipt(self.link, scope.namespace, "sessions", receipt_id, ("events", "sessions"))
        known = await receipt.result()
        if known is not None:
            return known
        async for batch in self._batches(scope, all_users):
            erased = [await self._erase(one, "all") for one in batch]
            live = [rows - 1 for was_live, rows, *_ in erased if was_live]
            await receipt.add({"events": sum(live), "sessions": len(live)})
            await self.index.drop(batch)
        return await receipt.done()

    async def forget_events(
        self, namespace: str, events: Sequence[SessionEvents], *, receipt_id: str
    ) -> Mapping[str, int]:
        return await self.link.finished(self._forget_events(namespace, events, receipt_id))

    async def _forget_events(
        self, namespace: str, events: Sequence[SessionEvents], receipt_id: str
    ) -> Mapping[str, int]:
        receipt = Receipt(self.link, namespace, "events", receipt_id, ("events", "summaries"))
        known = await receipt.result() if receipt_id else None
        if known is not None:
            return known
        total = {"events": 0, "summaries": 0}
        for one in events:
            async for batch in self._batches(one.scope, False):
                for scope in batch:
                    taken = await self._take(scope, one.event_ids, "" if receipt_id else "count")
                    total = {name: total[name] + count for name, count in taken.items()}
                    if receipt_id:
                        await receipt.add(taken)
        return await receipt.done() if receipt_id else total

    async def _take(self, scope: Scope, event_ids: Sequence[str], how: str) -> Mapping[str, int]:
        events = summaries = 0
        for start in range(0, len(event_ids), REDIS_BATCH):
            args = how, *event_ids[start : start + REDIS_BATCH]
            taken, told = await self.link.run(scripts.TAKE, keys.both_lives(scope), *args)
            events, summaries = events + taken, summaries + told
        if events and not how:
            self._note(scope)
        return {"events": events, "summaries": summaries}

    async def sweep(self, max_rows: int) -> int:
        """Expired sessions, with at most ``max_rows`` events and sessions together (or one larger session)."""
        spared_since = self.grace.spared_since(await self.link.now_us())
        swept = looked = 0
        while looked < max_rows:
            due = [(Scope(*parts), at) for parts, at in await self.index.schedule.due(min(REDIS_BATCH, max_rows))]
            sizes = await self.link.commands([("HLEN", keys.session_keys(one)[1]) for one, _ in due])
            fit = fitting([size + 1 for size in sizes], max_rows - swept, swept == 0)
            seen = []
            for one, at in due[:fit]:
                _, rows, again, waits = await self._erase(one, "expired", spared_since)
                swept += rows
                seen.append((one, at, again))
                if waits:
                    self.work.note(one)
            await self.index.drop([one for one, _, again in seen if not again])
            await self.index.schedule.looked([(_parts(one), at, again) for one, at, again in seen])
            looked += fit
            if not due or fit < len(due):
                break
        return swept

    async def _erase(self, scope: Scope, which: str, spared_since_us: int = 0) -> tuple[bool, int, int, bool]:
        """Was it live, the rows that went, when to look at a spared one again, whether it waits to be consolidated."""
        names = keys.both_lives(scope)
        live, rows, again, waits = await self.link.run(scripts.ERASE, names, self.link.now(), which, spared_since_us)
        return bool(live), rows, again, bool(waits)

    async def _batches(self, scope: Scope, all_users: bool) -> AsyncIterator[list[Scope]]:
        """Sessions of the scope in batches, one user after the other; some may not be there."""
        if all_users:
            async for user_id in self.index.users(scope.namespace):
                for batch in _chunks(await self.index.of_user(scope.namespace, user_id)):
                    yield batch
            return
        found = [one for one in await self.index.of_user(scope.namespace, scope.user_id) if _covers(scope, one)]
        if scope.session_id and scope not in found:
            found.append(scope)  # named in full it needs no index, which a server that evicts may have lost
        for batch in _chunks(found):
            yield batch


def _covers(scope: Scope, one: Scope) -> bool:
    agent = not scope.agent_id or one.agent_id == scope.agent_id
    return agent and (not scope.session_id or one.session_id == scope.session_id)


def _chunks(scopes: list[Scope]) -> list[list[Scope]]:
    return [scopes[start : start + REDIS_BATCH] for start in range(0, len(scopes), REDIS_BATCH)]


def _parts(scope: Scope) -> tuple[str, ...]:
    return scope.namespace, scope.user_id, scope.agent_id, scope.session_id


def _body_digest(request: RequestKey | None) -> bytes:
    return b"" if request is None else request.body_sha256


def _observed(stored: list[Any]) -> ObservedEvent:
    event_id, merged, importance, tokens, position = stored
    return ObservedEvent(event_id.decode(), bool(merged), float(importance), tokens, position)


def _session(one: Numbers) -> Session:
    numbers = one.create, one.update, one.expire, one.end, one.last_position, one.seq
    return Session(one.scope, *numbers, one.settings)


def _replied(scope: Scope, reply: list[Any]) -> Session:
    """What end.lua and configure.lua tell; no end is 0 there."""
    create, update, expire, end, *rest = reply
    return decode_session_reply(scope, (create, update, expire, end or None, *rest))


def _with_summaries(working: WorkingSet, reply: list[Any]) -> WorkingSet:
    """With what a ``recent.lua`` told of the session."""
    return with_summaries(working, [decode_summary(row) for row in json.loads(reply[3])], int(reply[4]), int(reply[5]))
