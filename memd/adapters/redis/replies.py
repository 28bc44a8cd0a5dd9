"""The replies of scripts that write: done, seen before, or refused."""

from __future__ import annotations

from typing import Any

from memd.domain.errors import RequestIdReused


def outcome(reply: list[Any]) -> tuple[list[Any], bool]:
    """What was written, and whether it is a stored reply. RequestIdReused."""
    if reply[0] == b"REUSED":
        raise RequestIdReused("this request_id was used for another request", field="request_id")
    return reply[1], reply[0] == b"REPLAYED"
