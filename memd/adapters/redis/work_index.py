"""Which sessions have something to be consolidated: hints beside the sessions, and a patrol that needs none.

An append tells nobody in another slot, which would cost it a round trip: it is noted in this process, and told before each
look. What a daemon that fell had not told is found by a patrol over all sessions, and by the sweep, which spares it. So the
index may miss a session for a while, and may hold some that have nothing left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memd.adapters.redis import keys
from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.schedule import Schedule
from memd.domain.errors import MemdError
from memd.domain.model import Scope
from memd.limits import REDIS_BATCH, REDIS_NOTED, REDIS_PATROL
from memd.ports import MarkedPage, MarkedSession

_FIELDS = ("create", "update", "expire", "end", "last", "promoted", "digested", "old")


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a session; ``buried``: another one has begun since it expired."""

    marked: MarkedSession
    update: int
    expire: int
    ended: bool
    buried: bool

    @property
    def waits(self) -> bool:
        return min(self.marked.promoted, self.marked.digested) < self.marked.last_position


Wanted = Callable[[Life], bool]


class WorkIndex:
    def __init__(self, link: RedisLink, schedule: Schedule) -> None:
        """``schedule`` has every session there is."""
        self._link = link
        self._schedule = schedule
        self._noted: set[Scope] = set()
        self._patrolled = 0

    def note(self, scope: Scope) -> None:
        """Something was appended, or the session ended."""
        if len(self._noted) < REDIS_NOTED:
            self._noted.add(scope)

    async def page(self, index: str, limit: int, after: str, wanted: Wanted) -> MarkedPage:
        """Of the next REDIS_BATCH names in ``index`` after ``after`` the first ``limit`` lives that are ``wanted``."""
        await self._tell()
        start = f"({after}" if after else "-"
        found = await self._link.command("ZRANGE", index, start, "+", "BYLEX", "LIMIT", 0, REDIS_BATCH)
        names = [name.decode() for name in found]
        looked = await self._look([Scope(*keys.split(name)) for name in names])
        await self._strike(index, [name for name, lives in zip(names, looked, strict=True) if not _wait(index, lives)])
        sessions: list[MarkedSession] = []
        for name, lives in zip(names, looked, strict=True):
            sessions += [life.marked for life in lives if wanted(life)]
            if len(sessions) >= limit:
                return MarkedPage(tuple(sessions[:limit]), name)
        return MarkedPage(tuple(sessions), names[-1] if len(names) == REDIS_BATCH else "")

    async def patrol(self) -> None:
        """Look at the next REDIS_PATROL sessions of all there are, round and round, for what nobody told."""
        scopes = [Scope(*parts) for parts in await self._schedule.page(self._patrolled, REDIS_PATROL)]
        self._patrolled = self._patrolled + len(scopes) if len(scopes) == REDIS_PATROL else 0
        looked = await self._look(scopes)
        for scope, lives in zip(scopes, looked, strict=True):
            if any(life.waits for life in lives):
                self.note(scope)

    async def _tell(self) -> None:
        noted, self._noted = self._noted, set()
        if not noted:
            return
        try:
            await self._add((keys.WORK, keys.FRESH), [keys.session_name(scope) for scope in noted])
        except MemdError:
            for scope in noted:
                self.note(scope)
            raise

    async def _add(self, indexes: Sequence[str], names: Sequence[str]) -> None:
        for start in range(0, len(names), REDIS_BATCH):
            members = [part for name in names[start : start + REDIS_BATCH] for part in (0, name)]
            await self._link.commands([("ZADD", index, *members) for index in indexes])

    async def _strike(self, index: str, names: Sequence[str]) -> None:
        """Take out what has nothing left, and look again: what was appended in between may have been told before."""
        if not names:
            return
        await self._link.command("ZREM", index, *names)
        again = await self._look([Scope(*keys.split(name)) for name in names])
        await self._add([index], [name for name, lives in zip(names, again, strict=True) if _wait(index, lives)])

    async def _look(self, scopes: Sequence[Scope]) -> list[list[Life]]:
        """The lives of each, the older first."""
        live = await self._numbers([(scope, keys.session_keys(scope)[0]) for scope in scopes], buried=False)
        twice = [scope for scope, (_, old) in zip(scopes, live, strict=True) if old]
        before = await self._numbers([(scope, keys.old_session_keys(scope)[0]) for scope in twice], buried=True)
        buried = {scope: life for scope, (life, _) in zip(twice, before, strict=True) if life is not None}
        return [
            [life for life in (buried.get(scope), newest) if life is not None]
            for scope, (newest, _) in zip(scopes, live, strict=True)
        ]

    async def _numbers(self, asked: Sequence[tuple[Scope, str]], *, buried: bool) -> list[tuple[Life | None, bool]]:
        """The life under each key, and whether there is one before it."""
        replies = await self._link.commands([("HMGET", key, *_FIELDS) for _, key in asked])
        return [
            (_life(scope, values, buried), not buried and (values[-1] is not None or values[0] is None))
            for (scope, _), values in zip(asked, replies, strict=True)
        ]


def _life(scope: Scope, values: Sequence[bytes | None], buried: bool) -> Life | None:
    if values[0] is None:
        return None
    create, update, expire, end, last, promoted, digested, _ = (int(value or 0) for value in values)
    key = f"{keys.session_name(scope)}:{create}"
    return Life(MarkedSession(key, scope, create, promoted, digested, last), update, expire, end > 0, buried)


def _wait(index: str, lives: Sequence[Life]) -> bool:
    """Whether the name belongs into the index."""
    if index == keys.FRESH:
        return any(life.marked.promoted < life.marked.last_position for life in lives)
    return any(life.waits for life in lives)
