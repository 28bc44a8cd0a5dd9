"""ChangeLog on Postgres: what watchers follow. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.postgres.changes import find_head, same_history
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.memory_rows import COLUMNS, decode
from memd.adapters.postgres.transaction import Reader
from memd.adapters.rows.changes import whole_numbers
from memd.domain.model import Memory, Scope
from memd.limits import MAX_CHANGE_BATCH
from memd.ports import Head, MemoryLine, MemoryLines

_LINES = (
    "SELECT seq, entry_id, op FROM memd.change_log WHERE namespace = $1 AND seq > $2 AND seq <= $3 AND kind = 'memory'"
    " ORDER BY seq LIMIT $4"
)
_NEXT = "SELECT 1 FROM memd.change_log WHERE namespace = $1 AND seq = $2 LIMIT 1"
_ROWS = (
    f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND memory_id = ANY ($2::text[])"
    " AND (expire_time IS NULL OR expire_time > $3)"
)
_STONES = (
    "SELECT DISTINCT seq, user_id, agent_id FROM memd.tombstone WHERE namespace = $1 AND seq > $2 AND seq <= $3"
    " AND kind IN ('memory', 'retention')"
)


class PostgresChangeLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, namespace: str) -> Head:
        return await self._database.read(namespace, lambda reader: find_head(reader, namespace))

    async def memory_lines(self, namespace: str, since: Head) -> MemoryLines | None:
        return await self._database.read(namespace, lambda reader: _memory_lines(reader, namespace, since))


async def _memory_lines(reader: Reader, namespace: str, since: Head) -> MemoryLines | None:
    head = await find_head(reader, namespace)
    if since.seq > head.seq or (since.epoch and not await same_history(reader, namespace, since)):
        return None
    if since.seq < head.seq and not await reader.row(_NEXT, namespace, since.seq + 1):
        return None  # every number has a line: this one was trimmed
    found = await reader.rows(_LINES, namespace, since.seq, head.seq, MAX_CHANGE_BATCH)
    lines, last = whole_numbers(found, MAX_CHANGE_BATCH, head.seq)
    if not lines and found:  # more of one number than a batch
        last = found[0][0]
        lines = await reader.rows(_LINES, namespace, since.seq, last, None)
    memories = await _memories(reader, namespace, [entry_id for _, entry_id, op in lines if op == "put"])
    deletes = any(op != "put" for _, _, op in lines)
    owners = await _forgotten(reader, namespace, since.seq, last) if deletes else {}
    told = [
        MemoryLine(seq, entry_id, memories.get(entry_id) if op == "put" else None, tuple(owners.get(seq, ())))
        for seq, entry_id, op in lines
        if op != "put" or entry_id in memories
    ]
    return MemoryLines(Head(last, head.epoch), tuple(told))


async def _memories(reader: Reader, namespace: str, ids: Sequence[str]) -> dict[str, Memory]:
    found = await reader.rows(_ROWS, namespace, list(ids), reader.now_us) if ids else []
    return {stored.memory.memory_id: stored.memory for stored in (decode(namespace, one) for one in found)}


async def _forgotten(reader: Reader, namespace: str, since: int, last: int) -> dict[int, list[Scope]]:
    owners: dict[int, list[Scope]] = {}
    for seq, user_id, agent_id in await reader.rows(_STONES, namespace, since, last):
        owners.setdefault(seq, []).append(Scope(namespace, user_id, agent_id))
    return owners
