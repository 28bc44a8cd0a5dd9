"""SessionMarks on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.rows.marks import MARK_COLUMNS, marked_page
from memd.adapters.rows.session import EVENT_COLUMNS
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.session_rows import EVENT_JSON, decode_events
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.grace import Grace
from memd.domain.model import Event
from memd.ports import Clock, Mark, MarkedPage, MarkedSession

_UNPROMOTED = f"SELECT {MARK_COLUMNS} FROM session WHERE promoted < last_position AND pk > ? ORDER BY pk LIMIT ?"
_UNDIGESTED = (
    f"SELECT {MARK_COLUMNS} FROM session WHERE digested < last_position AND pk > ? AND (end_time IS NOT NULL OR dead = 1"
    " OR last_position - digested >= ? OR update_time <= ? OR expire_time <= ?) ORDER BY pk LIMIT ?"
)
_EXPIRED = (
    f"SELECT {MARK_COLUMNS} FROM session WHERE min(promoted, digested) < last_position AND pk > ?"
    " AND (dead = 1 OR expire_time <= ?) ORDER BY pk LIMIT ?"
)
_SINCE = (
    f"SELECT json_group_array({EVENT_JSON}) FROM (SELECT {EVENT_COLUMNS} FROM event"
    " WHERE session_pk = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?)"
)


class SqliteSessionMarks:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock, grace: Grace) -> None:
        """``grace``: that of the session store's sweep."""
        self._writer = writer
        self._reads = reads
        self._clock = clock
        self._grace = grace

    async def unpromoted(self, limit: int, after: str = "") -> MarkedPage:
        return await self._page(_UNPROMOTED, (int(after or 0), limit), limit)

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: str = ""
    ) -> MarkedPage:
        now = self._clock.now_us()
        bindings = (int(after or 0), events, now - idle_us, now + expires_us, limit)
        return await self._page(_UNDIGESTED, bindings, limit)

    async def expired(self, limit: int, after: str = "") -> MarkedPage:
        return await self._page(_EXPIRED, (int(after or 0), self._clock.now_us(), limit), limit)

    async def _page(self, sql: str, bindings: tuple[int, ...], limit: int) -> MarkedPage:
        found = await self._reads.run(lambda connection: rows(connection, sql, bindings))
        return marked_page(found, limit)

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        bindings = (int(session.key), position, session.last_position, limit)
        found = await self._reads.run(lambda connection: row(connection, _SINCE, bindings))
        return tuple(decode_events(found[0])) if found else ()

    async def mark(self, promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        def operation(tx: Transaction) -> int:
            done = 0
            for mark in promoted:
                bindings = (mark.position, int(mark.session.key), mark.session.promoted)
                done += tx.execute("UPDATE session SET promoted = ? WHERE pk = ? AND promoted = ?", bindings)
            for mark in digested:
                bindings = (mark.position, int(mark.session.key), mark.session.digested)
                done += tx.execute("UPDATE session SET digested = ? WHERE pk = ? AND digested = ?", bindings)
            return done

        return await self._writer.submit(operation)

    def spare(self, grace_us: int) -> None:
        self._grace.length_us = grace_us
