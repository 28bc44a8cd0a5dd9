"""Memories as rows of SQLite; ``memd.adapters.rows.memory`` says what is in their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memd.adapters.rows.compact import encode
from memd.adapters.rows.memory import decode_state
from memd.domain.filters import And, Compare, Exists, Filter, In, Not
from memd.domain.model import Memory

COLUMNS = "pk, memory_id, version, expire_time, fields, body, content"
MEMORY_JSON = "json_array(pk, memory_id, version, expire_time, json(fields), json(body), content)"
_PUSHED = frozenset({"memory_id", "user_id", "agent_id"})


@dataclass(frozen=True, slots=True)
class StoredMemory:
    """A row and what it says."""

    pk: int
    memory: Memory


def decode(namespace: str, row: Sequence[Any]) -> StoredMemory:
    """From COLUMNS, or from a MEMORY_JSON that was parsed with all that is in it."""
    pk, memory_id, version, _, fields, body, content = row
    return StoredMemory(pk, decode_state(namespace, memory_id, version, fields, body, content))


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
