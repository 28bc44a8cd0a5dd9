"""Filters as SQL over ``memd.search_memory``: exactly what ``memd.domain.filters.matches`` says, decided by Postgres.

No text of a filter becomes SQL: fixed fields are looked up in a closed set, everything else is a parameter. ``search_json``
is the form of both sides, a row's fields and a filter's values: numbers exact, and strings without U+0000, which jsonb
refuses, in the same order as before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memd.domain.filters import (
    FIXED_FIELDS,
    METADATA_PREFIX,
    And,
    Compare,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Scalar,
    check_field,
)

_OPERATORS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OWNERS = frozenset({"user_id", "agent_id"})
"""Fields that are columns too, "" when unset: an index finds them."""


class FilterSql:
    """Translates filters of one statement and collects their parameters; the first one's number is ``first``.
    ``table`` is the alias of search_memory."""

    def __init__(self, first: int, table: str = "s") -> None:
        self._first = first
        self._table = table
        self.bindings: list[Any] = []

    def translate(self, where: Filter) -> str:
        """A condition that is true or false, never null. InvalidArgument for an unknown field."""
        match where:
            case And(parts):
                return f"({' AND '.join(map(self.translate, parts)) or 'true'})"
            case Or(parts):
                return f"({' OR '.join(map(self.translate, parts)) or 'false'})"
            case Not(part):
                return f"(NOT {self.translate(part)})"
            case Exists(field):
                return self._exists(field)
            case In(field, values):
                wanted = self._bind([search_json(value) for value in values])
                return f"coalesce({self._value(field)} @> ANY ({wanted}::jsonb[]), false)"
            case Compare("eq", field, value):
                return self._equal(field, value)
            case Compare("ne", field, value):
                return f"(NOT {self._equal(field, value)})"
            case Compare(op, field, value):
                return self._ordered(_OPERATORS[op], field, value)

    def _exists(self, field: str) -> str:
        if field in _OWNERS:
            return f"({self._table}.{field} <> '')"
        value = self._value(field)
        return f"coalesce(jsonb_typeof({value}) <> 'null' AND {value} <> '[]'::jsonb, false)"

    def _equal(self, field: str, value: Scalar) -> str:
        """Containment: of two scalars it is equality, of a list and a scalar that an element is equal."""
        if field in _OWNERS and isinstance(value, str) and value:
            return f"({self._table}.{field} = {self._bind(escaped(value))})"
        return f"coalesce({self._value(field)} @> {self._bind(search_json(value))}::jsonb, false)"

    def _ordered(self, operator: str, field: str, value: Scalar) -> str:
        if isinstance(value, bool):
            check_field(field)
            return "false"
        have = self._value(field)
        if isinstance(value, str):
            text = f"({have} #>> '{{}}') COLLATE \"C\" {operator} {self._bind(escaped(value))}::text"
            return f"coalesce(jsonb_typeof({have}) = 'string' AND {text}, false)"
        number = f"({have})::numeric {operator} {self._bind(search_json(value))}::text::numeric"
        return f"(CASE WHEN jsonb_typeof({have}) = 'number' THEN {number} ELSE false END)"

    def _value(self, field: str) -> str:
        check_field(field)
        if field in FIXED_FIELDS:
            return f"({self._table}.fields -> '{field}')"
        key = self._bind(escaped(field.removeprefix(METADATA_PREFIX)))
        return f"({self._table}.fields -> 'metadata' -> {key}::text)"

    def _bind(self, value: Any) -> str:
        self.bindings.append(value)
        return f"${self._first + len(self.bindings) - 1}"


def escaped(text: str) -> str:
    """Without U+0000; distinct texts stay distinct and in order: U+0001 begins what stands for it and for U+0000."""
    if "\0" not in text and "\1" not in text:
        return text
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def search_json(value: Any) -> str:
    """A scalar, or fields as ``matches`` takes them, for jsonb."""
    return json.dumps(_exact(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _exact(value: Any) -> Any:
    """Whole floats as the integer they are: the shortest text of a large one means another number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list | tuple):
        return [_exact(one) for one in value]
    if isinstance(value, Mapping):
        return {escaped(key): _exact(one) for key, one in value.items()}
    return value
