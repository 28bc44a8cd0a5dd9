"""SessionMarks on Postgres. See ``memd.ports`` for what each method promises.

The flags ``unpromoted`` and ``undigested`` say where something is left to do; whoever changes positions or marks sets them.
"""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.text import loaded_text
from memd.adapters.postgres.transaction import Reader
from memd.adapters.rows.marks import MARK_COLUMNS, marked_page
from memd.adapters.rows.session import EVENT_COLUMNS, decode_event
from memd.domain.grace import Grace
from memd.domain.model import Event
from memd.ports import Mark, MarkedPage, MarkedSession

_FROM = f"SELECT {MARK_COLUMNS} FROM memd.session WHERE pk > $1 AND"
_UNPROMOTED = f"{_FROM} unpromoted ORDER BY pk LIMIT $2"
_UNDIGESTED = (
    f"{_FROM} undigested AND (end_time IS NOT NULL OR dead OR last_position - digested >= $3"
    " OR update_time <= $4::bigint - $5 OR expire_time <= $4::bigint + $6) ORDER BY pk LIMIT $2"
)
_EXPIRED = f"{_FROM} (unpromoted OR undigested) AND (dead OR expire_time <= $3) ORDER BY pk LIMIT $2"
_SINCE = (
    f"SELECT {EVENT_COLUMNS} FROM memd.event WHERE session_pk = $1 AND position > $2 AND position <= $3"
    " ORDER BY position LIMIT $4"
)
_MARK = (
    "UPDATE memd.session SET {0} = $2, un{0} = last_position > $2 WHERE pk = $1 AND {0} = $3"  # what it was when read
)


class PostgresSessionMarks:
    """``grace``: that of the session store's sweep."""

    def __init__(self, database: Database, grace: Grace) -> None:
        self._database = database
        self._grace = grace

    async def unpromoted(self, limit: int, after: str = "") -> MarkedPage:
        return await self._page(_UNPROMOTED, limit, after)

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: str = ""
    ) -> MarkedPage:
        async def operation(reader: Reader) -> MarkedPage:
            times = reader.now_us, idle_us, expires_us
            return marked_page(await reader.rows(_UNDIGESTED, int(after or 0), limit, events, *times), limit)

        return await self._database.read_all(operation)

    async def expired(self, limit: int, after: str = "") -> MarkedPage:
        async def operation(reader: Reader) -> MarkedPage:
            return marked_page(await reader.rows(_EXPIRED, int(after or 0), limit, reader.now_us), limit)

        return await self._database.read_all(operation)

    async def _page(self, sql: str, limit: int, after: str) -> MarkedPage:
        found = await self._database.glance(sql, int(after or 0), limit)
        return marked_page([tuple(one) for one in found], limit)

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        async def operation(reader: Reader) -> tuple[Event, ...]:
            found = await reader.rows(_SINCE, int(session.key), position, session.last_position, limit)
            return tuple(decode_event((*row[:-2], loaded_text(row[-2]), row[-1])) for row in found)

        return await self._database.read(session.scope.namespace, operation)

    async def mark(self, promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        async def operation(reader: Reader) -> int:
            done = 0
            for mark in promoted:
                row = int(mark.session.key), mark.position, mark.session.promoted
                done += await reader.execute(_MARK.format("promoted"), *row)
            for mark in digested:
                row = int(mark.session.key), mark.position, mark.session.digested
                done += await reader.execute(_MARK.format("digested"), *row)
            return done

        return await self._database.keep(operation)

    def spare(self, grace_us: int) -> None:
        self._grace.length_us = grace_us
