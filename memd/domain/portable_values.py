"""Checks of the values of an export's lines: each returns what it let through, or raises InvalidArgument."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from memd.domain.errors import InvalidArgument
from memd.domain.model import SourceKind
from memd.limits import (
    MAX_CONTENT_BYTES,
    MAX_ID_BYTES,
    MAX_LINKS,
    MAX_METADATA_BYTES,
    MAX_METADATA_KEYS,
    MAX_METADATA_LIST,
    MAX_NAME_BYTES,
    MAX_SEQ,
    MAX_TAG_BYTES,
    MAX_TAGS,
    MAX_TIME_US,
    MAX_VERSION,
    MIN_TIME_US,
)

Check = Callable[[Any, str], Any]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FLOAT32_BYTES = 4
_SOURCES = {kind.value: kind for kind in SourceKind}


def text(value: Any, path: str) -> str:
    """UTF-8: no half of a surrogate pair, which JSON can say and no store takes."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{path} must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument(f"{path} is not valid Unicode") from exc
    return value


def number(value: Any, path: str) -> int:
    """0..MAX_SEQ."""
    return whole(value, path, 0, MAX_SEQ)


def whole(value: Any, path: str, least: int, most: int) -> int:
    """``least``..``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgument(f"{path} must be a whole number from {least:,} to {most:,}")
    return value


def version(value: Any, path: str) -> int:
    return whole(value, path, 1, MAX_VERSION)


def time(value: Any, path: str) -> int:
    return whole(value, path, MIN_TIME_US, MAX_TIME_US)


def fitting(most: int, *, least: int = 0, lines: bool = False) -> Check:
    def check(value: Any, path: str) -> str:
        size = len(text(value, path).encode())
        if not least <= size <= most or (not lines and _CONTROL.search(value)):
            controls = "" if lines else " without control characters"
            raise InvalidArgument(f"{path} must have {least:,} to {most:,} bytes{controls}")
        return str(value)

    return check


def optional(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def list_of(check: Check, most: int) -> Check:
    def all_of(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise InvalidArgument(f"{path} must be a list of at most {most:,}")
        return tuple(check(one, path) for one in value)

    return all_of


def vector(value: Any, path: str) -> bytes:
    """Finite float32, little-endian, in base64."""
    try:
        found = base64.b64decode(text(value, path), validate=True)
    except binascii.Error as exc:
        raise InvalidArgument(f"{path} must be base64") from exc
    if not found or len(found) % _FLOAT32_BYTES or not all(map(math.isfinite, array("f", found))):
        raise InvalidArgument(f"{path} must be finite float32 numbers")
    return found


def _source(value: Any, path: str) -> SourceKind:
    if not isinstance(value, str) or value not in _SOURCES:
        raise InvalidArgument(f"{path} must be one of {', '.join(_SOURCES)}")
    return _SOURCES[value]


def ratio(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InvalidArgument(f"{path} must be a number from 0 to 1")
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{path} must be true or false")
    return value


def metadata(value: Any, path: str) -> dict[str, Any]:
    """A flat object: string, finite number, bool, or a list of those."""
    if not isinstance(value, dict) or len(value) > MAX_METADATA_KEYS:
        raise InvalidArgument(f"{path} must be an object of at most {MAX_METADATA_KEYS} keys")
    for key, one in value.items():
        _name(key, f"{path}.*")
        _elements(one if isinstance(one, list) else [one], f"{path}.*")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise InvalidArgument(f"{path} is longer than {MAX_METADATA_BYTES:,} bytes as JSON")
    return value


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return text(value, path)
    if isinstance(value, int) and -MAX_SEQ <= value <= MAX_SEQ:  # a bool is one, too
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidArgument(f"{path} must be a string, a number, a bool, or a flat list of those")


_elements = list_of(_plain, MAX_METADATA_LIST)
_name = fitting(MAX_NAME_BYTES, least=1)
identifier = fitting(MAX_ID_BYTES)

MEMORY_CHECKS: Mapping[str, Check] = {
    "memory_id": fitting(MAX_ID_BYTES, least=1),
    "user_id": identifier,
    "agent_id": identifier,
    "session_id": identifier,
    "content": fitting(MAX_CONTENT_BYTES, least=1, lines=True),
    "metadata": metadata,
    "tags": list_of(fitting(MAX_TAG_BYTES, least=1), MAX_TAGS),
    "source": _source,
    "writer": identifier,
    "speaker": identifier,
    "event_time": optional(time),
    "position": optional(number),
    "importance": ratio,
    "pinned": _flag,
    "valid_from": optional(time),
    "valid_to": optional(time),
    "supersedes": identifier,
    "superseded_by": identifier,
    "expire_time": optional(time),
    "event_ids": list_of(identifier, MAX_LINKS),
    "version": version,
    "create_time": time,
    "update_time": time,
}
"""By field of ``Memory``, with its scope's names in the place of the scope."""


def checked(found: Any, path: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Exactly the fields of ``checks``."""
    if not isinstance(found, dict) or found.keys() != checks.keys():
        raise InvalidArgument(f"{path} must have the fields {', '.join(sorted(checks))}")
    return {name: check(found[name], f"{path}.{name}") for name, check in checks.items()}
