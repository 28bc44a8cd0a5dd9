"""What is left of a Forget on the disk of Redis, and the rewrite of the append-only file that takes it away.

UNLINK takes a key out of memory; the commands that made it stay in the append-only file until the server writes that file
anew. A rewrite that already runs began before the keys went, so another one has to follow it. Rewrites are as dear as the
server is large: they are asked for one REDIS_REWRITE_PAUSE_S apart, however many Forgets there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from memd.adapters.redis.client import Client
from memd.adapters.redis.link import RedisLink
from memd.domain.errors import MemdError
from memd.limits import REDIS_REWRITE_PAUSE_S

logger = logging.getLogger(__name__)
_RUNS = "already in progress"
"""Of the server's answer while a rewrite runs."""


class Rewrite(StrEnum):
    """What a node made of the wish; ``NONE``: it keeps no append-only file."""

    ASKED = "asked"
    LATER = "later"
    REFUSED = "refused"
    NONE = "none"


WORDS: Mapping[Rewrite, str] = {
    Rewrite.ASKED: "the append-only file of Redis until the rewrite that was asked for (BGREWRITEAOF) has ended",
    Rewrite.LATER: (
        "the append-only file of Redis until a rewrite (BGREWRITEAOF) has ended; this daemon asks for it as soon as the"
        " server takes it, unless it is killed before"
    ),
    Rewrite.REFUSED: (
        "the append-only file of Redis until the server rewrites it by itself: a rewrite was asked for and not possible,"
        " the server or its ACL refuses it"
    ),
}
BEYOND = "snapshots (RDB), the slow log and the replicas of Redis, and copies of its files, until each is made anew"


class RedisErasure:
    """Implements ``ports.Erasure``. ``counted``: the counts of a receipt that are of what is kept in Redis."""

    def __init__(self, link: RedisLink, counted: Collection[str], *, pause_s: float = REDIS_REWRITE_PAUSE_S) -> None:
        self._link = link
        self._counted = counted
        self._pause_s = pause_s
        self._wanted = False
        self._following: asyncio.Task[None] | None = None

    async def erase(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        if not any(counts.get(name) for name in self._counted):
            return ()
        if self._following is not None and not self._following.done():
            self._wanted = True
            return (WORDS[Rewrite.LATER], BEYOND)
        answers = await self._ask()
        if answers & {Rewrite.ASKED, Rewrite.LATER}:
            self._following = asyncio.ensure_future(self._follow())
        return (*(words for answer, words in WORDS.items() if answer in answers), BEYOND)

    async def _follow(self) -> None:
        """After a rewrite was asked for: a pause, then another one if somebody wants it by then."""
        await asyncio.sleep(self._pause_s)
        while self._wanted:
            await self._ask()
            await asyncio.sleep(self._pause_s)

    async def _ask(self) -> set[Rewrite]:
        """Ask every node; those that cannot now leave it wanted."""
        self._wanted = False
        try:
            answers = set(await self._link.on_primaries(_rewrite))
        except MemdError as error:
            logger.info("the rewrite of Redis's append-only file waits: %s", type(error).__name__)
            answers = {Rewrite.LATER}
        self._wanted = self._wanted or Rewrite.LATER in answers
        return answers

    async def close(self) -> None:
        """Ask for the last time, where that is still owed."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._wanted:
            await self._ask()


async def _rewrite(client: Client, target: Mapping[str, Any]) -> Rewrite:
    try:
        info = await client.execute_command("INFO", "persistence", **target)
        if not int(info["aof_enabled"]):
            return Rewrite.NONE
        await client.execute_command("BGREWRITEAOF", **target)
    except NoPermissionError:
        return Rewrite.REFUSED
    except ResponseError as error:  # one that runs, or the command was renamed away
        return Rewrite.LATER if _RUNS in str(error) else Rewrite.REFUSED
    return Rewrite.ASKED
