"""Conversions between Python values and the well-known protobuf types. Refuses what would lose something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from memd_client._proto.v1 import common_pb2 as pb
from memd_client.errors import InvalidArgument
from memd_client.types import Metadata, Scalar, Scope

E = TypeVar("E", bound=StrEnum)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Beyond it a double no longer holds every integer, and a Struct has no other numbers.
MAX_EXACT_INT = 2**53


def timestamp(value: datetime | None, field: str) -> Timestamp | None:
    """A protobuf time. InvalidArgument for a naive one: nobody could say when that is."""
    if value is None:
        return None
    if value.utcoffset() is None:
        raise InvalidArgument("a time needs a time zone, for example datetime.now(UTC)", field=field)
    since = value - EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def moment(value: Timestamp) -> datetime:
    """A timezone-aware time, to the microsecond."""
    return EPOCH + timedelta(0, value.seconds, value.nanos // 1_000)


def duration(value: timedelta | None) -> Duration | None:
    """A protobuf duration."""
    if value is None:
        return None
    micros = value // timedelta(microseconds=1)
    sign = -1 if micros < 0 else 1
    seconds, rest = divmod(abs(micros), 1_000_000)
    return Duration(seconds=sign * seconds, nanos=sign * rest * 1_000)


def span(value: Duration) -> timedelta:
    """A timedelta, to the microsecond."""
    return timedelta(seconds=value.seconds, microseconds=value.nanos / 1_000)


def scope(value: Scope) -> pb.Scope:
    """The scope of a request."""
    return pb.Scope(
        namespace=value.namespace, user_id=value.user_id, agent_id=value.agent_id, session_id=value.session_id
    )


def struct(values: Metadata, field: str = "metadata") -> Struct | None:
    """A flat Struct; None when empty. InvalidArgument for what a Struct cannot hold exactly."""
    if not values:
        return None
    made = Struct()
    for key, value in values.items():
        if not isinstance(key, str):
            raise InvalidArgument("a metadata key is a string", field=field)
        target = made.fields[key]
        if isinstance(value, list | tuple | set | frozenset):
            target.list_value.SetInParent()
            for element in value:
                _set(target.list_value.values.add(), element, field)
        else:
            _set(target, value, field)
    return made


def _set(target: Value, value: object, field: str) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = number(value, field)
    elif isinstance(value, str):
        target.string_value = value
    else:
        raise InvalidArgument("a metadata value is a string, number, bool or a list of those", field=field)


def number(value: float, field: str) -> float:
    """A double; InvalidArgument for an integer that a double does not hold."""
    if isinstance(value, int) and abs(value) > MAX_EXACT_INT:
        raise InvalidArgument("an integer beyond 2**53 would be rounded; pass it as a string", field=field)
    return float(value)


def plain(value: Struct) -> dict[str, Any]:
    """Metadata as Python values; whole numbers come back as ``int``."""
    fields = value.fields
    return {key: _plain(fields[key]) for key in sorted(fields)} if fields else {}


def _plain(value: Value) -> Scalar | list[Scalar | list[Any] | None] | None:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        held = value.number_value
        return int(held) if held.is_integer() and abs(held) <= MAX_EXACT_INT else held
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_plain(v) for v in value.list_value.values]
    return None


class Words(Generic[E]):
    """One enum of the contract in both directions, by the names of its values."""

    def __init__(self, words: type[E], wire: Iterable[tuple[str, int]], prefix: str) -> None:
        self._words = words
        numbers: Mapping[str, int] = dict(wire)
        names = {word: f"{prefix}_{word.name}" for word in words}
        self._to_wire = {word: numbers[name] for word, name in names.items() if name in numbers}
        self._from_wire = {n: word for word, n in self._to_wire.items()}
        self._unknown = next(word for word in words if word.name == "UNKNOWN")

    def number(self, word: str, field: str) -> Any:
        """The wire's number. InvalidArgument, naming what is allowed, for another word."""
        found = self._to_wire.get(word)  # type: ignore[call-overload]  # a StrEnum member equals, and hashes as, its word
        if found is None:
            allowed = ", ".join(self._to_wire)
            raise InvalidArgument(f"must be one of: {allowed}", field=field)
        return found

    def word(self, number: int) -> E:
        """The word; UNKNOWN for a number of a newer contract."""
        return self._from_wire.get(number, self._unknown)
