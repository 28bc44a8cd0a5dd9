"""Events and sessions as rows. ``body`` is a JSON list of what no query looks at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain.model import Event, EventKind, Outcome, Scope, Session
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings

_KINDS = {kind.value: kind for kind in EventKind}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}

NO_LINKS = ("", "", False)

EVENT_COLUMNS = "position, event_id, kind, ephemeral, tokens, count, last_seen, content, body"
SESSION_COLUMNS = (
    "namespace, user_id, agent_id, session_id, create_time, update_time, expire_time, end_time, last_position, seq,"
    " settings"
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
            *body_links(event),
        )
    )


def body_links(event: Event) -> tuple[list[object], ...]:
    """What few events have: one more element of the body, where there is any of it."""
    if event.resolved_by or event.body_event_id or event.kept_whole:
        return ([event.resolved_by, event.body_event_id, event.kept_whole],)
    return ()


def decode_event(row: Sequence[Any]) -> Event:
    """From EVENT_COLUMNS, its ``body`` as JSON text or parsed."""
    position, event_id, kind, ephemeral, tokens, count, last_seen, content, body = row
    rest = json.loads(body) if isinstance(body, str) else body
    role, importance, reasons, event_time, tool, call, outcome, resolves, size, sha256, metadata, *links = rest
    resolved_by, body_event_id, kept_whole = links[0] if links else NO_LINKS
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
        resolved_by=resolved_by,
        body_event_id=body_event_id,
        kept_whole=kept_whole,
    )


def decode_session(row: Sequence[Any]) -> Session:
    """From SESSION_COLUMNS."""
    return decode_session_reply(Scope(*row[:4]), row[4:])


def session_reply(session: Session) -> tuple[int | str | None, ...]:
    """What the record of a request keeps of a session."""
    times = session.create_time, session.update_time, session.expire_time, session.end_time
    return *times, session.event_count, session.seq, encode_settings(session.settings)


def decode_session_reply(scope: Scope, reply: Sequence[Any]) -> Session:
    """From ``session_reply``; records of earlier versions end before the settings."""
    create, update, expire, end, last_position, seq, *settings = reply
    own = decode_settings(settings[0]) if settings else NO_OVERRIDES
    return Session(scope, create, update, expire, end, last_position, seq, own)


def encode_settings(settings: SessionSettings) -> str | None:
    """A JSON object of what is overridden; None where nothing is."""
    own = {name: value for name, value in asdict(settings).items() if value is not None}
    return encode(own) if own else None


def decode_settings(stored: str | bytes | None) -> SessionSettings:
    return SessionSettings(**json.loads(stored)) if stored else NO_OVERRIDES
