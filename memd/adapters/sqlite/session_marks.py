"""SessionMarks on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.rows.session import EVENT_COLUMNS
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.session_rows import EVENT_JSON, decode_events
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.model import Event, Scope
from memd.ports import Clock, MarkedSession

_COLUMNS = "pk, namespace, user_id, agent_id, session_id, create_time, promoted, digested, last_position"
_UNPROMOTED = f"SELECT {_COLUMNS} FROM session WHERE promoted < last_position AND pk > ? ORDER BY pk LIMIT ?"
_UNDIGESTED = (
    f"SELECT {_COLUMNS} FROM session WHERE digested < last_position AND pk > ? AND (end_time IS NOT NULL OR dead = 1"
    " OR last_position - digested >= ? OR update_time <= ? OR expire_time <= ?) ORDER BY pk LIMIT ?"
)
_EXPIRED = (
    f"SELECT {_COLUMNS} FROM session WHERE min(promoted, digested) < last_position AND pk > ?"
    " AND (dead = 1 OR expire_time <= ?) ORDER BY pk LIMIT ?"
)
_SINCE = (
    f"SELECT json_group_array({EVENT_JSON}) FROM (SELECT {EVENT_COLUMNS} FROM event"
    " WHERE session_pk = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?)"
)


class SqliteSessionMarks:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    async def unpromoted(self, limit: int, after: int = 0) -> tuple[MarkedSession, ...]:
        found = await self._reads.run(lambda connection: rows(connection, _UNPROMOTED, (after, limit)))
        return tuple(map(_session, found))

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: int = 0
    ) -> tuple[MarkedSession, ...]:
        now = self._clock.now_us()
        bindings = (after, events, now - idle_us, now + expires_us, limit)
        found = await self._reads.run(lambda connection: rows(connection, _UNDIGESTED, bindings))
        return tuple(map(_session, found))

    async def expired(self, limit: int, after: int = 0) -> tuple[MarkedSession, ...]:
        bindings = (after, self._clock.now_us(), limit)
        found = await self._reads.run(lambda connection: rows(connection, _EXPIRED, bindings))
        return tuple(map(_session, found))

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        bindings = (session.key, position, session.last_position, limit)
        found = await self._reads.run(lambda connection: row(connection, _SINCE, bindings))
        return tuple(decode_events(found[0])) if found else ()

    async def mark(self, promoted: Sequence[tuple[int, int]] = (), digested: Sequence[tuple[int, int]] = ()) -> None:
        def operation(tx: Transaction) -> None:
            for column, marks in (("promoted", promoted), ("digested", digested)):
                sql = f"UPDATE session SET {column} = max({column}, ?2) WHERE pk = ?1"
                for key, position in marks:
                    tx.execute(sql, (key, position))

        await self._writer.submit(operation)


def _session(found: Sequence[object]) -> MarkedSession:
    pk, namespace, user_id, agent_id, session_id, create_time, promoted, digested, last_position = found
    scope = Scope(str(namespace), str(user_id), str(agent_id), str(session_id))
    numbers = (int(str(number)) for number in (create_time, promoted, digested, last_position))
    return MarkedSession(int(str(pk)), scope, *numbers)
