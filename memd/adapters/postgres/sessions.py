"""SessionStore on Postgres. See ``memd.ports`` for what each method promises.

Every change of one session holds its mutex from BEGIN on, so it sees what the one before it left, also of a session that
has no row yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from memd.adapters.postgres import effects
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.gate import mutex_key
from memd.adapters.postgres.revising import revise
from memd.adapters.postgres.session_append import append, delete_stale_ephemeral
from memd.adapters.postgres.session_forget import count_events, take_events
from memd.adapters.postgres.session_heads import EXACT, find_head, new_head, save_head, save_settings, scoped
from memd.adapters.postgres.summaries import SUMMARIES, put_summaries, remove_summaries, summarized
from memd.adapters.postgres.text import loaded_text
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.rows.session import (
    EVENT_COLUMNS,
    SESSION_COLUMNS,
    decode_event,
    decode_session,
    decode_session_reply,
    decode_settings,
    session_reply,
)
from memd.adapters.rows.session_head import recent, working_set
from memd.adapters.rows.summary import decode_summary, summary_row, unchanged, with_summaries
from memd.domain.errors import NotFound
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
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings, SettingsChange
from memd.limits import HOUR_US
from memd.ports import EventRevision, LiveSession, SessionPolicy

STORE = "sessions"
_LIVE = f"{EXACT} AND s.expire_time > $5"
_EVENT = "e.position, e.event_id, e.kind, e.ephemeral, e.tokens, e.count, e.last_seen, e.content, e.body"
# Newest first: the working set, which is within the caps of its last append, then up to $6 episodes before it.
_RECENT = (
    f"SELECT s.seq, s.settings, s.create_time, s.erased, {SUMMARIES}, w.* FROM memd.session s"
    f" LEFT JOIN LATERAL ((SELECT true, {_EVENT} FROM memd.event e WHERE e.session_pk = s.pk"
    " AND e.position >= s.working_from)"
    f" UNION ALL (SELECT false, {_EVENT} FROM memd.event e WHERE e.session_pk = s.pk AND e.position < s.working_from"
    f" AND NOT e.ephemeral ORDER BY e.position DESC LIMIT $6)) w (working, {EVENT_COLUMNS}) ON true WHERE {_LIVE}"
    " ORDER BY w.position DESC"
)
# $6: the cap of episodes, less one; $7: below this position; $8: of these kinds, or of all. Where the cap begins is found
# before any episode is looked at (MATERIALIZED): among the conditions of the join it may be found again for each of them.
_EPISODES = (
    "WITH capped AS MATERIALIZED (SELECT s.pk, coalesce((SELECT f.position FROM memd.event f WHERE f.session_pk = s.pk"
    " AND NOT f.ephemeral ORDER BY f.position DESC OFFSET $6 LIMIT 1), 0) AS first_position FROM memd.session s"
    f" WHERE {_LIVE}) SELECT e.* FROM capped c CROSS JOIN LATERAL (SELECT {_EVENT} FROM memd.event e"
    " WHERE e.session_pk = c.pk AND NOT e.ephemeral AND e.position >= c.first_position AND e.position < $7"
    " AND ($8::text[] IS NULL OR e.kind = ANY ($8)) ORDER BY e.position DESC LIMIT $9) e ORDER BY e.position DESC"
)
_SESSIONS = (
    f"SELECT pk, {SESSION_COLUMNS} FROM memd.session WHERE namespace = $1 AND user_id = $2 AND agent_id = $3 AND NOT dead"
    " AND expire_time > $4 AND (update_time, pk) < ($5, $6) ORDER BY update_time DESC, pk DESC LIMIT $7"
)
_WITH_ITEMS = (
    "SELECT pk, settings, namespace, user_id, agent_id, session_id FROM memd.session WHERE pk > $1 AND NOT dead"
    " AND expire_time > $2 AND working_from < last_position ORDER BY pk LIMIT $3"
)
_COUNT = (
    "SELECT count(*), coalesce(sum((SELECT count(*) FROM memd.event e WHERE e.session_pk = s.pk)), 0)::bigint"
    " FROM memd.session s WHERE {} AND NOT s.dead AND s.expire_time > ${}"
)
# How many rows a sweep may take is chosen before any of them is touched (MATERIALIZED). As a subquery the choice may be made
# again for every row it is compared with, and a chosen row that is deleted makes room for another one under the LIMIT.
_DUE = (
    "WITH due AS MATERIALIZED (SELECT pk FROM memd.session WHERE NOT dead AND expire_hour <= $1::bigint / $2"
    " AND expire_time <= $1 ORDER BY expire_hour LIMIT $3 FOR UPDATE SKIP LOCKED)"
    " UPDATE memd.session SET dead = true WHERE pk IN (SELECT pk FROM due)"
)
# What nobody has consolidated yet waits for it, but not for ever ($2).
_SWEEP_EVENTS = (
    "WITH due AS MATERIALIZED (SELECT e.session_pk, e.position FROM memd.session s"
    " JOIN memd.event e ON e.session_pk = s.pk WHERE s.dead AND (NOT (s.unpromoted OR s.undigested) OR s.expire_time <= $2)"
    " LIMIT $1 FOR UPDATE OF e SKIP LOCKED)"
    " DELETE FROM memd.event WHERE (session_pk, position) IN (SELECT session_pk, position FROM due)"
)
_SWEEP_SESSIONS = (
    "WITH due AS MATERIALIZED (SELECT pk FROM memd.session s WHERE dead"
    " AND NOT EXISTS (SELECT FROM memd.event e WHERE e.session_pk = s.pk) LIMIT $1 FOR UPDATE SKIP LOCKED)"
    " DELETE FROM memd.session WHERE pk IN (SELECT pk FROM due)"
)
_Session: TypeAlias = tuple[int, SessionSettings, int, int, list[tuple[Any, ...]]]
"""Change number, settings, creation, how often it was erased from, summaries; _NO_SESSION where there is none."""
_NO_SESSION: _Session = (0, NO_OVERRIDES, 0, 0, [])
_END = 1 << 62
"""Beyond every position and time."""


class PostgresSessions:
    """``vacuum`` is told which tables content was deleted from on purpose, after the commit."""

    def __init__(self, database: Database, vacuum: Callable[[set[str]], None]) -> None:
        self._database = database
        self._vacuum = vacuum
        self.grace = Grace()

    async def append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Appended:
        async def operation(tx: Transaction) -> Appended:
            if tx.known is not None:
                seq, known = tx.known.reply
                again = tuple(ObservedEvent(*one) for one in known)
                return Appended(again, seq, tx.durability, replayed=tx.replayed)
            head, observed = await append(tx, scope, events, policy)
            numbers = [(one.event_id, one.merged, one.importance, one.tokens, one.position) for one in observed]
            await tx.seal((head.seq, numbers))
            return Appended(observed, head.seq, tx.durability, settings=head.settings)

        written: Appended = await self._write(scope, operation, request)
        return written

    async def _write(self, scope: Scope, operation: Callable[[Transaction], Any], request: RequestKey | None) -> Any:
        key = mutex_key(STORE, scope.namespace, scope.user_id, scope.agent_id, scope.session_id)
        return await self._database.write(scope.namespace, operation, store=STORE, request=request, mutex=key)

    async def working(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        session, items, _ = await self._recent(scope, 0)
        return _with_summaries(working_set(session[0], items, policy, session[1]), session)

    async def recent(self, scope: Scope, policy: SessionPolicy, limit: int) -> tuple[WorkingSet, tuple[Event, ...]]:
        # Caps may have been lowered since the last append: what they push out of the working set is recent.
        session, items, older = await self._recent(scope, limit)
        working, episodes = recent(session[0], items, older, policy, session[1], limit)
        return _with_summaries(working, session), episodes

    async def _recent(self, scope: Scope, older: int) -> tuple[_Session, list[Event], list[Event]]:
        """The session, its working set, newest first, and the newest ``older`` episodes before it."""

        async def operation(reader: Reader) -> list[tuple[Any, ...]]:
            return await reader.rows(_RECENT, *_exact(scope), reader.now_us, older)

        found = await self._database.read(scope.namespace, operation)
        events = [row[5:] for row in found if row[5] is not None]
        working_events = [_event(row[1:]) for row in events if row[0]]
        older_events = [_event(row[1:]) for row in events if not row[0]]
        if not found:
            return _NO_SESSION, [], []
        seq, settings, create_time, erased, summaries, *_ = found[0]
        return (seq, decode_settings(settings), create_time, erased, summaries), working_events, older_events

    async def compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        async def operation(tx: Transaction) -> bool:
            head = await find_head(tx, scope)
            if head is None or head.working_from > through:
                return False
            if not unchanged(seen, head.create_time, *await summarized(tx, head)):
                return False
            await remove_summaries(tx, head)
            await put_summaries(tx, head, [summary_row(summary) for summary in summaries])
            head.compress_working(through)
            head.seq += 1
            await delete_stale_ephemeral(tx, head)
            await save_head(tx, head)
            return True

        done: bool = await self._write(scope, operation, None)
        return done

    async def revise(self, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        async def operation(tx: Transaction) -> int:
            head = await find_head(tx, scope)
            if head is None:
                return 0
            changed = sum([await revise(tx, head, revision) for revision in revisions])
            if changed:
                head.seq += 1
                await save_head(tx, head)
            return changed

        changed: int = await self._write(scope, operation, None)
        return changed

    async def configure(
        self, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        async def operation(tx: Transaction) -> Written[Session]:
            if tx.known is not None:
                again = decode_session_reply(scope, tx.known.reply)
                return Written(again, again.seq, tx.durability, replayed=tx.replayed)
            head = await find_head(tx, scope) or await new_head(tx, scope, policy.ttl_us)
            head.settings = head.settings.changed(change)
            head.seq += 1
            await save_head(tx, head)
            await save_settings(tx, head)
            configured = head.session()
            await tx.seal(session_reply(configured))
            return Written(configured, configured.seq, tx.durability)

        written: Written[Session] = await self._write(scope, operation, request)
        return written

    async def clear_working(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        async def operation(tx: Transaction) -> Written[int]:
            if tx.known is not None:
                seq, cleared = tx.known.reply
                return Written(cleared, seq, tx.durability, replayed=tx.replayed)
            head = await find_head(tx, scope)
            cleared = len(head.working) + await remove_summaries(tx, head) if head else 0
            if head and cleared:
                head.empty_working()
                head.seq += 1
                await delete_stale_ephemeral(tx, head)
                await save_head(tx, head)
            seq = head.seq if head else 0
            await tx.seal((seq, cleared))
            return Written(cleared, seq, tx.durability)

        written: Written[int] = await self._write(scope, operation, request)
        return written

    async def episodes(
        self, scope: Scope, policy: SessionPolicy, *, kinds: frozenset[EventKind], size: int, cursor: str
    ) -> Page[Event]:
        (before,) = decode_cursor(cursor, int) or (_END,)
        wanted = [kind.value for kind in kinds] or None

        async def operation(reader: Reader) -> list[tuple[Any, ...]]:
            limits = policy.episodic_max_items - 1, before, wanted, size + 1
            return await reader.rows(_EPISODES, *_exact(scope), reader.now_us, *limits)

        found = await self._database.read(scope.namespace, operation)
        items = tuple(_event(row) for row in found[:size])
        return Page(items, encode_cursor(items[-1].position) if len(found) > size else "")

    async def sessions(self, scope: Scope, *, size: int, cursor: str) -> Page[Session]:
        update_time, pk = decode_cursor(cursor, int, int) or (_END, 0)

        async def operation(reader: Reader) -> list[tuple[Any, ...]]:
            owner = scope.namespace, scope.user_id, scope.agent_id
            return await reader.rows(_SESSIONS, *owner, reader.now_us, update_time, pk, size + 1)

        found = await self._database.read(scope.namespace, operation)
        items = tuple(decode_session(row[1:]) for row in found[:size])
        return Page(items, encode_cursor(items[-1].update_time, found[size - 1][0]) if len(found) > size else "")

    async def live(self, size: int, cursor: str) -> Page[LiveSession]:
        (after,) = decode_cursor(cursor, int) or (0,)

        async def operation(reader: Reader) -> Page[LiveSession]:
            found = await reader.rows(_WITH_ITEMS, after, reader.now_us, size)
            items = tuple(LiveSession(Scope(*one[2:]), decode_settings(one[1])) for one in found)
            return Page(items, encode_cursor(found[-1][0]) if len(found) == size else "")

        return await self._database.read_all(operation)

    async def end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        async def operation(tx: Transaction) -> Written[Session]:
            if tx.known is not None:
                again = decode_session_reply(scope, tx.known.reply)
                return Written(again, again.seq, tx.durability, replayed=tx.replayed)
            head = await find_head(tx, scope)
            if head is None:
                raise NotFound("there is no such session")
            if head.end_time is None:
                head.end_time = tx.now_us
                head.seq += 1
                head.empty_working()
                await remove_summaries(tx, head)
                await delete_stale_ephemeral(tx, head)
                await save_head(tx, head)
            ended = head.session()
            await tx.seal(session_reply(ended))
            return Written(ended, ended.seq, tx.durability)

        written: Written[Session] = await self._write(scope, operation, request)
        return written

    async def forget(self, scope: Scope, *, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        where, bindings = scoped(scope, all_users=all_users)

        async def operation(tx: Transaction) -> Mapping[str, int]:
            known = await effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            counts = await _count(tx, where, bindings)
            # what has expired goes as well: it is out of sight, but still there
            await tx.execute(f"DELETE FROM memd.session s WHERE {where}", *bindings)
            await effects.save(tx, STORE, receipt_id, counts)
            return counts

        counts = await self._database.write(scope.namespace, operation, exclusive=True)
        self._vacuum({"session", "event", "working_summary"})
        return counts

    async def count(self, scope: Scope, *, all_users: bool) -> Mapping[str, int]:
        where, bindings = scoped(scope, all_users=all_users)
        return await self._database.read(scope.namespace, lambda reader: _count(reader, where, bindings))

    async def forget_events(
        self, namespace: str, events: Sequence[SessionEvents], *, receipt_id: str
    ) -> Mapping[str, int]:
        if not receipt_id:
            return await self._database.read(namespace, lambda reader: count_events(reader, events))

        async def operation(tx: Transaction) -> Mapping[str, int]:
            known = await effects.find(tx, STORE, receipt_id)
            if known is not None:
                return known
            counts = await take_events(tx, events)
            await effects.save(tx, STORE, receipt_id, counts)
            return counts

        counts = await self._database.write(namespace, operation, exclusive=True)
        self._vacuum({"event", "working_summary"})
        return counts

    async def sweep(self, max_rows: int) -> int:
        return await self._database.keep(lambda reader: _sweep(reader, self.grace, max_rows))


async def _sweep(reader: Reader, grace: Grace, max_rows: int) -> int:
    """Expired sessions become dead ones; dead ones lose their events, then their row."""
    await reader.execute(_DUE, reader.now_us, HOUR_US, max_rows)
    swept = await reader.execute(_SWEEP_EVENTS, max_rows, grace.spared_since(reader.now_us))
    swept += await reader.execute(_SWEEP_SESSIONS, max_rows)
    return swept + await effects.sweep(reader, max_rows)


async def _count(reader: Reader, where: str, bindings: Sequence[str]) -> Mapping[str, int]:
    found = await reader.row(_COUNT.format(where, len(bindings) + 1), *bindings, reader.now_us)
    assert found is not None
    return {"events": found[1], "sessions": found[0]}


def _exact(scope: Scope) -> tuple[str, str, str, str]:
    return scope.namespace, scope.user_id, scope.agent_id, scope.session_id


def _with_summaries(working: WorkingSet, session: _Session) -> WorkingSet:
    _, _, create_time, erased, rows = session
    summaries = [decode_summary((*row[:-1], loaded_text(row[-1]))) for row in rows]
    return with_summaries(working, summaries, create_time, erased)


def _event(row: Sequence[Any]) -> Event:
    *columns, content, body = row
    return decode_event((*columns, loaded_text(content), body))
