"""Append, the hot write: many callers' events in a handful of statements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memd.adapters.rows.session import encode_body
from memd.adapters.rows.session_head import Head, Last, event_digest
from memd.adapters.sqlite import requests
from memd.adapters.sqlite.heads import SAVE_CONFLICT, SAVE_INSERT, Heads
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Job
from memd.domain.model import Appended, Durability, Event, ObservedEvent, RequestKey, Scope
from memd.limits import TRIM_SLACK
from memd.ports import SessionPolicy

STORE = "sessions"
_INSERT = "INSERT INTO event (session_pk, position, event_id, kind, ephemeral, tokens, count, last_seen, content, body)"
_HELD = (
    "SELECT event_id, position, tokens, body ->> 1 FROM event"
    " WHERE session_pk = ? AND event_id IN (SELECT value FROM json_each(?))"
)


@dataclass(slots=True)
class Append:
    """One append as it waits: digests and bodies are made before the writer's turn."""

    scope: Scope
    events: Sequence[Event]
    digests: list[bytes]
    bodies: list[str]
    policy: SessionPolicy
    request: RequestKey | None


def prepare(
    scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None, now_us: int
) -> Append:
    digests = [event_digest(event) for event in events]
    return Append(scope, events, digests, [encode_body(event, now_us) for event in events], policy, request)


class AppendBundle:
    """Plans in memory from the heads, then writes everything at once.

    Optimistic: an event_id or request_id that is already there breaks a unique index, the writer undoes the bundle and
    runs its requests one by one, which look first.
    """

    def __init__(self, heads: Heads) -> None:
        self._heads = heads

    def run(self, tx: Transaction, jobs: Sequence[Job]) -> None:
        plan = _Plan(tx, self._heads)
        for job in jobs:
            job.result = plan.add(job.item, look_first=False)
        plan.write()

    def run_one(self, tx: Transaction, item: Append) -> Appended:
        known = requests.find(tx, STORE, item.request)
        if known is not None:
            seq, observed = known
            return Appended(tuple(ObservedEvent(*one) for one in observed), seq, Durability.SYNCED, replayed=True)
        plan = _Plan(tx, self._heads)
        written = plan.add(item, look_first=True)
        plan.write()
        return written


