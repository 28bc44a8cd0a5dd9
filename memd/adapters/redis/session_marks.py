"""SessionMarks on Redis: two fields of each session's numbers. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.redis import keys, scripts
from memd.adapters.redis.codec import decode_events
from memd.adapters.redis.sessions import RedisSessions
from memd.adapters.redis.work_index import Life
from memd.domain.model import Event
from memd.limits import REDIS_GRACE_US
from memd.ports import Mark, MarkedPage, MarkedSession


class RedisSessionMarks:
    def __init__(self, sessions: RedisSessions) -> None:
        self._link = sessions.link
        self._work = sessions.work
        self._grace = sessions.grace

    async def unpromoted(self, limit: int, after: str = "") -> MarkedPage:
        return await self._work.page(keys.FRESH, limit, after, _unpromoted)

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: str = ""
    ) -> MarkedPage:
        await self._work.patrol()
        now_us = await self._link.now_us()

        def due(life: Life) -> bool:
            left = life.marked.last_position - life.marked.digested
            over = life.ended or life.buried or life.expire <= now_us + expires_us
            return left > 0 and (over or left >= events or life.update <= now_us - idle_us)

        return await self._work.page(keys.WORK, limit, after, due)

    async def expired(self, limit: int, after: str = "") -> MarkedPage:
        now_us = await self._link.now_us()
        return await self._work.page(
            keys.WORK, limit, after, lambda life: life.waits and (life.buried or life.expire <= now_us)
        )

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        found: list[bytes] = []
        while True:
            args = str(session.create_time), position, session.last_position, limit - len(found)
            position, more = await self._link.run(scripts.SINCE, keys.both_lives(session.scope), *args)
            found += more
            if not position or len(found) == limit:
                return tuple(decode_events(found))

    async def mark(self, promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        done = 0
        for mark in promoted:
            done += await self._mark(mark, "promoted", mark.session.promoted)
        for mark in digested:
            done += await self._mark(mark, "digested", mark.session.digested)
        return done

    async def _mark(self, mark: Mark, name: str, seen: int) -> int:
        session = mark.session
        args = self._link.now(), str(session.create_time), name, seen, mark.position, REDIS_GRACE_US
        # not repeated when the reply is lost: it would find its own mark, and the next look tells
        done: int = await self._link.run(scripts.MARK, keys.both_lives(session.scope), *args, repeatable=False)
        return done

    def spare(self, grace_us: int) -> None:
        self._grace.length_us = grace_us


def _unpromoted(life: Life) -> bool:
    return life.marked.promoted < life.marked.last_position
