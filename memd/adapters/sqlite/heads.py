"""The bookkeeping of live sessions, kept in memory by the writer thread as a write-through cache.

An append then needs no read at all: where the session stands, what its working set holds and what came last is known.
Only the writer thread touches it; a head that a rolled-back request changed is dropped and read again.
"""

from __future__ import annotations

import json
from collections import OrderedDict

from memd.adapters.rows.session import EVENT_COLUMNS, decode_event, decode_settings, encode_settings
from memd.adapters.rows.session_head import Head, Last, event_digest
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import LimitExceeded
from memd.domain.model import Scope
from memd.limits import MAX_SESSIONS_PER_USER, SESSION_HEADS

_LIVE = (
    "SELECT s.pk, s.create_time, s.update_time, s.expire_time, s.end_time, s.last_position, s.working_from, s.seq,"
    " s.settings, (SELECT count(*) FROM event WHERE session_pk = s.pk AND ephemeral = 0),"
    " (SELECT json_group_array(json_array(position, tokens)) FROM (SELECT position, tokens FROM event"
    " WHERE session_pk = s.pk AND position >= s.working_from ORDER BY position))"
    " FROM session s WHERE namespace = ? AND user_id = ? AND agent_id = ? AND session_id = ? AND dead = 0"
)
SAVE_INSERT = (
    "INSERT INTO session (pk, namespace, user_id, agent_id, session_id, create_time, update_time, expire_time, end_time,"
    " last_position, working_from, seq)"
)
SAVE_CONFLICT = (
    " ON CONFLICT (pk) DO UPDATE SET"
    " update_time = excluded.update_time, expire_time = excluded.expire_time, end_time = excluded.end_time,"
    " last_position = excluded.last_position, working_from = excluded.working_from, seq = excluded.seq"
)


class Heads:
    """Heads by scope, least recently used ones dropped."""

    def __init__(self) -> None:
        self._heads: OrderedDict[Scope, Head] = OrderedDict()
        self._touched: set[Scope] = set()
        self._next_pk = 0

    def find(self, tx: Transaction, scope: Scope) -> Head | None:
        """The live session, about to be changed by the running request; None when there is none."""
        head = self._heads.get(scope)
        if head is None:
            head = self._load(tx, scope)
            if head is None:
                return None
            self._heads[scope] = head
        else:
            self._heads.move_to_end(scope)
        self._touched.add(scope)
        if head.expire_time > tx.now_us:
            return head
        tx.execute("UPDATE session SET dead = 1 WHERE pk = ?", (head.pk,))
        del self._heads[scope]
        return None

    def open(self, tx: Transaction, scope: Scope, ttl_us: int) -> Head:
        """A new session, its row written. LimitExceeded over MAX_SESSIONS_PER_USER."""
        self._check_room(tx, scope)
        if not self._next_pk:
            found = tx.row("SELECT coalesce(max(pk), 0) + 1 FROM session")
            assert found is not None
            self._next_pk = int(found[0])
        head = Head(self._next_pk, scope, tx.now_us, tx.now_us, tx.now_us + ttl_us, None, 0, 1, 0, 0)
        self._next_pk += 1
        self._heads[scope] = head
        self._touched.add(scope)
        self.save(tx, head)
        return head

    def save(self, tx: Transaction, head: Head) -> None:
        tx.insert_many(SAVE_INSERT, [head.row()], SAVE_CONFLICT)

    def save_settings(self, tx: Transaction, head: Head) -> None:
        """Few sessions have any: they are no part of what every append writes."""
        tx.execute("UPDATE session SET settings = ? WHERE pk = ?", (encode_settings(head.settings), head.pk))

    def drop_touched(self) -> None:
        """After a rollback: memory no longer says what the disk says."""
        for scope in self._touched:
            self._heads.pop(scope, None)
        self._touched.clear()

    def settle(self) -> None:
        """After a commit. Only now may a head go: until then it alone knew what its session had become."""
        self._touched.clear()
        while len(self._heads) > SESSION_HEADS:
            self._heads.popitem(last=False)

    def drop_all(self) -> None:
        self._heads.clear()
        self._touched.clear()

    def _load(self, tx: Transaction, scope: Scope) -> Head | None:
        found = tx.row(_LIVE, (scope.namespace, scope.user_id, scope.agent_id, scope.session_id))
        if found is None:
            return None
        pk, create, update, expire, end, last_position, working_from, seq, settings, episodes, working = found
        head = Head(pk, scope, create, update, expire, end, last_position, working_from, seq, episodes)
        head.settings = decode_settings(settings)
        head.working.extend(sorted((position, tokens) for position, tokens in json.loads(working)))
        head.working_tokens = sum(tokens for _, tokens in head.working)
        newest = tx.row(f"SELECT {EVENT_COLUMNS} FROM event WHERE session_pk = ? AND position = ?", (pk, last_position))
        if newest is not None:
            event = decode_event(newest)
            head.last = Last(
                event_digest(event), event.position, event.event_id, event.count, event.importance, event.tokens
            )
        ephemeral = tx.rows(
            "SELECT position FROM event WHERE session_pk = ? AND position >= ? AND ephemeral = 1 ORDER BY position",
            (pk, working_from),
        )
        head.ephemeral.extend(int(row[0]) for row in ephemeral)
        return head

    def _check_room(self, tx: Transaction, scope: Scope) -> None:
        found = tx.row(
            "SELECT count(*) FROM (SELECT 1 FROM session WHERE dead = 0 AND namespace = ? AND user_id = ?"
            " AND expire_time > ? LIMIT ?)",
            (scope.namespace, scope.user_id, tx.now_us, MAX_SESSIONS_PER_USER),
        )
        if found is not None and found[0] >= MAX_SESSIONS_PER_USER:
            raise LimitExceeded(
                f"the user has {MAX_SESSIONS_PER_USER:,} sessions; end or forget some, or let them expire"
            )
