"""Events, working sets and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from memd_client._proto.v1 import admin_service_pb2 as ads
from memd_client._proto.v1 import common_pb2 as pb
from memd_client._proto.v1 import memory_service_pb2 as ms
from memd_client._proto.v1 import session_service_pb2 as ss

from memd.domain.model import Event, ObservedEvent, Outcome, Session, WorkingSet, Written
from memd.domain.session_settings import NO_OVERRIDES, SESSION_SETTINGS, SessionSettings, SettingsChange
from memd.limits import (
    MAX_COMPRESS_AT,
    MAX_COMPRESS_KEEP,
    MAX_COMPRESS_TO,
    MAX_EVENT_BYTES,
    MAX_NAME_BYTES,
    MAX_RAW_EVENT_BYTES,
    MAX_SUMMARY_SHARE,
    MAX_TIER_TOKENS,
    MAX_WORKING_ITEMS,
    MIN_COMPRESS_AT,
    MIN_COMPRESS_TO,
    MIN_SUMMARY_SHARE,
)
from memd.rpc import checks
from memd.rpc.convert_common import (
    EVENT_KINDS,
    OUTCOMES,
    TO_EVENT_KIND,
    TO_OUTCOME,
    optional_timestamp,
    put_struct,
    put_time,
    receipt,
    scope_message,
    timestamp,
)

_COUNTS: Mapping[str, int] = {
    "working_max_items": MAX_WORKING_ITEMS,
    "working_max_tokens": MAX_TIER_TOKENS,
    "compress_keep": MAX_COMPRESS_KEEP,
}
"""The most of what a session and a namespace can set."""
_RATIOS: Mapping[str, tuple[float, float]] = {
    "compress_at": (MIN_COMPRESS_AT, MAX_COMPRESS_AT),
    "compress_to": (MIN_COMPRESS_TO, MAX_COMPRESS_TO),
    "summary_share": (MIN_SUMMARY_SHARE, MAX_SUMMARY_SHARE),
}
UNSET_IMPORTANCE = -1.0
EXTRACT: Mapping[int, bool | None] = {
    ms.ObserveRequest.OVERFLOW_UNSPECIFIED: None,
    ms.ObserveRequest.OVERFLOW_REFUSE: False,
    ms.ObserveRequest.OVERFLOW_EXTRACT: True,
}


def new_event(message: pb.Event, path: str, *, extract: bool | None) -> Event:
    """An event to observe: importance UNSET_IMPORTANCE and event_time 0 where the caller left them open. ``extract``: whether
    it may be over MAX_EVENT_BYTES, to be kept as an extract; None: where it is a tool's output."""
    if extract is None:
        extract = message.kind == pb.EVENT_KIND_TOOL_CALL or bool(message.tool_name)
    importance = (
        checks.ratio(message.importance, f"{path}.importance") if message.HasField("importance") else UNSET_IMPORTANCE
    )
    return Event(
        event_id=checks.optional_identifier(message.event_id, f"{path}.event_id"),
        kind=checks.choice(message.kind, f"{path}.kind", EVENT_KINDS),
        content=checks.text(message.content, f"{path}.content", MAX_RAW_EVENT_BYTES if extract else MAX_EVENT_BYTES),
        role=checks.optional_identifier(message.role, f"{path}.role", MAX_NAME_BYTES),
        tool_name=checks.optional_identifier(message.tool_name, f"{path}.tool_name", MAX_NAME_BYTES),
        tool_call_id=checks.optional_identifier(message.tool_call_id, f"{path}.tool_call_id"),
        outcome=checks.choice(message.outcome, f"{path}.outcome", OUTCOMES),
        resolves=checks.optional_identifier(message.resolves, f"{path}.resolves"),
        importance=importance,
        ephemeral=message.ephemeral,
        event_time=checks.time(message.event_time, f"{path}.event_time") if message.HasField("event_time") else 0,
        metadata=checks.metadata(message.metadata, f"{path}.metadata") if message.HasField("metadata") else {},
    )


def event(value: Event) -> pb.Event:
    made = pb.Event()
    put_event(made, value)
    return made


def put_event(target: pb.Event, value: Event) -> None:
    """Fill an empty message in place, set fields only: a Recall carries dozens."""
    target.event_id = value.event_id
    target.kind = TO_EVENT_KIND[value.kind]
    target.content = value.content
    target.importance = value.importance
    target.tokens = value.tokens
    target.count = value.count
    target.position = value.position
    put_time(target.event_time, value.event_time)
    if value.last_seen:
        put_time(target.last_seen, value.last_seen)
    if value.role:
        target.role = value.role
    if value.importance_reasons:
        target.importance_reasons.extend(value.importance_reasons)
    if value.metadata:
        put_struct(target.metadata, value.metadata)
    if value.ephemeral:
        target.ephemeral = True
    if value.original_bytes:
        target.original_bytes = value.original_bytes
        target.original_sha256 = value.original_sha256
    _put_links(target, value)


def _put_links(target: pb.Event, value: Event) -> None:
    if value.tool_name:
        target.tool_name = value.tool_name
    if value.tool_call_id:
        target.tool_call_id = value.tool_call_id
    if value.outcome is not Outcome.NONE:
        target.outcome = TO_OUTCOME[value.outcome]
    if value.resolves:
        target.resolves = value.resolves
    if value.resolved_by:
        target.resolved_by = value.resolved_by
    if value.body_event_id:
        target.body_event_id = value.body_event_id
    if value.kept_whole:
        target.kept_whole = True
    if value.summarized_through:
        target.summarized_from = value.summarized_from
        target.summarized_through = value.summarized_through


def observed(written: Written[tuple[ObservedEvent, ...]]) -> ms.ObserveResponse:
    events = [
        ms.ObservedEvent(
            event_id=e.event_id,
            merged=e.merged,
            importance=e.importance,
            tokens=e.tokens,
            position=e.position,
            extracted=e.extracted,
        )
        for e in written.value
    ]
    return ms.ObserveResponse(events=events, receipt=receipt(written))


def working(value: WorkingSet) -> ss.GetWorkingMemoryResponse:
    return ss.GetWorkingMemoryResponse(
        items=map(event, value.items), tokens=value.tokens, seq=value.seq, settings=settings(value.settings)
    )


def session(value: Session) -> ss.Session:
    return ss.Session(
        scope=scope_message(value.scope),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        expire_time=timestamp(value.expire_time),
        end_time=optional_timestamp(value.end_time),
        event_count=value.event_count,
        seq=value.seq,
        settings=settings(value.settings),
    )


def settings(value: SessionSettings) -> ss.SessionSettings | None:
    return None if value is NO_OVERRIDES else ss.SessionSettings(**asdict(value))


def settings_change(message: ss.SessionSettings | ads.NamespaceSettings) -> SettingsChange:
    """The fields that are set, of those that sessions and namespaces share; None for a number that is 0."""
    return {
        name: getattr(message, name) if name == "compress" else _setting(name, getattr(message, name))
        for name in SESSION_SETTINGS
        if message.HasField(name)  # type: ignore[arg-type]
    }


def _setting(name: str, value: float) -> float | None:
    path = f"settings.{name}"
    if not value:
        return None
    if name in _COUNTS:
        return checks.whole(int(value), path, 1, _COUNTS[name])
    least, most = _RATIOS[name]
    return checks.ratio(value, path, least=least, most=most)
