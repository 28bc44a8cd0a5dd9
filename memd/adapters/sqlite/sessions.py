"""SessionStore on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import apsw

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
from memd.adapters.rows.session_head import Head, recent, working_set
from memd.adapters.rows.summary import SUMMARY_COLUMNS, summary_row, unchanged, with_summaries
from memd.adapters.sqlite import effects, requests
from memd.adapters.sqlite.append import STORE, Append, AppendBundle, delete_stale_ephemeral, prepare
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.heads import Heads
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.revising import revise
from memd.adapters.sqlite.session_forget import count_events, scoped, take_events
from memd.adapters.sqlite.session_rows import EVENT_JSON, SUMMARY_JSON, decode_events, decode_summaries
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import NotFound
from memd.domain.grace import Grace
from memd.domain.model import (
    Appended,
    Durability,
    Event,
    EventKind,
    Page,
    RequestKey,
    Scope,
    Session,
    SessionEvents,
    WorkingSet,
    Written,
)
from memd.domain.session_settings import SettingsChange
from memd.ports import Clock, EventRevision, LiveSession, SessionPolicy

_EXACT = "namespace = ? AND user_id = ? AND agent_id = ? AND session_id = ? AND dead = 0 AND expire_time > ?"
_WORKING = (
    f"SELECT json_group_array({EVENT_JSON}) FROM (SELECT {EVENT_COLUMNS} FROM event"
    " WHERE session_pk = s.pk AND position >= s.working_from ORDER BY position DESC LIMIT -1)"
)
"""All of it: it is within the caps of its last append, and only the session says what they are now."""
_RECENT = (
    f"SELECT json_group_array({EVENT_JSON}) FROM (SELECT {EVENT_COLUMNS} FROM event"
    " WHERE session_pk = s.pk AND position < s.working_from AND ephemeral = 0 ORDER BY position DESC LIMIT ?)"
)
_SUMMARIES = f"SELECT json_group_array({SUMMARY_JSON}) FROM working_summary WHERE session_pk = s.pk"
_SUMMARIZED = (
    "SELECT (SELECT coalesce(max(last_position), 0) FROM working_summary WHERE session_pk = s.pk), s.erased"
    " FROM session s WHERE s.pk = ?"
)
_UNSUMMARIZE = "DELETE FROM working_summary WHERE session_pk = ?"
# Position of the oldest episode within the cap; no row while there are fewer.
_FLOOR = "SELECT position FROM event WHERE session_pk = ? AND ephemeral = 0 ORDER BY position DESC LIMIT 1 OFFSET ?"
_WITH_ITEMS = (
    "SELECT pk, settings, namespace, user_id, agent_id, session_id FROM session WHERE pk > ? AND dead = 0 AND expire_time > ?"
    " AND working_from < last_position ORDER BY pk LIMIT ?"
)
# What nobody has consolidated yet waits for it, but not for ever.
_SWEEPABLE = "(min(promoted, digested) >= last_position OR expire_time <= ?)"


class SqliteSessions:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock
        self.grace = Grace()
        self._heads = Heads()
        self._bundle = AppendBundle(self._heads)
        writer.on_rollback.append(self._heads.drop_touched)
        writer.on_commit.append(self._heads.settle)

    async def append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Appended:
        item: Append = prepare(scope, events, policy, request, self._clock.now_us())
        written: Appended = await self._writer.submit_bundled(self._bundle, item)
        return written

    async def working(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        bindings = _exact(scope, self._clock.now_us())
        sql = f"SELECT seq, settings, create_time, erased, ({_SUMMARIES}), ({_WORKING}) FROM session s WHERE {_EXACT}"
        found = await self._reads.run(lambda connection: row(connection, sql, bindings))
        if not found:
            return WorkingSet((), 0, 0)
        seq, settings, create_time, erased, summaries, items = found
        working = working_set(seq, decode_events(items), policy, decode_settings(settings))
        return with_summaries(working, decode_summaries(summaries), create_time, erased)

    async def recent(self, scope: Scope, policy: SessionPolicy, limit: int) -> tuple[WorkingSet, tuple[Event, ...]]:
        # Caps may have been lowered since the last append: what they push out of the working set is recent.
        bindings = (limit, *_exact(scope, self._clock.now_us()))
        columns = f"seq, settings, create_time, erased, ({_SUMMARIES}), ({_WORKING}), ({_RECENT})"
        sql = f"SELECT {columns} FROM session s WHERE {_EXACT}"
        # on the event loop: an indexed read within the caps takes some ten microseconds, a thread's turn over a hundred
        found = self._reads.blocking(lambda connection: row(connection, sql, bindings))
        if not found:
            return WorkingSet((), 0, 0), ()
        seq, settings, create_time, erased, summaries, items, before = found
        own = decode_settings(settings)
        working, older = recent(seq, decode_events(items), decode_events(before), policy, own, limit)
        return with_summaries(working, decode_summaries(summaries), create_time, erased), older

    async def compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        return await self._writer.submit(lambda tx: self._compress(tx, scope, seen, summaries, through))

    def _compress(
        self, tx: Transaction, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int
    ) -> bool:
        head = self._heads.find(tx, scope)
        if head is None or head.working_from > through:
            return False
        summarized = tx.row(_SUMMARIZED, (head.pk,))
        assert summarized is not None
        if not unchanged(seen, head.create_time, *summarized):
            return False
        tx.execute(_UNSUMMARIZE, (head.pk,))
        rows = [(head.pk, *summary_row(summary)) for summary in summaries]
        tx.insert_many(f"INSERT INTO working_summary (session_pk, {SUMMARY_COLUMNS})", rows)
        head.compress_working(through)
        head.seq += 1
        self._heads.save(tx, head)
        delete_stale_ephemeral(tx, head)
        tx.erases_later = True
        return True

    async def revise(self, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        return await self._writer.submit(lambda tx: self._revise(tx, scope, revisions))

    def _revise(self, tx: Transaction, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        head = self._heads.find(tx, scope)
        changed = sum(revise(tx, head, revision) for revision in revisions) if head is not None else 0
        if head is not None and changed:
            head.seq += 1
            self._heads.save(tx, head)
            tx.erases_later = True
        return changed

    async def configure(
        self, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        return await self._writer.submit(lambda tx: self._configure(tx, scope, change, policy, request))

    def _configure(
        self, tx: Transaction, scope: Scope, change: SettingsChange, policy: SessionPolicy, request: RequestKey | None
    ) -> Written[Session]:
        known = requests.find(tx, STORE, request)
        if known is not None:
            again = decode_session_reply(scope, known)
            return Written(again, again.seq, Durability.SYNCED, replayed=True)
        head = self._heads.find(tx, scope) or self._heads.open(tx, scope, policy.ttl_us)
        head.settings = head.settings.changed(change)
        head.seq += 1
        self._heads.save(tx, head)
        self._heads.save_settings(tx, head)
        configured = head.session()
        requests.save(tx, STORE, request, session_reply(configured))
        return Written(configured, configured.seq, Durability.SYNCED)

    async def clear_working(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        return await self._writer.submit(lambda tx: self._clear(tx, scope, request))

    def _clear(self, tx: Transaction, scope: Scope, request: RequestKey | None) -> Written[int]:
        known = requests.find(tx, STORE, request)
        if known is not None:
            return Written(known[1], known[0], Durability.SYNCED, replayed=True)
        head = self._heads.find(tx, scope)
        cleared = 0
        if head is not None:
            cleared = len(head.working) + self._empty(tx, head)
        if head is not None and cleared:
            head.seq += 1
            self._heads.save(tx, head)
        seq = head.seq if head is not None else 0
        requests.save(tx, STORE, request, (seq, cleared))
        return Written(cleared, seq, Durability.SYNCED)

    def _empty(self, tx: Transaction, head: Head) -> int:
        """Nothing is in working memory any more; how many summaries went."""
        head.empty_working()
        summaries = tx.execute(_UNSUMMARIZE, (head.pk,))
        tx.erases = delete_stale_ephemeral(tx, head) + summaries > 0 or tx.erases
        return summaries

    async def episodes(
        self, scope: Scope, policy: SessionPolicy, *, kinds: frozenset[EventKind], size: int, cursor: str
    ) -> Page[Event]:
        (before,) = decode_cursor(cursor, int) or (0,)
        bindings = _exact(scope, self._clock.now_us())
        return await self._reads.run(
            lambda connection: _episodes(connection, bindings, policy, kinds=kinds, size=size, before=before)
        )

    async def sessions(self, scope: Scope, *, size: int, cursor: str) -> Page[Session]:
        update_time, pk = decode_cursor(cursor, int, int) or (1 << 62, 0)
        sql = (
            f"SELECT pk, {SESSION_COLUMNS} FROM session WHERE namespace = ? AND user_id = ? AND agent_id = ? AND dead = 0"
            " AND expire_time > ? AND (update_time, pk) < (?, ?) ORDER BY update_time DESC, pk DESC LIMIT ?"
        )
        now = self._clock.now_us()
        bindings = (scope.namespace, scope.user_id, scope.agent_id, now, update_time, pk, size + 1)
        found = await self._reads.run(lambda connection: rows(connection, sql, bindings))
        items = tuple(decode_session(one[1:]) for one in found[:size])
        return Page(items, encode_cursor(items[-1].update_time, found[size - 1][0]) if len(found) > size else "")

    async def live(self, size: int, cursor: str) -> Page[LiveSession]:
        (after,) = decode_cursor(cursor, int) or (0,)
        bindings = after, self._clock.now_us(), size
        found = await self._reads.run(lambda connection: rows(connection, _WITH_ITEMS, bindings))
        items = tuple(LiveSession(Scope(*one[2:]), decode_settings(one[1])) for one in found)
        return Page(items, encode_cursor(found[-1][0]) if len(found) == size else "")

    async def end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        return await self._writer.submit(lambda tx: self._end(tx, scope, request))

    def _end(self, tx: Transaction, scope: Scope, request: RequestKey | None) -> Written[Session]:
        known = requests.find(tx, STORE, request)
        if known is not None:
            again = decode_session_reply(scope, known)
            return Written(again, again.seq, Durability.SYNCED, replayed=True)
        head = self._heads.find(tx, scope)
        if head is None:
            raise NotFound("there is no such session")
        if head.end_time is None:
            head.end_time = tx.now_us
            head.seq += 1
            self._empty(tx, head)
            self._heads.save(tx, head)
        ended = head.session()
        requests.save(tx, STORE, request, session_reply(ended))
        return Written(ended, ended.seq, Durability.SYNCED)

    async def forget(self, scope: Scope, *, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        return await self._writer.submit(lambda tx: self._forget(tx, scope, all_users, receipt_id))

    def _forget(self, tx: Transaction, scope: Scope, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        known = effects.find(tx, STORE, receipt_id)
        if known is not None:
            return known
        where, bindings = scoped(scope, all_users)
        counts = _count(tx.connection, where, bindings, tx.now_us)
        for dead in (0, 1):  # what has expired goes as well: it is out of sight, but still in the file
            which = f"dead = {dead} AND {where}"
            tx.execute(f"DELETE FROM event WHERE session_pk IN (SELECT pk FROM session WHERE {which})", bindings)
            tx.execute(f"DELETE FROM session WHERE {which}", bindings)
        self._heads.drop_all()
        tx.erases = True
        effects.save(tx, STORE, receipt_id, counts)
        return counts

    async def count(self, scope: Scope, *, all_users: bool) -> Mapping[str, int]:
        where, bindings = scoped(scope, all_users)
        now = self._clock.now_us()
        return await self._reads.run(lambda connection: _count(connection, where, bindings, now))

    async def forget_events(
        self, namespace: str, events: Sequence[SessionEvents], *, receipt_id: str
    ) -> Mapping[str, int]:
        if not receipt_id:
            return await self._reads.run(lambda connection: count_events(connection, events))
        return await self._writer.submit(lambda tx: self._forget_events(tx, events, receipt_id))

    def _forget_events(self, tx: Transaction, events: Sequence[SessionEvents], receipt_id: str) -> Mapping[str, int]:
        known = effects.find(tx, STORE, receipt_id)
        if known is not None:
            return known
        counts = take_events(tx.connection, events)
        effects.save(tx, STORE, receipt_id, counts)
        self._heads.drop_all()
        tx.erases = True
        return counts

    async def sweep(self, max_rows: int) -> int:
        # Every append moves expire_time, so no index has it: a reader looks for what is due, off the writer's time.
        sql = f"SELECT pk FROM session WHERE dead = 0 AND expire_time <= ? AND {_SWEEPABLE} LIMIT ?"
        now = self._clock.now_us()
        spared = self.grace.spared_since(now)
        due = await self._reads.run(lambda connection: rows(connection, sql, (now, spared, max_rows)))
        return await self._writer.submit(lambda tx: _sweep(tx, [pk for (pk,) in due], spared, max_rows))


def _sweep(tx: Transaction, due: Sequence[int], spared_since_us: int, max_rows: int) -> int:
    """Expired sessions become dead ones; dead ones lose their events, then their row."""
    tx.execute(
        "UPDATE session SET dead = 1 WHERE pk IN (SELECT value FROM json_each(?)) AND dead = 0 AND expire_time <= ?",
        (json.dumps(due), tx.now_us),
    )
    swept = tx.execute(
        "DELETE FROM event WHERE pk IN (SELECT e.pk FROM session s JOIN event e ON e.session_pk = s.pk"
        f" WHERE s.dead = 1 AND {_SWEEPABLE} LIMIT ?)",
        (spared_since_us, max_rows),
    )
    swept += tx.execute(
        "DELETE FROM session WHERE dead = 1 AND NOT EXISTS (SELECT 1 FROM event WHERE session_pk = session.pk)"
    )
    tx.erases_later = tx.erases_later or swept > 0
    return swept + requests.sweep(tx, max_rows) + effects.sweep(tx, max_rows)


def _exact(scope: Scope, now_us: int) -> tuple[str | int, ...]:
    return scope.namespace, scope.user_id, scope.agent_id, scope.session_id, now_us


def _count(connection: apsw.Connection, where: str, bindings: Sequence[str], now_us: int) -> Mapping[str, int]:
    found = row(
        connection,
        "SELECT count(*), coalesce(sum((SELECT count(*) FROM event WHERE session_pk = session.pk)), 0) FROM session"
        f" WHERE {where} AND dead = 0 AND expire_time > ?",
        (*bindings, now_us),
    )
    assert found is not None
    return {"events": found[1], "sessions": found[0]}


def _episodes(
    connection: apsw.Connection,
    bindings: Sequence[str | int],
    policy: SessionPolicy,
    *,
    kinds: frozenset[EventKind],
    size: int,
    before: int,
) -> Page[Event]:
    found = row(connection, f"SELECT pk FROM session WHERE {_EXACT}", bindings)
    if found is None:
        return Page((), "")
    floor = row(connection, _FLOOR, (found[0], policy.episodic_max_items - 1))
    sql = f"SELECT {EVENT_COLUMNS} FROM event WHERE session_pk = ? AND position >= ? AND position < ? AND ephemeral = 0"
    if kinds:
        sql += " AND kind IN (SELECT value FROM json_each(?))"
    limits = (found[0], floor[0] if floor else 0, before or 1 << 62)
    wanted = (json.dumps([kind.value for kind in kinds]),) if kinds else ()
    newest = rows(connection, f"{sql} ORDER BY position DESC LIMIT ?", (*limits, *wanted, size + 1))
    items = tuple(decode_event(one) for one in newest[:size])
    return Page(items, encode_cursor(items[-1].position) if len(newest) > size else "")
