"""Gives the space of deleted rows back to the file system. See ``memd.ports.Compaction``.

SQLite keeps the pages of deleted rows for the next ones, and its file never gets shorter by itself. ``incremental_vacuum``
moves pages from the end of the file into free ones and cuts it off: a write like any other, so it is atomic, waits for no
reader, and reaches the file with the next checkpoint.
"""

from __future__ import annotations

import apsw

from memd.adapters.sqlite.connection import row
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.scrub import PAGE_BYTES
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.ports import Space


class SqliteCompaction:
    def __init__(self, writer: Writer, reads: ReadPool) -> None:
        self._writer = writer
        self._reads = reads

    async def space(self) -> Space:
        return await self._reads.run(_space)

    async def give_back(self, max_bytes: int) -> int:
        pages = max(1, max_bytes // PAGE_BYTES)

        def operation(tx: Transaction) -> int:
            before = _space(tx.connection).free_bytes
            tx.execute(f"PRAGMA incremental_vacuum({pages})")
            return before - _space(tx.connection).free_bytes

        return await self._writer.submit(operation)


def _space(connection: apsw.Connection) -> Space:
    counts = [row(connection, f"PRAGMA {name}") for name in ("page_count", "freelist_count")]
    total, free = (int(one[0]) if one else 0 for one in counts)
    return Space(total * PAGE_BYTES, free * PAGE_BYTES)
