"""Memories: what Remember and UpdateMemory bring, what every reply shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memd_client._proto.v1 import common_pb2 as pb
from memd_client._proto.v1 import memory_service_pb2 as ms

from memd.domain.errors import InvalidArgument
from memd.domain.model import ForgetReceipt, Memory, RememberedMemory, Scope, SourceKind, Written
from memd.limits import MAX_CONTENT_BYTES, MAX_LINKS
from memd.rpc import checks
from memd.rpc.convert_common import (
    SOURCES,
    TO_SOURCE,
    put_scope,
    put_struct,
    put_time,
    receipt,
    timestamp,
)
from memd.service.remember import Draft
from memd.service.watch import Watched

DEFAULT_IMPORTANCE = 0.5
_WRITABLE_SOURCES = {pb.SOURCE_KIND_UNSPECIFIED: SourceKind.USER, **SOURCES}
MAX_POSITION = 2**31 - 1


def draft(message: ms.NewMemory, scope: Scope, path: str) -> Draft:
    """``scope`` is resolved; the memory's own session_id wins over the scope's."""
    session_id = checks.optional_identifier(message.session_id, f"{path}.session_id") or scope.session_id
    memory = Memory(
        memory_id=checks.optional_identifier(message.memory_id, f"{path}.memory_id"),
        scope=Scope(scope.namespace, scope.user_id, scope.agent_id, session_id),
        content=checks.text(message.content, f"{path}.content", MAX_CONTENT_BYTES),
        metadata=checks.metadata(message.metadata, f"{path}.metadata") if message.HasField("metadata") else {},
        tags=checks.tags(message.tags, f"{path}.tags"),
        source=checks.choice(message.source, f"{path}.source", _WRITABLE_SOURCES),
        speaker=checks.optional_identifier(message.speaker, f"{path}.speaker"),
        event_time=_time(message, "event_time", path),
        position=checks.whole(message.position, f"{path}.position", 0, MAX_POSITION)
        if message.HasField("position")
        else None,
        importance=checks.ratio(message.importance, f"{path}.importance")
        if message.HasField("importance")
        else DEFAULT_IMPORTANCE,
        pinned=message.pinned,
        valid_from=_time(message, "valid_from", path),
        valid_to=_time(message, "valid_to", path),
        supersedes=checks.optional_identifier(message.supersedes, f"{path}.supersedes"),
        event_ids=_links(message.event_ids, f"{path}.event_ids"),
    )
    _validity(memory.valid_from, memory.valid_to, path)
    if memory.supersedes and memory.supersedes == memory.memory_id:
        raise InvalidArgument("a memory cannot supersede itself", field=f"{path}.supersedes")
    return Draft(memory, checks.ttl(message.ttl, f"{path}.ttl") if message.HasField("ttl") else None)


def _time(message: Any, name: str, path: str) -> int | None:
    return checks.time(getattr(message, name), f"{path}.{name}") if message.HasField(name) else None


def _links(values: Sequence[str], path: str) -> tuple[str, ...]:
    checks.count(values, path, 0, MAX_LINKS)
    return tuple(checks.identifier(value, f"{path}[{index}]") for index, value in enumerate(values))


def _validity(valid_from: int | None, valid_to: int | None, path: str) -> None:
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise InvalidArgument(f"{path}.valid_to must be after valid_from", field=f"{path}.valid_to")


_UPDATES: Mapping[str, Callable[[pb.Memory], Any]] = {
    "content": lambda m: checks.text(m.content, "memory.content", MAX_CONTENT_BYTES),
    "metadata": lambda m: checks.metadata(m.metadata, "memory.metadata"),
    "tags": lambda m: checks.tags(m.tags, "memory.tags"),
    "speaker": lambda m: checks.optional_identifier(m.speaker, "memory.speaker"),
    "importance": lambda m: (
        checks.ratio(m.importance, "memory.importance") if m.HasField("importance") else DEFAULT_IMPORTANCE
    ),
    "pinned": lambda m: m.pinned,
    "event_time": lambda m: _time(m, "event_time", "memory"),
    "valid_from": lambda m: _time(m, "valid_from", "memory"),
    "valid_to": lambda m: _time(m, "valid_to", "memory"),
    "expire_time": lambda m: _time(m, "expire_time", "memory"),
}


def updates(message: ms.UpdateMemoryRequest) -> dict[str, Any]:
    """The new values of the fields that the mask names; unset ones are cleared."""
    names = checks.paths(message.update_mask.paths, "update_mask", _UPDATES)
    values = {name: _UPDATES[name](message.memory) for name in sorted(names)}
    _validity(values.get("valid_from"), values.get("valid_to"), "memory")
    return values


def memory(value: Memory) -> pb.Memory:
    made = pb.Memory()
    put_memory(made, value)
    return made


def put_memory(target: pb.Memory, value: Memory) -> None:
    """Fill an empty message in place, set fields only: a Recall carries many, and copying one costs as much again."""
    target.memory_id = value.memory_id
    target.content = value.content
    target.source = TO_SOURCE[value.source]
    target.importance = value.importance
    target.version = value.version
    put_scope(target.scope, value.scope)
    put_time(target.create_time, value.create_time)
    put_time(target.update_time, value.update_time)
    if value.metadata:
        put_struct(target.metadata, value.metadata)
    if value.tags:
        target.tags.extend(value.tags)
    if value.position is not None:
        target.position = value.position
    if value.pinned:
        target.pinned = True
    if value.event_ids:
        target.event_ids.extend(value.event_ids)
    _put_texts(target, value)
    _put_times(target, value)


def _put_texts(target: pb.Memory, value: Memory) -> None:
    if value.writer:
        target.writer = value.writer
    if value.speaker:
        target.speaker = value.speaker
    if value.supersedes:
        target.supersedes = value.supersedes
    if value.superseded_by:
        target.superseded_by = value.superseded_by


def _put_times(target: pb.Memory, value: Memory) -> None:
    if value.event_time is not None:
        put_time(target.event_time, value.event_time)
    if value.valid_from is not None:
        put_time(target.valid_from, value.valid_from)
    if value.valid_to is not None:
        put_time(target.valid_to, value.valid_to)
    if value.expire_time is not None:
        put_time(target.expire_time, value.expire_time)


def remembered(written: Written[tuple[RememberedMemory, ...]]) -> ms.RememberResponse:
    memories = [
        ms.RememberedMemory(memory_id=m.memory_id, version=m.version, created=m.created, windows=m.windows)
        for m in written.value
    ]
    return ms.RememberResponse(memories=memories, receipt=receipt(written))


def forgotten(written: Written[ForgetReceipt]) -> ms.ForgetResponse:
    value = written.value
    return ms.ForgetResponse(
        receipt_id=value.receipt_id,
        counts=[ms.ForgetCount(what=what, count=count) for what, count in sorted(value.counts.items())],
        forget_time=timestamp(value.forget_time),
        out_of_reach=value.out_of_reach,
        receipt=receipt(written),
        dry_run=value.dry_run,
    )


def watched(change: Watched) -> ms.WatchMemoriesResponse:
    kinds = ms.WatchMemoriesResponse
    made = ms.WatchMemoriesResponse(
        seq=change.seq, memory_id=change.memory_id, resume_seq=change.resume.seq, epoch=change.resume.epoch
    )
    if change.memory is not None:
        put_memory(made.memory, change.memory)
        made.change = kinds.CHANGE_PUT
    else:
        made.change = kinds.CHANGE_DELETE if change.seq else kinds.CHANGE_POSITION
    return made
