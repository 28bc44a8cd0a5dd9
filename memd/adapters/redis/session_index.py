"""Which sessions there are: by user, users by namespace, and when to look whether one has expired.

A cluster keeps these in other slots than the sessions, so no step changes both. What is true at every moment: an index
holds every session that exists, and perhaps some that do not. A session is registered before it is opened, and opened only
for a while after that; a name is taken out only when it is older than that while and its session is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from memd.adapters.redis import keys, scripts
from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.schedule import NO_LIMIT, Schedule
from memd.adapters.rows.session import decode_settings
from memd.domain.errors import LimitExceeded
from memd.domain.model import Scope
from memd.domain.session_settings import SessionSettings
from memd.limits import MAX_SESSIONS_PER_USER, REDIS_BATCH, REDIS_INDEX_GRACE_US


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of a live session."""

    scope: Scope
    create: int
    update: int
    expire: int
    end: int | None
    last_position: int
    seq: int
    settings: SessionSettings


_FIELDS = ("create", "update", "expire", "end", "last", "seq", "settings")


class SessionIndex:
    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.schedule = Schedule(link, keys.DUE_SESSIONS)

    async def register(self, scope: Scope, ttl_us: int) -> int:
        """Make the session known everywhere; when that was. LimitExceeded over MAX_SESSIONS_PER_USER."""
        at = await self._add_to_user(scope)
        if not at:  # full: of what is not there any more?
            live = await self.live(await self.of_user(scope.namespace, scope.user_id))
            if len(live) >= MAX_SESSIONS_PER_USER:
                raise LimitExceeded(
                    f"the user has {MAX_SESSIONS_PER_USER:,} sessions; end or forget some, or let them expire"
                )
            # names too young to go may keep the index over the limit for a while; live sessions are what is limited
            at = await self._add_to_user(scope, limit=NO_LIMIT)
        users = keys.namespace_index(scope.namespace)
        await self._link.run(scripts.REGISTER, [users], self._link.now(), scope.user_id, 0, NO_LIMIT)
        await self.schedule.add(keys.session_name(scope), ttl_us)
        return at

    async def _add_to_user(self, scope: Scope, limit: int = MAX_SESSIONS_PER_USER) -> int:
        name = keys.joined(scope.agent_id, scope.session_id)
        index = keys.user_index(scope.namespace, scope.user_id)
        at: int = await self._link.run(scripts.REGISTER, [index], self._link.now(), name, 0, limit)
        return at

    async def of_user(self, namespace: str, user_id: str) -> list[Scope]:
        """Every session of the user, and perhaps some that are not there any more."""
        names = await self._link.command("ZRANGE", keys.user_index(namespace, user_id), 0, -1)
        return [Scope(namespace, user_id, *keys.split(name.decode())) for name in names]

    async def users(self, namespace: str) -> AsyncIterator[str]:
        """Every user with a session, and perhaps some without. An added one may come or not, no other is missed."""
        key, cursor = keys.namespace_index(namespace), "0"
        while True:
            next_cursor, found = await self._link.command("ZSCAN", key, cursor, "COUNT", REDIS_BATCH)
            for user_id, _ in found:
                yield user_id.decode()
            cursor = str(int(next_cursor))
            if cursor == "0":
                return

    async def live(self, scopes: Sequence[Scope]) -> list[Numbers]:
        """Those of the sessions that are there; the others are taken out of their user's index."""
        replies = await self._link.commands([("HMGET", keys.session_keys(one)[0], *_FIELDS) for one in scopes])
        now_us = await self._link.now_us()
        found, gone = [], []
        for scope, values in zip(scopes, replies, strict=True):
            if values[2] is None:
                gone.append(scope)
            elif int(values[2]) > now_us:
                create, update, expire, end, last, seq = (int(value or 0) for value in values[:-1])
                own = decode_settings(values[-1])
                found.append(Numbers(scope, create, update, expire, end or None, last, seq, own))
        await self.drop(gone)
        return found

    async def drop(self, gone: Sequence[Scope]) -> None:
        """Take out sessions that are not there, unless one may be about to come; and users without any."""
        by_user: dict[tuple[str, str], list[str]] = {}
        for scope in gone:
            name = keys.joined(scope.agent_id, scope.session_id)
            by_user.setdefault((scope.namespace, scope.user_id), []).append(name)
        for (namespace, user_id), names in by_user.items():
            for start in range(0, len(names), REDIS_BATCH):
                left = await self._drop(keys.user_index(namespace, user_id), names[start : start + REDIS_BATCH])
            if not left:
                await self._drop(keys.namespace_index(namespace), [user_id])

    async def _drop(self, key: str, names: Sequence[str]) -> int:
        left: int = await self._link.run(scripts.DROP, [key], self._link.now(), REDIS_INDEX_GRACE_US, *names)
        return left
