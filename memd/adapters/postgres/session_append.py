"""Append: what the events come to is decided here, by what the session holds; then one statement writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memd.adapters.postgres.session_heads import Changes, Stored, find_head, held_events, new_head, save_head
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.rows.session import encode_body
from memd.adapters.rows.session_head import Head, Last, event_digest
from memd.domain.model import Event, ObservedEvent, Scope
from memd.limits import TRIM_SLACK
from memd.ports import SessionPolicy

# Kept are the working set, from $2 on, and the newest episodes: $3 is how many of those, less one.
_TRIM = (
    "DELETE FROM memd.event WHERE session_pk = $1 AND NOT ephemeral AND position < least($2, (SELECT position"
    " FROM memd.event WHERE session_pk = $1 AND NOT ephemeral ORDER BY position DESC OFFSET $3 LIMIT 1))"
)
_STALE = "DELETE FROM memd.event WHERE session_pk = $1 AND position < $2 AND ephemeral"
_COUNTED = "UPDATE memd.session SET episodes = $2, stale_ephemeral = $3 WHERE pk = $1"


async def append(
    tx: Transaction, scope: Scope, events: Sequence[Event], policy: SessionPolicy
) -> tuple[Head, tuple[ObservedEvent, ...]]:
    """The session as it is now, and what became of each event. The caller holds the session's mutex."""
    head = await find_head(tx, scope) or await new_head(tx, scope, policy.ttl_us)
    plan = _Plan(head, await held_events(tx, head, [event.event_id for event in events]), tx.now_us)
    observed = tuple(plan.add(event) for event in events)
    head.trim_working(policy)
    head.seq += plan.changed
    head.update_time = max(tx.now_us, head.update_time)  # one that had to wait for the mutex may have an older time
    head.expire_time = head.update_time + policy.ttl_us
    head.end_time = None
    await save_head(tx, head, plan.changes)
    await _trim(tx, head, policy)
    return head, observed


class _Plan:
    """``held`` are the session's events by id; new ones join them."""

    def __init__(self, head: Head, held: dict[str, ObservedEvent], now_us: int) -> None:
        self._head = head
        self._held = held
        self._now_us = now_us
        self.changes = Changes()
        self.changed = False

    def add(self, event: Event) -> ObservedEvent:
        known = self._held.get(event.event_id)
        if known is not None:
            return replace(known, merged=True)
        self.changed = True
        digest, last = event_digest(event), self._head.last
        if last is not None and last.digest == digest:
            self._merge(last, event)
            return ObservedEvent(last.event_id, True, last.importance, last.tokens, last.position)
        return self._store(event, digest)

    def _merge(self, last: Last, event: Event) -> None:
        last.count += event.count
        waiting = self.changes.stored.get(last.position)
        if waiting is None:
            self.changes.merged = last.position, last.count, self._seen(event)
        else:
            waiting.count, waiting.last_seen = last.count, self._seen(event)

    def _store(self, event: Event, digest: bytes) -> ObservedEvent:
        head = self._head
        position = head.last_position = head.last_position + 1
        head.last = Last(digest, position, event.event_id, event.count, event.importance, event.tokens)
        head.working.append((position, event.tokens))
        head.working_tokens += event.tokens
        if event.ephemeral:
            head.ephemeral.append(position)
        else:
            head.episodes += 1
        body = encode_body(event, self._now_us)
        self.changes.stored[position] = Stored(event, position, body, event.count, self._seen(event))
        observed = ObservedEvent(event.event_id, False, event.importance, event.tokens, position)
        self._held[event.event_id] = observed
        return observed

    def _seen(self, event: Event) -> int:
        return event.last_seen or event.event_time or self._now_us


async def _trim(tx: Transaction, head: Head, policy: SessionPolicy) -> None:
    """Delete what is over the cap, once it is worth a statement. Reads apply the cap exactly."""
    before = head.episodes, head.stale_ephemeral
    if head.episodes > policy.episodic_max_items + TRIM_SLACK:
        head.episodes -= await tx.execute(_TRIM, head.pk, head.working_from, policy.episodic_max_items - 1)
    if head.stale_ephemeral > TRIM_SLACK:
        await delete_stale_ephemeral(tx, head)
    if (head.episodes, head.stale_ephemeral) != before:
        await tx.execute(_COUNTED, head.pk, head.episodes, head.stale_ephemeral)


async def delete_stale_ephemeral(tx: Transaction, head: Head) -> None:
    """Ephemeral events that have left working memory."""
    head.stale_ephemeral = 0
    await tx.execute(_STALE, head.pk, head.working_from)
