"""Leases on SQLite: one daemon has the file, so they part its own jobs and those of the one before it. See
``memd.ports.Leases``."""

from __future__ import annotations

from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer

# A live lease of somebody else is left alone, and nothing is returned.
_CLAIM = (
    "INSERT INTO lease AS l (namespace, job, holder, token, expire_time) VALUES (?1, ?2, ?3, 1, ?4 + ?5)"
    " ON CONFLICT (namespace, job) DO UPDATE SET holder = excluded.holder, expire_time = excluded.expire_time,"
    " token = CASE WHEN l.holder = excluded.holder AND l.expire_time > ?4 THEN l.token ELSE l.token + 1 END"
    " WHERE l.holder = excluded.holder OR l.expire_time <= ?4 RETURNING token"
)


class SqliteLeases:
    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def claim(self, namespace: str, job: str, holder: str, ttl_us: int) -> int | None:
        def operation(tx: Transaction) -> int | None:
            found = tx.rows(_CLAIM, (namespace, job, holder, tx.now_us, ttl_us))
            return int(found[0][0]) if found else None

        return await self._writer.submit(operation)

    async def release(self, namespace: str, job: str, token: int) -> None:
        def operation(tx: Transaction) -> None:
            sql = "UPDATE lease SET expire_time = 0 WHERE namespace = ? AND job = ? AND token = ?"
            tx.execute(sql, (namespace, job, token))

        await self._writer.submit(operation)
