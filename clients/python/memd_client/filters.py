"""Filters written as Python expressions::

    from memd_client import F

    (F.tag == "billing") & (F.metadata["amount"] >= 100) & ~F.speaker.in_(["bot"]) & F.event_time.exists()

``F`` has the fixed fields of a memory as attributes (``F.tag`` is another name of ``F.tags``) and metadata keys as
``F.metadata[KEY]``. Comparisons give an ``Expr``; ``&``, ``|`` and ``~`` combine them (not ``and``, ``or``, ``not``,
which Python does not let a library define). A comparison with an absent field is false, ``!=`` is exactly "not =="; on a
list (tags, a metadata list) ``==`` and ``in_`` hold when any element does. Applied inside the search by the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

from memd_client import wire
from memd_client._proto.v1 import common_pb2 as pb
from memd_client.errors import InvalidArgument

FilterScalar: TypeAlias = str | int | float | bool | datetime


@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """A filter; ``proto`` is its wire form."""

    proto: pb.Filter

    def __and__(self, other: Expr) -> Expr:
        """Both hold."""
        return _combined("and", self, other)

    def __or__(self, other: Expr) -> Expr:
        """At least one holds."""
        return _combined("or", self, other)

    def __invert__(self) -> Expr:
        """It does not hold."""
        return _node("not", self.proto)

    def __bool__(self) -> NoReturn:
        """Refused: ``a and b`` would silently drop ``a``."""
        raise TypeError("combine filters with &, | and ~, each comparison in parentheses")


def _node(kind: str, operand: Any) -> Expr:
    """A node whose field is a Python keyword, and so cannot be named in a call."""
    return Expr(pb.Filter(**{kind: operand}))


def _combined(kind: str, *operands: Expr) -> Expr:
    """A conjunction or disjunction; chains stay flat, as the daemon bounds the depth."""
    flat = pb.FilterList()
    for operand in operands:
        if operand.proto.WhichOneof("node") == kind:
            flat.filters.extend(getattr(operand.proto, kind).filters)
        else:
            flat.filters.append(operand.proto)
    return _node(kind, flat)


def _value(value: FilterScalar) -> pb.FilterValue:
    if isinstance(value, bool):
        return pb.FilterValue(bool_value=value)
    if isinstance(value, int | float):
        return pb.FilterValue(number_value=wire.number(value, "filter"))
    if isinstance(value, str):
        return pb.FilterValue(string_value=value)
    if isinstance(value, datetime):
        return pb.FilterValue(time_value=wire.timestamp(value, "filter"))
    raise InvalidArgument("a filter compares with a string, number, bool or time", field="filter")


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a memory, to be compared."""

    name: str

    def _compare(self, op: pb.Comparison.Op.ValueType, value: FilterScalar) -> Expr:
        return Expr(pb.Filter(compare=pb.Comparison(field=self.name, op=op, value=_value(value))))

    def __eq__(self, value: FilterScalar) -> Expr:  # type: ignore[override]
        """Field equals value."""
        return self._compare(pb.Comparison.OP_EQ, value)

    def __ne__(self, value: FilterScalar) -> Expr:  # type: ignore[override]
        """Exactly "not =="; true where the field is absent."""
        return self._compare(pb.Comparison.OP_NE, value)

    def __lt__(self, value: FilterScalar) -> Expr:
        """Field is less than value."""
        return self._compare(pb.Comparison.OP_LT, value)

    def __le__(self, value: FilterScalar) -> Expr:
        """Field is at most value."""
        return self._compare(pb.Comparison.OP_LE, value)

    def __gt__(self, value: FilterScalar) -> Expr:
        """Field is greater than value."""
        return self._compare(pb.Comparison.OP_GT, value)

    def __ge__(self, value: FilterScalar) -> Expr:
        """Field is at least value."""
        return self._compare(pb.Comparison.OP_GE, value)

    def in_(self, values: Iterable[FilterScalar]) -> Expr:
        """Field is one of the values."""
        return _node("in", pb.Membership(field=self.name, values=[_value(v) for v in values]))

    def exists(self) -> Expr:
        """Field has a value."""
        return Expr(pb.Filter(exists=self.name))


class MetadataFields:
    """``F.metadata[KEY]``."""

    def __getitem__(self, key: str) -> Field:
        """The field of a metadata key."""
        return Field(f"metadata.{key}")


class Fields:
    """The fields that can be compared; see the module."""

    memory_id = Field("memory_id")
    user_id = Field("user_id")
    agent_id = Field("agent_id")
    session_id = Field("session_id")
    source = Field("source")
    speaker = Field("speaker")
    event_time = Field("event_time")
    create_time = Field("create_time")
    update_time = Field("update_time")
    valid_from = Field("valid_from")
    valid_to = Field("valid_to")
    expire_time = Field("expire_time")
    importance = Field("importance")
    position = Field("position")
    pinned = Field("pinned")
    tags = Field("tags")
    tag = tags
    metadata = MetadataFields()

    @staticmethod
    def exists(field: str | Field) -> Expr:
        """The field (by name, for example ``"metadata.amount"``, or as ``F.speaker``) has a value."""
        return Expr(pb.Filter(exists=field.name if isinstance(field, Field) else field))


F = Fields()
