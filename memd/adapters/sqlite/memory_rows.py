"""Memories as rows: ``fields`` is the JSON the index takes, ``body`` a JSON list of the rest, ``content`` the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memd.adapters.sqlite.compact import encode
from memd.domain.filters import And, Compare, Exists, Filter, In, Not
from memd.domain.model import Memory, Scope, SourceKind
from memd.domain.spoken import spoken
from memd.domain.visibility import fields_of
from memd.ports import IndexRow

COLUMNS = "pk, memory_id, version, expire_time, fields, body, content"
MEMORY_JSON = "json_array(pk, memory_id, version, expire_time, json(fields), json(body), content)"
_PUSHED = frozenset({"memory_id", "user_id", "agent_id"})
_SOURCES = {kind.value: kind for kind in SourceKind}


@dataclass(frozen=True, slots=True)
class StoredMemory:
    """A row and what it says."""

    pk: int
    memory: Memory


def fields_json(memory: Memory) -> str:
    fields = fields_of(memory)
    del fields["memory_id"]
    return encode(fields)


def body_json(memory: Memory) -> str:
    body = (memory.writer, memory.supersedes, memory.superseded_by, memory.event_ids)
    return encode(body)


def decode(namespace: str, row: Sequence[Any]) -> StoredMemory:
    """From COLUMNS, or from a MEMORY_JSON that was parsed with all that is in it."""
    pk, memory_id, version, _, fields, body, content = row
    return StoredMemory(pk, decode_state(namespace, memory_id, version, fields, body, content))


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


def index_row(memory: Memory, vectors: bytes) -> IndexRow:
    text = spoken(memory.speaker, memory.content)
    return IndexRow(memory.memory_id, memory.version, text, vectors, fields_json(memory).encode())


def filterable(memory_id: str, fields: str) -> dict[str, Any]:
    """What ``filters.matches`` takes."""
    plain: dict[str, Any] = json.loads(fields)
    plain["memory_id"] = memory_id
    return plain


def pushdown(where: Filter) -> tuple[str, list[str]]:
    """SQL that every row ``where`` lets through satisfies, so that an index narrows the rows to look at.

    Only conditions that hold by themselves at the top are pushed; ``filters.matches`` still decides.
    """
    terms: list[str] = []
    bindings: list[str] = []
    for part in where.parts if isinstance(where, And) else (where,):
        match part:
            case And():
                sql, more = pushdown(part)
                terms.append(sql)
                bindings.extend(more)
            case Compare("eq", field, str(value)) if field in _PUSHED:
                terms.append(f"{field} = ?")
                bindings.append(value)
            case In(field, values) if field in _PUSHED:
                terms.append(f"{field} IN (SELECT value FROM json_each(?))")
                bindings.append(encode([value for value in values if isinstance(value, str)]))
            case Not(Exists(field)) if field in _PUSHED:
                terms.append(f"{field} = ''")
            case _:
                continue
    return " AND ".join(terms) or "1", bindings
