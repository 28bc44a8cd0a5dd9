"""Page cursors: the sort key of the last item shown, as a JSON list. They mean something to the same list only."""

from __future__ import annotations

import json
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain.errors import InvalidArgument


def encode_cursor(*key: str | int) -> str:
    return encode(key)


def decode_cursor(cursor: str, *kinds: type) -> tuple[Any, ...] | None:
    """None for the first page; InvalidArgument for what was not made by ``encode_cursor`` for such a list."""
    if not cursor:
        return None
    try:
        key = json.loads(cursor)
    except ValueError as error:
        raise _refused() from error
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise _refused()
    if any(isinstance(part, int) and abs(part) >= 1 << 63 for part in key):
        raise _refused()
    return tuple(key)


def _refused() -> InvalidArgument:
    return InvalidArgument(
        "the page token is not of this list, or of an older memd: begin again with the first page", field="page_token"
    )
