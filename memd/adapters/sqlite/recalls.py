"""Recalls on SQLite: in the file at hand, be it the truth or a replica. See ``memd.ports``."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence

from memd.adapters.sqlite.connection import rows
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.limits import RECALLS_NOTED, RECALLS_WAITING

_NOTE = (
    "INSERT INTO memory_recall (memory_pk, last_time, count)"
    " SELECT pk, ?3, ?4 FROM memory WHERE namespace = ?1 AND memory_id = ?2"
    " ON CONFLICT (memory_pk) DO UPDATE SET last_time = max(last_time, excluded.last_time), count = count + excluded.count"
)
_LAST = (
    "SELECT memory_id, last_time FROM json_each(?2) CROSS JOIN memory ON namespace = ?1 AND memory_id = json_each.value"
    " JOIN memory_recall ON memory_pk = memory.pk"
)


class SqliteRecalls:
    def __init__(self, writer: Writer, reads: ReadPool) -> None:
        self._writer = writer
        self._reads = reads
        self._waiting: deque[tuple[str, tuple[str, ...], int]] = deque(maxlen=RECALLS_WAITING)
        """The oldest are lost when more come than are written."""

    def note(self, namespace: str, memory_ids: Sequence[str], now_us: int) -> None:
        self._waiting.append((namespace, tuple(memory_ids[:RECALLS_NOTED]), now_us))

    def last(self, namespace: str, memory_ids: Sequence[str]) -> Mapping[str, int]:
        bindings = namespace, json.dumps(list(memory_ids))
        return dict(self._reads.blocking(lambda connection: rows(connection, _LAST, bindings)))

    async def flush(self) -> int:
        noted: dict[tuple[str, str], tuple[int, int]] = {}
        while self._waiting:
            namespace, memory_ids, at_us = self._waiting.popleft()
            for memory_id in memory_ids:
                last, count = noted.get((namespace, memory_id), (0, 0))
                noted[namespace, memory_id] = max(last, at_us), count + 1

        def operation(tx: Transaction) -> int:
            return sum(tx.execute(_NOTE, (*key, *value)) for key, value in noted.items())

        return await self._writer.submit(operation) if noted else 0
