"""Where a session stands, read and written by whoever holds its mutex: one statement each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memd.adapters.postgres.text import stored_text
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.rows.session import decode_settings, encode_settings
from memd.adapters.rows.session_head import Head, Last
from memd.domain.errors import LimitExceeded
from memd.domain.model import Event, ObservedEvent, Scope
from memd.limits import HOUR_US, MAX_SESSIONS_PER_USER

EXACT = "s.namespace = $1 AND s.user_id = $2 AND s.agent_id = $3 AND s.session_id = $4 AND NOT s.dead"
# FOR UPDATE, since the sweep takes no mutex.
_LOAD = (
    "SELECT s.pk, s.create_time, s.update_time, s.expire_time, s.end_time, s.last_position, s.working_from, s.seq,"
    " s.settings, s.episodes, s.stale_ephemeral, s.last_digest, l.event_id, l.count, l.importance, l.tokens,"
    " ARRAY(SELECT e.position FROM memd.event e WHERE e.session_pk = s.pk AND e.position >= s.working_from"
    " ORDER BY e.position),"
    " ARRAY(SELECT e.tokens FROM memd.event e WHERE e.session_pk = s.pk AND e.position >= s.working_from"
    " ORDER BY e.position),"
    " ARRAY(SELECT e.position FROM memd.event e WHERE e.session_pk = s.pk AND e.position >= s.working_from"
    " AND e.ephemeral ORDER BY e.position)"
    " FROM memd.session s LEFT JOIN memd.event l ON l.session_pk = s.pk AND l.position = s.last_position"
    f" WHERE {EXACT} FOR UPDATE OF s"
)
_HELD = "SELECT event_id, position, tokens, importance FROM memd.event WHERE session_pk = $1 AND event_id = ANY ($2::text[])"
_BURY = "UPDATE memd.session SET dead = true WHERE pk = $1"
_ROOM = (
    "SELECT count(*) FROM (SELECT FROM memd.session WHERE namespace = $1 AND user_id = $2 AND NOT dead"
    " AND expire_time > $3 LIMIT $4) live"
)
_SAVE = (
    "WITH session AS (INSERT INTO memd.session AS s (namespace, user_id, agent_id, session_id, create_time, update_time,"
    " expire_time, expire_hour, end_time, last_position, working_from, seq, episodes, stale_ephemeral, last_digest)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    " ON CONFLICT (namespace, user_id, agent_id, session_id) WHERE NOT dead DO UPDATE SET"
    " update_time = excluded.update_time, expire_time = excluded.expire_time, expire_hour = excluded.expire_hour,"
    " end_time = excluded.end_time, last_position = excluded.last_position, working_from = excluded.working_from,"
    " seq = excluded.seq, episodes = excluded.episodes, stale_ephemeral = excluded.stale_ephemeral,"
    " last_digest = excluded.last_digest, unpromoted = excluded.last_position > s.promoted,"
    " undigested = excluded.last_position > s.digested RETURNING pk),"
    " merged AS (UPDATE memd.event SET count = $16, last_seen = $17 FROM session"
    " WHERE session_pk = session.pk AND position = $18),"
    " stored AS (INSERT INTO memd.event (namespace, session_pk, position, event_id, kind, ephemeral, tokens, count,"
    " last_seen, importance, content, body) SELECT $1, session.pk, e.* FROM session, unnest($19::bigint[], $20::text[],"
    " $21::text[], $22::boolean[], $23::integer[], $24::integer[], $25::bigint[], $26::float8[], $27::text[],"
    " $28::text[]) e) SELECT pk FROM session"
)
# A session that was opened for them has nothing yet to be consolidated, which the columns' defaults do not know.
_SAVE_SETTINGS = (
    "UPDATE memd.session SET settings = $2, unpromoted = last_position > promoted, undigested = last_position > digested"
    " WHERE pk = $1"
)
_COLUMNS = 10
"""Of an event in _SAVE."""


@dataclass(slots=True)
class Stored:
    """One new event, to be written."""

    event: Event
    position: int
    body: str
    count: int
    last_seen: int

    def row(self) -> tuple[Any, ...]:
        event = self.event
        return (
            self.position,
            event.event_id,
            event.kind.value,
            event.ephemeral,
            event.tokens,
            self.count,
            self.last_seen,
            event.importance,
            stored_text(event.content),
            self.body,
        )


@dataclass(slots=True)
class Changes:
    """Rows a request writes beside the session's own. ``merged``: position, count and last_seen of the event that was
    the newest before, where repeats of it came."""

    stored: dict[int, Stored] = field(default_factory=dict)
    merged: tuple[int, int, int] | None = None


async def find_head(tx: Transaction, scope: Scope) -> Head | None:
    """The live session; None when there is none. What has expired is out of the way of a new one then."""
    found = await tx.row(_LOAD, scope.namespace, scope.user_id, scope.agent_id, scope.session_id)
    if found is None:
        return None
    head = _head(scope, found)
    if head.expire_time > tx.now_us:
        return head
    await tx.execute(_BURY, head.pk)
    return None


def _head(scope: Scope, found: Sequence[Any]) -> Head:
    *numbers, settings, episodes, stale, digest, event_id, count, importance, tokens, positions, sizes, ephemeral = (
        found
    )
    pk, create, update, expire, end, last_position, working_from, seq = numbers
    head = Head(pk, scope, create, update, expire, end, last_position, working_from, seq, episodes)
    head.settings = decode_settings(settings)
    head.stale_ephemeral = stale
    head.working.extend(zip(positions, sizes, strict=True))
    head.working_tokens = sum(sizes)
    head.ephemeral.extend(ephemeral)
    if event_id is not None and digest is not None:
        head.last = Last(digest, last_position, event_id, count, importance, tokens)
    return head


async def new_head(tx: Transaction, scope: Scope, ttl_us: int) -> Head:
    """A session to be saved. LimitExceeded over MAX_SESSIONS_PER_USER."""
    found = await tx.row(_ROOM, scope.namespace, scope.user_id, tx.now_us, MAX_SESSIONS_PER_USER)
    if found is not None and found[0] >= MAX_SESSIONS_PER_USER:
        raise LimitExceeded(f"the user has {MAX_SESSIONS_PER_USER:,} sessions; end or forget some, or let them expire")
    return Head(0, scope, tx.now_us, tx.now_us, tx.now_us + ttl_us, None, 0, 1, 0, 0)


async def held_events(tx: Transaction, head: Head, event_ids: Sequence[str]) -> dict[str, ObservedEvent]:
    """Those of the ids that the session already holds."""
    if not head.pk:
        return {}
    found = await tx.rows(_HELD, head.pk, list(event_ids))
    return {
        event_id: ObservedEvent(event_id, True, importance, tokens, position)
        for event_id, position, tokens, importance in found
    }


async def save_head(tx: Transaction, head: Head, changes: Changes | None = None) -> None:
    """Write the session and what changed with it; a new one gets its ``pk``."""
    changes = changes or Changes()
    position, count, last_seen = changes.merged or (None, None, None)
    events = [one.row() for one in changes.stored.values()]
    columns = [list(column) for column in zip(*events, strict=True)] or [[] for _ in range(_COLUMNS)]
    found = await tx.row(_SAVE, *_session_row(head), count, last_seen, position, *columns)
    assert found is not None
    head.pk = found[0]


async def save_settings(tx: Transaction, head: Head) -> None:
    """Few sessions have any: they are no part of what every append writes."""
    await tx.execute(_SAVE_SETTINGS, head.pk, encode_settings(head.settings))


def _session_row(head: Head) -> tuple[Any, ...]:
    scope = head.scope
    return (
        scope.namespace,
        scope.user_id,
        scope.agent_id,
        scope.session_id,
        head.create_time,
        head.update_time,
        head.expire_time,
        head.expire_time // HOUR_US,
        head.end_time,
        head.last_position,
        head.working_from,
        head.seq,
        head.episodes,
        head.stale_ephemeral,
        head.last.digest if head.last else None,
    )


def scoped(scope: Scope, *, all_users: bool) -> tuple[str, list[str]]:
    """WHERE clause of every session in a scope, live or not, and its bindings from $1 on."""
    parts: Mapping[str, str] = {"namespace": scope.namespace}
    if not all_users:
        narrower = {"agent_id": scope.agent_id, "session_id": scope.session_id}
        parts = {**parts, "user_id": scope.user_id, **{name: value for name, value in narrower.items() if value}}
    where = " AND ".join(f"s.{name} = ${i}" for i, name in enumerate(parts, 1))
    return where, list(parts.values())
