"""Memories as rows of Postgres; ``memd.adapters.rows.memory`` says what is in their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memd.adapters.postgres.text import loaded_text
from memd.adapters.rows.memory import decode_state
from memd.domain.filters import And, Compare, Exists, Filter, In, Not
from memd.domain.model import Memory

COLUMNS = "pk, memory_id, version, expire_time, fields, body, content"
_PUSHED = frozenset({"memory_id", "user_id", "agent_id"})


@dataclass(frozen=True, slots=True)
class StoredMemory:
    """A row and what it says."""

    pk: int
    memory: Memory


def decode(namespace: str, row: Sequence[Any]) -> StoredMemory:
    """From COLUMNS."""
    pk, memory_id, version, _, fields, body, content = row[:7]
    return StoredMemory(pk, decode_version(namespace, memory_id, version, fields, body, content))


def decode_version(namespace: str, memory_id: str, version: int, fields: str, body: str, content: str) -> Memory:
    """One state, current or earlier."""
    return decode_state(namespace, memory_id, version, fields, body, loaded_text(content))


def pushdown(where: Filter, first: int) -> tuple[str, list[Any]]:
    """SQL that every row ``where`` lets through satisfies, so that an index narrows the rows to look at; its parameters
    are numbered from ``first``.

    Only conditions that hold by themselves at the top are pushed; ``filters.matches`` still decides.
    """
    terms: list[str] = []
    bindings: list[Any] = []
    for part in where.parts if isinstance(where, And) else (where,):
        at = first + len(bindings)
        match part:
            case And():
                sql, more = pushdown(part, at)
                terms.append(sql)
                bindings.extend(more)
            case Compare("eq", field, str(value)) if field in _PUSHED:
                terms.append(f"{field} = ${at}")
                bindings.append(value)
            case In(field, values) if field in _PUSHED:
                terms.append(f"{field} = ANY (${at}::text[])")
                bindings.append([value for value in values if isinstance(value, str)])
            case Not(Exists(field)) if field in _PUSHED:
                terms.append(f"{field} = ''")
            case _:
                continue
    return " AND ".join(terms) or "true", bindings
