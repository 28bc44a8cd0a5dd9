"""Events and sessions as rows. ``body`` is a JSON list of what no query looks at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain.model import Event, EventKind, Outcome, Scope, Session

_KINDS = {kind.value: kind for kind in EventKind}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}

EVENT_COLUMNS = "position, event_id, kind, ephemeral, tokens, count, last_seen, content, body"
SESSION_COLUMNS = (
    "namespace, user_id, agent_id, session_id, create_time, update_time, expire_time, end_time, last_position, seq"
)


def encode_body(event: Event, now_us: int) -> str:
    """Everything of the event that has no column."""
    return encode(
        (
            event.role,
            event.importance,
            event.importance_reasons,
            event.event_time or now_us,
            event.tool_name,
            event.tool_call_id,
            event.outcome.value,
            event.resolves,
            event.original_bytes,
            event.original_sha256.hex(),
            dict(event.metadata),
        )
    )


def decode_event(row: Sequence[Any]) -> Event:
    """From EVENT_COLUMNS, its ``body`` as JSON text or parsed."""
    position, event_id, kind, ephemeral, tokens, count, last_seen, content, body = row
    rest = json.loads(body) if isinstance(body, str) else body
    role, importance, reasons, event_time, tool, call, outcome, resolves, size, sha256, metadata = rest
    return Event(
        event_id=event_id,
        kind=_KINDS[kind],
        content=content,
        role=role,
        tool_name=tool,
        tool_call_id=call,
        outcome=_OUTCOMES[outcome],
        resolves=resolves,
        importance=importance,
        importance_reasons=tuple(reasons),
        ephemeral=bool(ephemeral),
        event_time=event_time,
        tokens=tokens,
        count=count,
        last_seen=last_seen,
        position=position,
        original_bytes=size,
        original_sha256=bytes.fromhex(sha256),
        metadata=metadata,
    )


def decode_session(row: Sequence[Any]) -> Session:
    """From SESSION_COLUMNS."""
    namespace, user_id, agent_id, session_id, create, update, expire, end, last_position, seq = row
    scope = Scope(namespace, user_id, agent_id, session_id)
    return Session(scope, create, update, expire, end, last_position, seq)
