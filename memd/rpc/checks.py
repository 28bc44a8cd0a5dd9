"""Every bound on a request field. Each function returns the value it let through, or raises InvalidArgument with the
dotted path of the field; nothing is clamped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from memd.domain.errors import InvalidArgument
from memd.limits import (
    DEFAULT_PAGE_SIZE,
    MAX_ID_BYTES,
    MAX_LEASE_US,
    MAX_METADATA_BYTES,
    MAX_METADATA_KEYS,
    MAX_METADATA_LIST,
    MAX_NAME_BYTES,
    MAX_NAMESPACE_BYTES,
    MAX_PAGE_SIZE,
    MAX_TAG_BYTES,
    MAX_TAGS,
    MAX_TIME_US,
    MAX_TTL_US,
    MIN_LEASE_US,
    MIN_TIME_US,
    MIN_TTL_US,
    SECOND_US,
)

E_ = TypeVar("E_")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_UTF8 = 4  # bytes of one character: short strings need no encoding to be known short


def fits(value: str, path: str, max_bytes: int) -> str:
    """At most ``max_bytes`` of UTF-8."""
    if len(value) * _MAX_UTF8 > max_bytes and len(value.encode()) > max_bytes:
        raise InvalidArgument(f"{path} is longer than {max_bytes:,} bytes", field=path)
    return value


def text(value: str, path: str, max_bytes: int) -> str:
    """Free text, 1 to ``max_bytes``."""
    if not value:
        raise InvalidArgument(f"{path} must not be empty", field=path)
    return fits(value, path, max_bytes)


def optional_identifier(value: str, path: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """An id or a name, possibly unset: no control characters."""
    if not value.isprintable() and _CONTROL.search(value):
        raise InvalidArgument(f"{path} must not contain control characters", field=path)
    return fits(value, path, max_bytes)


def identifier(value: str, path: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """An id that must be there."""
    if not value:
        raise InvalidArgument(f"{path} is required", field=path)
    return optional_identifier(value, path, max_bytes)


def namespace(value: str, path: str = "scope.namespace") -> str:
    """A namespace, possibly unset: no control characters, no slash."""
    if "/" in value:
        raise InvalidArgument(f"{path} must not contain a slash", field=path)
    return optional_identifier(value, path, MAX_NAMESPACE_BYTES)


def unset(value: object, path: str, why: str) -> None:
    """``value`` must be left out."""
    if value:
        raise InvalidArgument(f"{path} must not be set: {why}", field=path)


def count(items: Sequence[Any], path: str, least: int, most: int) -> None:
    """Number of elements of a repeated field."""
    if not least <= len(items) <= most:
        raise InvalidArgument(f"{path} must have {least:,} to {most:,} elements", field=path)


def whole(value: int, path: str, least: int, most: int) -> int:
    """An integer within [least, most]."""
    if not least <= value <= most:
        raise InvalidArgument(f"{path} must be between {least:,} and {most:,}", field=path)
    return value


def ratio(value: float, path: str, least: float = 0.0, most: float = 1.0) -> float:
    """A number within [least, most]; NaN never is."""
    if not least <= value <= most:
        raise InvalidArgument(f"{path} must be a number between {least:g} and {most:g}", field=path)
    return value


def finite(value: float, path: str) -> float:
    """Neither NaN nor infinite."""
    if not math.isfinite(value):
        raise InvalidArgument(f"{path} must be a finite number", field=path)
    return value


def choice(value: int, path: str, known: Mapping[int, E_]) -> E_:
    """The domain's word for an enum value; unknown numbers and (unless it is in ``known``) UNSPECIFIED are refused."""
    try:
        return known[value]
    except KeyError:
        raise InvalidArgument(f"{path} has no value that is known here", field=path) from None


def page_size(value: int, path: str = "page_size") -> int:
    """1..MAX_PAGE_SIZE; 0 is the default."""
    return whole(value, path, 1, MAX_PAGE_SIZE) if value else DEFAULT_PAGE_SIZE


