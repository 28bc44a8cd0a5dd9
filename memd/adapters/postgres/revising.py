"""What is found out about events after their reply; the caller holds the session's mutex."""

from __future__ import annotations

from memd.adapters.postgres.text import loaded_text, stored_text
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.rows.session import EVENT_COLUMNS, decode_event, encode_body
from memd.adapters.rows.session_head import Head, same_but_for_repeats
from memd.ports import EventRevision

_STORED = f"SELECT {EVENT_COLUMNS} FROM memd.event WHERE session_pk = $1 AND position = $2"
_EPISODE = "SELECT 1 FROM memd.event WHERE session_pk = $1 AND event_id = $2 AND NOT ephemeral"
_REVISE = (
    "UPDATE memd.event SET tokens = $3, importance = $4, content = $5, body = $6"
    " WHERE session_pk = $1 AND position = $2"
)


async def revise(tx: Transaction, head: Head, revision: EventRevision) -> bool:
    """False and nothing changed where the event is not as it was read, or what has its body is not there."""
    was, becomes = revision.was, revision.becomes
    found = await tx.row(_STORED, head.pk, was.position)
    if found is None:
        return False
    *columns, content, body = found
    if not same_but_for_repeats(decode_event((*columns, loaded_text(content), body)), was):
        return False
    shares = becomes.body_event_id != was.body_event_id
    if shares and await tx.row(_EPISODE, head.pk, becomes.body_event_id) is None:
        return False
    stored = becomes.tokens, becomes.importance, stored_text(becomes.content), encode_body(becomes, tx.now_us)
    await tx.execute(_REVISE, head.pk, was.position, *stored)
    head.revise(becomes)
    return True
