"""Pages that fit into one message: fewer items than asked for is a valid page, an error in the middle of a list is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from memd.limits import MAX_MESSAGE_BYTES

M = TypeVar("M", bound=Message)
_ROOM = 0.8  # aim below the bound: items differ in size


async def fitting(size: int, fetch: Callable[[int], Awaitable[M]]) -> M:
    """The reply of ``fetch(size)``, or of a smaller size when it would not fit into a message."""
    while True:
        reply = await fetch(size)
        reply_bytes = reply.ByteSize()
        if reply_bytes <= MAX_MESSAGE_BYTES or size == 1:
            return reply
        size = max(1, min(size - 1, int(size * _ROOM * MAX_MESSAGE_BYTES / reply_bytes)))