def time(value: Timestamp, path: str) -> int:
    """Microseconds since the epoch, within protobuf's own years 1 to 9999."""
    if not 0 <= value.nanos < 1_000_000_000:
        raise InvalidArgument(f"{path} has nanos outside of 0..999,999,999", field=path)
    micros = value.seconds * SECOND_US + value.nanos // 1_000
    if not MIN_TIME_US <= micros <= MAX_TIME_US:
        raise InvalidArgument(f"{path} must lie between the years 1 and 9999", field=path)
    return micros


def ttl(value: Duration, path: str) -> int:
    """Microseconds, MIN_TTL..MAX_TTL."""
    micros = value.seconds * SECOND_US + value.nanos // 1_000
    if not MIN_TTL_US <= micros <= MAX_TTL_US:
        most_days = MAX_TTL_US // (86_400 * SECOND_US)
        raise InvalidArgument(f"{path} must be between 1 second and {most_days:,} days", field=path)
    return micros


def lease(value: Duration, path: str) -> int:
    """Microseconds, MIN_LEASE..MAX_LEASE."""
    micros = value.seconds * SECOND_US + value.nanos // 1_000
    if not MIN_LEASE_US <= micros <= MAX_LEASE_US:
        raise InvalidArgument(
            f"{path} must be between {MIN_LEASE_US // SECOND_US:,} and {MAX_LEASE_US // SECOND_US:,} seconds",
            field=path,
        )
    return micros


def elapsed(value: Duration, path: str) -> int:
    """Microseconds, 0..MAX_TTL."""
    micros = value.seconds * SECOND_US + value.nanos // 1_000
    if not 0 <= micros <= MAX_TTL_US:
        most_days = MAX_TTL_US // (86_400 * SECOND_US)
        raise InvalidArgument(f"{path} must be between 0 and {most_days:,} days", field=path)
    return micros


def tags(values: Sequence[str], path: str) -> tuple[str, ...]:
    """Sorted without repeats; each 1 to MAX_TAG_BYTES."""
    if not values:
        return ()
    count(values, path, 0, MAX_TAGS)
    for index, tag in enumerate(values):
        identifier(tag, f"{path}[{index}]", MAX_TAG_BYTES)
    return tuple(sorted(set(values)))


def metadata(value: Struct, path: str) -> dict[str, Any]:
    """A flat object: string, finite number, bool, or a list of those. No key is named in an error: keys are content."""
    fields = value.fields
    if not fields:
        return {}
    if len(fields) > MAX_METADATA_KEYS:
        raise InvalidArgument(f"{path} has more than {MAX_METADATA_KEYS} keys", field=path)
    flat = {_key(key, path): _element(fields[key], f"{path}.*", lists=True) for key in fields}
    if len(json.dumps(flat, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise InvalidArgument(f"{path} is longer than {MAX_METADATA_BYTES:,} bytes as JSON", field=path)
    return flat


def _key(key: str, path: str) -> str:
    if not key or len(key.encode()) > MAX_NAME_BYTES or _CONTROL.search(key):
        raise InvalidArgument(
            f"keys of {path} must be 1 to {MAX_NAME_BYTES} bytes without control characters", field=path
        )
    return key


def _element(value: Value, path: str, *, lists: bool) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return finite(value.number_value, path)
        case "bool_value":
            return value.bool_value
        case "list_value" if lists:
            return _list(value.list_value, path)
    raise InvalidArgument(f"{path} must be a string, a number, a bool, or a flat list of those", field=path)


def _list(values: ListValue, path: str) -> list[Any]:
    count(values.values, path, 0, MAX_METADATA_LIST)
    return [_element(value, path, lists=False) for value in values.values]


def paths(given: Collection[str], path: str, known: Collection[str]) -> frozenset[str]:
    """Names of a field mask: at least one, all known."""
    if not given:
        raise InvalidArgument(f"{path} must name at least one field", field=path)
    if set(given) - set(known):
        raise InvalidArgument(f"{path} may name: {', '.join(sorted(known))}", field=path)
    return frozenset(given)
