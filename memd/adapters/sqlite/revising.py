"""What is found out about events after their reply."""

from __future__ import annotations

from memd.adapters.rows.session import EVENT_COLUMNS, decode_event, encode_body
from memd.adapters.rows.session_head import Head, same_but_for_repeats
from memd.adapters.sqlite.transaction import Transaction
from memd.ports import EventRevision

_STORED = f"SELECT {EVENT_COLUMNS} FROM event WHERE session_pk = ? AND position = ?"
_EPISODE = "SELECT 1 FROM event WHERE session_pk = ? AND event_id = ? AND ephemeral = 0"
_REVISE = "UPDATE event SET tokens = ?, content = ?, body = ? WHERE session_pk = ? AND position = ?"


def revise(tx: Transaction, head: Head, revision: EventRevision) -> bool:
    """False and nothing changed where the event is not as it was read, or what has its body is not there."""
    was, becomes = revision.was, revision.becomes
    stored = tx.row(_STORED, (head.pk, was.position))
    if stored is None or not same_but_for_repeats(decode_event(stored), was):
        return False
    shares = becomes.body_event_id != was.body_event_id
    if shares and tx.row(_EPISODE, (head.pk, becomes.body_event_id)) is None:
        return False
    body = encode_body(becomes, tx.now_us)
    tx.execute(_REVISE, (becomes.tokens, becomes.content, body, head.pk, was.position))
    head.revise(becomes)
    return True
