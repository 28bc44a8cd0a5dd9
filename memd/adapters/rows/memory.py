"""Memories as rows: ``fields`` is the JSON the index takes, ``body`` a JSON list of the rest, ``content`` the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain import ids
from memd.domain.errors import VersionConflict
from memd.domain.model import Memory, NewMemory, Scope, SourceKind
from memd.domain.spoken import spoken
from memd.domain.visibility import fields_of
from memd.ports import IndexRow, ReplicaMemory

_SOURCES = {kind.value: kind for kind in SourceKind}
_SERVER_SET = frozenset({"version", "create_time", "update_time", "writer", "superseded_by"})
_COMPARED = tuple(field.name for field in fields(Memory) if field.name not in _SERVER_SET)


def fields_json(memory: Memory) -> str:
    fields = fields_of(memory)
    del fields["memory_id"]
    return encode(fields)


def body_json(memory: Memory) -> str:
    body = (memory.writer, memory.supersedes, memory.superseded_by, memory.event_ids)
    return encode(body)


def decode_state(namespace: str, memory_id: str, version: int, fields: Any, body: Any, content: str) -> Memory:
    """``fields`` and ``body`` as JSON text or parsed."""
    f = json.loads(fields) if isinstance(fields, str) else fields
    writer, supersedes, superseded_by, event_ids = json.loads(body) if isinstance(body, str) else body
    return Memory(
        memory_id=memory_id,
        scope=Scope(namespace, f.get("user_id", ""), f.get("agent_id", ""), f.get("session_id", "")),
        content=content,
        metadata=f["metadata"],
        tags=tuple(f["tags"]),
        source=_SOURCES[f["source"]],
        writer=writer,
        speaker=f.get("speaker", ""),
        event_time=f.get("event_time"),
        position=f.get("position"),
        importance=f["importance"],
        pinned=f["pinned"],
        valid_from=f.get("valid_from"),
        valid_to=f.get("valid_to"),
        supersedes=supersedes,
        superseded_by=superseded_by,
        expire_time=f.get("expire_time"),
        event_ids=tuple(event_ids),
        version=version,
        create_time=f["create_time"],
        update_time=f["update_time"],
    )


def replica_memory(memory: Memory, embeddings: Sequence[bytes]) -> ReplicaMemory:
    return ReplicaMemory(
        memory.memory_id,
        memory.scope.user_id,
        memory.scope.agent_id,
        memory.version,
        memory.create_time,
        memory.expire_time,
        fields_json(memory),
        body_json(memory),
        memory.content,
        tuple(embeddings),
    )


def index_row(memory: Memory, vectors: bytes) -> IndexRow:
    text = spoken(memory.speaker, memory.content)
    return IndexRow(memory.memory_id, memory.version, text, vectors, fields_json(memory).encode())


def stored_index_row(memory_id: str, version: int, content: str, vectors: bytes, fields: str) -> IndexRow:
    """The same of a row as it is stored."""
    return IndexRow(memory_id, version, spoken_text(content, fields), vectors, fields.encode())


def replica_index_row(row: ReplicaMemory) -> IndexRow:
    return stored_index_row(row.memory_id, row.version, row.content, b"".join(row.embeddings), row.fields)


def spoken_text(content: str, fields: str) -> str:
    """What is embedded and indexed of a memory; ``fields`` as the row has them."""
    speaker = json.loads(fields).get("speaker", "") if '"speaker"' in fields else ""
    return spoken(speaker, content)


def filterable(memory_id: str, fields: str) -> dict[str, Any]:
    """What ``filters.matches`` takes."""
    plain: dict[str, Any] = json.loads(fields)
    plain["memory_id"] = memory_id
    return plain


def same(stored: Memory, wanted: Memory) -> bool:
    """Whether storing ``wanted`` would change anything a caller chose."""
    return all(getattr(stored, name) == getattr(wanted, name) for name in _COMPARED)


def check_version(draft: NewMemory, stored: Memory | None) -> None:
    """VersionConflict where something else is stored than the draft expected."""
    current = stored.version if stored is not None else 0
    if draft.expected_version not in (None, current):
        raise VersionConflict("the memory has another version", current_version=current)


def made_of(memory: Memory) -> tuple[str, ...]:
    """What a Forget of the events it was made of buries; nothing where it was made of none."""
    return (ids.made_of_events(memory.scope),) if memory.event_ids and memory.scope.session_id else ()


def owner(scope: Scope) -> tuple[str, str]:
    """Whose a memory is: another owner's id is taken."""
    return scope.user_id, scope.agent_id


def sees(scope: Scope, other: Scope) -> bool:
    """Whether a memory of ``scope`` may supersede one of ``other``."""
    return scope.user_id == other.user_id and other.agent_id in ("", scope.agent_id)
