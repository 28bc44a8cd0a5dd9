"""Filters: a small boolean language over the fields of a memory, and its reference meaning.

Grammar (as JSON, which is what the Rust index takes)::

    F := {"and": [F, ...]} | {"or": [F, ...]} | {"not": F}
       | {"eq" | "ne" | "lt" | "le" | "gt" | "ge": [FIELD, VALUE]}
       | {"in": [FIELD, [VALUE, ...]]} | {"exists": FIELD}

FIELD is one of ``FIXED_FIELDS`` or ``metadata.KEY``. VALUE is a string, a number or a bool; times are integer microseconds
since the epoch. Meaning: a comparison with an absent field is false, ``ne`` is exactly ``not eq`` (so true for an absent
field); on a list (tags, a metadata list) ``eq`` and ``in`` hold when any element does, the order comparisons never do;
values of different kinds (string, number, bool) are never equal and never ordered; bools and lists are not ordered;
an empty ``and`` is true, an empty ``or`` and an empty ``in`` are false; ``tags`` exists when there is at least one tag.

``matches`` is the reference: the Rust index must agree with it (``tests/test_s3_filters_fail_closed.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from memd.domain.errors import InvalidArgument

Scalar: TypeAlias = str | int | float | bool
ComparisonOp: TypeAlias = Literal["eq", "ne", "lt", "le", "gt", "ge"]

STRING_FIELDS = frozenset({"memory_id", "user_id", "agent_id", "session_id", "source", "speaker"})
TIME_FIELDS = frozenset({"event_time", "create_time", "update_time", "valid_from", "valid_to", "expire_time"})
NUMBER_FIELDS = frozenset({"importance", "position"})
FIXED_FIELDS = STRING_FIELDS | TIME_FIELDS | NUMBER_FIELDS | {"pinned", "tags"}
METADATA_PREFIX = "metadata."
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Compare:
    op: ComparisonOp
    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    field: str


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = Compare | In | Exists | And | Or | Not


def check_field(name: str, path: str = "filter") -> None:
    """Refuse a field that is neither fixed nor ``metadata.KEY``."""
    if name in FIXED_FIELDS:
        return
    if name.startswith(METADATA_PREFIX) and len(name) > len(METADATA_PREFIX):
        return
    known = ", ".join(sorted(FIXED_FIELDS))
    raise InvalidArgument(f"unknown filter field; use metadata.KEY or one of: {known}", field=path)


def to_json(f: Filter) -> bytes:
    """The JSON form of the grammar above, UTF-8."""
    return _encode(_plain(f)).encode()


def _plain(f: Filter) -> dict[str, Any]:
    match f:
        case Compare(op, field, value):
            return {op: [field, value]}
        case In(field, values):
            return {"in": [field, list(values)]}
        case Exists(field):
            return {"exists": field}
        case And(parts):
            return {"and": [_plain(p) for p in parts]}
        case Or(parts):
            return {"or": [_plain(p) for p in parts]}
        case Not(part):
            return {"not": _plain(part)}


def matches(f: Filter, fields: Mapping[str, Any]) -> bool:
    """Whether the memory with these ``fields`` (the object of ``IndexEntry.fields`` plus ``memory_id``) passes."""
    match f:
        case And(parts):
            return all(matches(p, fields) for p in parts)
        case Or(parts):
            return any(matches(p, fields) for p in parts)
        case Not(part):
            return not matches(part, fields)
        case Exists(field):
            value = _value(fields, field)
            return value is not None and value != []
        case In(field, values):
            return any(_equal(_value(fields, field), v) for v in values)
        case Compare("eq", field, value):
            return _equal(_value(fields, field), value)
        case Compare("ne", field, value):
            return not _equal(_value(fields, field), value)
        case Compare(op, field, value):
            return _ordered(op, _value(fields, field), value)


def _value(fields: Mapping[str, Any], name: str) -> Any:
    if name.startswith(METADATA_PREFIX):
        return (fields.get("metadata") or {}).get(name[len(METADATA_PREFIX) :])
    return fields.get(name)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "none"


def _equal(have: Any, want: Scalar) -> bool:
    if isinstance(have, list):
        return any(_equal(v, want) for v in have)
    return _kind(have) == _kind(want) and bool(have == want)


def _ordered(op: ComparisonOp, have: Any, want: Scalar) -> bool:
    kind = _kind(want)
    if kind == "bool" or _kind(have) != kind:
        return False
    if op == "lt":
        return bool(have < want)
    if op == "le":
        return bool(have <= want)
    if op == "gt":
        return bool(have > want)
    return bool(have >= want)
