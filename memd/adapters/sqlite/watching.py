"""ChangeLog on SQLite: what watchers follow. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import apsw

from memd.adapters.rows.changes import whole_numbers
from memd.adapters.sqlite.connection import row, rows, transaction
from memd.adapters.sqlite.memory_rows import COLUMNS, decode
from memd.adapters.sqlite.reads import ReadPool
from memd.domain.model import Memory, Scope
from memd.limits import MAX_CHANGE_BATCH, MAX_CHANGE_LOG
from memd.ports import Clock, Head, MemoryLine, MemoryLines

_LINES = (
    "SELECT seq, entry_id, op FROM change_log WHERE namespace = ? AND seq > ? AND seq <= ? AND kind = 'memory'"
    " ORDER BY seq LIMIT ?"
)
_STONES = (
    "SELECT DISTINCT seq, user_id, agent_id FROM tombstone WHERE namespace = ? AND seq > ? AND seq <= ?"
    " AND kind IN ('memory', 'retention')"
)
_ALL = -1


class SqliteChangeLog:
    def __init__(self, reads: ReadPool, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock

    async def head(self, namespace: str) -> Head:
        return await self._reads.run(lambda connection: _head(connection, namespace))

    async def memory_lines(self, namespace: str, since: Head) -> MemoryLines | None:
        now_us = self._clock.now_us()

        def read(connection: apsw.Connection) -> MemoryLines | None:
            with transaction(connection):
                return _memory_lines(connection, namespace, since, now_us)

        return await self._reads.run(read)


def _memory_lines(connection: apsw.Connection, namespace: str, since: Head, now_us: int) -> MemoryLines | None:
    head = _head(connection, namespace)
    if not head.seq - MAX_CHANGE_LOG <= since.seq <= head.seq or since.epoch not in (0, head.epoch):
        return None
    found = rows(connection, _LINES, (namespace, since.seq, head.seq, MAX_CHANGE_BATCH))
    lines, last = whole_numbers(found, MAX_CHANGE_BATCH, head.seq)
    if not lines and found:  # more of one number than a batch
        last = found[0][0]
        lines = rows(connection, _LINES, (namespace, since.seq, last, _ALL))
    memories = _memories(connection, namespace, [entry_id for _, entry_id, op in lines if op == "put"], now_us)
    deletes = any(op != "put" for _, _, op in lines)
    owners = _forgotten(connection, namespace, since.seq, last) if deletes else {}
    return MemoryLines(Head(last, head.epoch), tuple(_told(lines, memories, owners)))


def _told(
    lines: Sequence[tuple[int, str, str]], memories: Mapping[str, Memory], owners: Mapping[int, tuple[Scope, ...]]
) -> list[MemoryLine]:
    told = []
    for seq, entry_id, op in lines:
        if op != "put":
            told.append(MemoryLine(seq, entry_id, forgotten_for=owners.get(seq, ())))
        elif entry_id in memories:
            told.append(MemoryLine(seq, entry_id, memories[entry_id]))
    return told


def _head(connection: apsw.Connection, namespace: str) -> Head:
    found = row(connection, "SELECT seq, epoch FROM namespace_head WHERE namespace = ?", (namespace,))
    return Head(*found) if found else Head(0, 0)


def _memories(connection: apsw.Connection, namespace: str, ids: Sequence[str], now_us: int) -> dict[str, Memory]:
    sql = (
        f"SELECT {COLUMNS} FROM memory WHERE namespace = ? AND memory_id IN (SELECT value FROM json_each(?))"
        " AND coalesce(expire_time, ?) > ?"
    )
    found = rows(connection, sql, (namespace, json.dumps(ids), now_us + 1, now_us)) if ids else ()
    return {stored.memory.memory_id: stored.memory for stored in (decode(namespace, one) for one in found)}


def _forgotten(connection: apsw.Connection, namespace: str, since: int, last: int) -> dict[int, tuple[Scope, ...]]:
    """Whose tombstones came with a number."""
    owners: dict[int, list[Scope]] = {}
    for seq, user_id, agent_id in rows(connection, _STONES, (namespace, since, last)):
        owners.setdefault(seq, []).append(Scope(namespace, user_id, agent_id))
    return {seq: tuple(scopes) for seq, scopes in owners.items()}
