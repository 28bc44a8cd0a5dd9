"""What a Forget takes out of sessions: events, and the summaries that tell them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import apsw

from memd.adapters.sqlite.connection import rows
from memd.domain.model import Scope, SessionEvents

_FIND = (
    "SELECT s.pk, e.position FROM (SELECT pk FROM session WHERE {}) s JOIN event e ON e.session_pk = s.pk"
    " WHERE e.event_id IN (SELECT value FROM json_each(?))"
)
_TAKE = "DELETE FROM event WHERE session_pk = ? AND position IN (SELECT value FROM json_each(?))"
_ANEW = "UPDATE session SET digested = 0, erased = erased + 1, seq = seq + 1 WHERE pk = ?"
_TOLD = (
    "SELECT count(*) FROM working_summary WHERE session_pk = ?1 AND EXISTS (SELECT 1 FROM working_summary w, json_each(?2)"
    " WHERE w.session_pk = ?1 AND value BETWEEN w.first_position AND w.last_position)"
)


def scoped(scope: Scope, all_users: bool) -> tuple[str, tuple[str, ...]]:
    """WHERE clause of every session in a scope, live or not."""
    if all_users:
        return "namespace = ?", (scope.namespace,)
    where = "namespace = ? AND user_id = ?"
    bindings: tuple[str, ...] = (scope.namespace, scope.user_id)
    for column, value in (("agent_id", scope.agent_id), ("session_id", scope.session_id)):
        if value:
            where, bindings = f"{where} AND {column} = ?", (*bindings, value)
    return where, bindings


def _find(connection: apsw.Connection, events: Sequence[SessionEvents]) -> Mapping[int, str]:
    """Positions by session, as JSON."""
    found: dict[int, set[int]] = {}
    for one in events:
        where, bindings = scoped(one.scope, all_users=False)
        for pk, position in rows(connection, _FIND.format(where), (*bindings, json.dumps(one.event_ids))):
            found.setdefault(pk, set()).add(position)
    return {pk: json.dumps(sorted(positions)) for pk, positions in found.items()}


def count_events(connection: apsw.Connection, events: Sequence[SessionEvents]) -> Mapping[str, int]:
    """What ``take_events`` would count."""
    found = _find(connection, events)
    return _counts(connection, found)


def take_events(connection: apsw.Connection, events: Sequence[SessionEvents]) -> Mapping[str, int]:
    """``ports.SessionStore.forget_events``, but for the receipt, in the transaction that is open."""
    found = _find(connection, events)
    counts = _counts(connection, found)
    for pk, positions in found.items():
        if _told(connection, pk, positions):
            connection.execute("DELETE FROM working_summary WHERE session_pk = ?", (pk,)).fetchall()
        connection.execute(_TAKE, (pk, positions)).fetchall()
        connection.execute(_ANEW, (pk,)).fetchall()
    return counts


def _counts(connection: apsw.Connection, found: Mapping[int, str]) -> Mapping[str, int]:
    events = sum(len(json.loads(positions)) for positions in found.values())
    return {"events": events, "summaries": sum(_told(connection, pk, positions) for pk, positions in found.items())}


def _told(connection: apsw.Connection, pk: int, positions: str) -> int:
    """How many summaries the session has, where one of them tells one of the positions; else 0."""
    return int(rows(connection, _TOLD, (pk, positions))[0][0])
