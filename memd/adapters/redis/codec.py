"""Events as the scripts take and give them: see ``scripts/prelude.lua`` for the stored form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from memd.adapters.rows.compact import encode
from memd.adapters.rows.session import NO_LINKS, body_links
from memd.domain.model import Event, EventKind, Outcome
from memd.ports import EventRevision

_KINDS = {kind.value: kind for kind in EventKind}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
Argument = str | bytes | int


def event_arguments(event: Event) -> tuple[Argument, ...]:
    """Ten arguments of ``append.lua``."""
    return (
        event.event_id,
        _digest(event),
        event.kind.value,
        int(event.ephemeral),
        event.tokens,
        event.count,
        event.last_seen or event.event_time,
        event.event_time,
        repr(float(event.importance)),
        _body(event),
    )


def revision_arguments(revision: EventRevision) -> tuple[Argument, ...]:
    """Ten arguments of ``revise.lua``."""
    was, becomes = revision.was, revision.becomes
    return (
        was.position,
        was.event_id,
        was.tokens,
        was.event_time,
        repr(float(was.importance)),
        _body(was),
        becomes.tokens,
        repr(float(becomes.importance)),
        _body(becomes),
        becomes.body_event_id if becomes.body_event_id != was.body_event_id else "",
    )


def _digest(event: Event) -> bytes:
    """Equal for events that differ in nothing a repeat may not differ in."""
    parts = f"{event.kind.value}\0{len(event.role)}\0{event.role}\0{len(event.tool_call_id)}\0{event.tool_call_id}"
    return hashlib.blake2b(f"{parts}\0{event.content}".encode(), digest_size=16).digest()


def _body(event: Event) -> str:
    return encode(
        (
            event.content,
            event.role,
            event.importance_reasons,
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


def decode_event(stored: bytes) -> Event:
    head, _, rest = stored.partition(b"\n")
    position, _, ephemeral, kind, tokens, count, last_seen, event_time, importance, id_length = head.decode().split(" ")
    event_id, body = rest[: int(id_length)].decode(), json.loads(rest[int(id_length) :])
    content, role, reasons, tool, call, outcome, resolves, size, sha256, metadata, *links = body
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
        importance=float(importance),
        importance_reasons=tuple(reasons),
        ephemeral=ephemeral == "1",
        event_time=int(event_time),
        tokens=int(tokens),
        count=int(count),
        last_seen=int(last_seen),
        position=int(position),
        original_bytes=size,
        original_sha256=bytes.fromhex(sha256),
        metadata=metadata,
        resolved_by=resolved_by,
        body_event_id=body_event_id,
        kept_whole=kept_whole,
    )


def decode_events(stored: Sequence[bytes]) -> list[Event]:
    return [decode_event(one) for one in stored]