class _Plan:
    """Rows to write, collected over requests; heads already stand where they will after the commit."""

    def __init__(self, tx: Transaction, heads: Heads) -> None:
        self._tx = tx
        self._heads = heads
        self._sessions: dict[int, tuple[Head, SessionPolicy]] = {}
        self._events: dict[tuple[int, int], list[Any]] = {}
        self._merges: dict[tuple[int, int], tuple[int, int]] = {}
        self._requests: list[tuple[Any, ...]] = []
        self._names: dict[tuple[int, str], ObservedEvent] = {}
        self._changes = 0

    def add(self, item: Append, *, look_first: bool) -> Appended:
        """Without ``look_first`` no event_id is taken to be stored yet: the unique index will tell."""
        head = self._heads.find(self._tx, item.scope)
        if head is None:
            head = self._heads.open(self._tx, item.scope, item.policy.ttl_us)
        if look_first:
            self._look_up(head, [event.event_id for event in item.events])
        before = self._changes
        observed = tuple(
            self._one(head, event, digest, body, look_first)
            for event, digest, body in zip(item.events, item.digests, item.bodies, strict=True)
        )
        head.trim_working(item.policy)
        head.seq += self._changes != before
        head.update_time = self._tx.now_us
        head.expire_time = self._tx.now_us + item.policy.ttl_us
        head.end_time = None
        self._sessions[head.pk] = head, item.policy
        if item.request is not None:
            reply = head.seq, [(o.event_id, o.merged, o.importance, o.tokens, o.position) for o in observed]
            self._requests.append(requests.record(STORE, item.request, reply, self._tx.now_us))
        return Appended(observed, head.seq, Durability.SYNCED, settings=head.settings)

    def _one(self, head: Head, event: Event, digest: bytes, body: str, looked: bool) -> ObservedEvent:
        name = head.pk, event.event_id
        last = head.last
        if last is not None and last.digest == digest and not looked and name not in self._names:
            self._look_up(head, [event.event_id])  # rare, and a merge breaks no index that could tell
        if name in self._names:
            return replace(self._names[name], merged=True)
        if last is not None and last.digest == digest:
            self._merge(head.pk, last, event)
            return ObservedEvent(last.event_id, True, last.importance, last.tokens, last.position)
        position = self._store(head, event, digest, body)
        observed = ObservedEvent(event.event_id, False, event.importance, event.tokens, position)
        self._names[name] = observed
        return observed

    def _store(self, head: Head, event: Event, digest: bytes, body: str) -> int:
        self._changes += 1
        position = head.last_position = head.last_position + 1
        head.last = Last(digest, position, event.event_id, event.count, event.importance, event.tokens)
        head.working.append((position, event.tokens))
        head.working_tokens += event.tokens
        if event.ephemeral:
            head.ephemeral.append(position)
        else:
            head.episodes += 1
        self._events[head.pk, position] = [
            head.pk,
            position,
            event.event_id,
            event.kind.value,
            int(event.ephemeral),
            event.tokens,
            event.count,
            event.last_seen or event.event_time or self._tx.now_us,
            event.content,
            body,
        ]
        return position

    def _merge(self, session_pk: int, last: Last, event: Event) -> None:
        self._changes += 1
        last.count += event.count
        seen = event.last_seen or event.event_time or self._tx.now_us
        waiting = self._events.get((session_pk, last.position))
        if waiting is None:
            self._merges[session_pk, last.position] = last.count, seen
        else:
            waiting[6:8] = last.count, seen

    def _look_up(self, head: Head, event_ids: list[str]) -> None:
        for event_id, position, tokens, importance in self._tx.rows(_HELD, (head.pk, json.dumps(event_ids))):
            self._names[head.pk, event_id] = ObservedEvent(event_id, True, float(importance), tokens, position)

    def write(self) -> None:
        tx = self._tx
        tx.insert_many(SAVE_INSERT, [head.row() for head, _ in self._sessions.values()], SAVE_CONFLICT)
        tx.insert_many(_INSERT, [tuple(row) for row in self._events.values()])
        tx.insert_many(requests.INSERT, self._requests)
        for (session_pk, position), (count, seen) in self._merges.items():
            tx.execute(
                "UPDATE event SET count = ?, last_seen = ? WHERE session_pk = ? AND position = ?",
                (count, seen, session_pk, position),
            )
        for head, policy in self._sessions.values():
            _trim(tx, head, policy)


def _trim(tx: Transaction, head: Head, policy: SessionPolicy) -> None:
    """Delete what is over the cap, once it is worth a statement. Reads apply the cap exactly."""
    if head.episodes > policy.episodic_max_items + TRIM_SLACK:
        found = tx.row(
            "SELECT position FROM event WHERE session_pk = ? AND ephemeral = 0 ORDER BY position DESC LIMIT 1 OFFSET ?",
            (head.pk, policy.episodic_max_items - 1),
        )
        assert found is not None
        head.episodes -= tx.execute(
            "DELETE FROM event WHERE session_pk = ? AND position < ? AND ephemeral = 0",
            (head.pk, min(found[0], head.working_from)),
        )
        tx.erases_later = True
    if head.stale_ephemeral > TRIM_SLACK:
        delete_stale_ephemeral(tx, head)
        tx.erases_later = True


def delete_stale_ephemeral(tx: Transaction, head: Head) -> int:
    """Ephemeral events that have left working memory."""
    head.stale_ephemeral = 0
    return tx.execute(
        "DELETE FROM event WHERE session_pk = ? AND position < ? AND ephemeral = 1", (head.pk, head.working_from)
    )
