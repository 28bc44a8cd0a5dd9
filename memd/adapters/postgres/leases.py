"""Leases on Postgres. See ``memd.ports.Leases``."""

from __future__ import annotations

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.transaction import Transaction

# A live lease of somebody else is left alone, and nothing is returned.
_CLAIM = (
    "INSERT INTO memd.lease AS l (namespace, job, holder, token, expire_time) VALUES ($1, $2, $3, 1, $4::bigint + $5)"
    " ON CONFLICT (namespace, job) DO UPDATE SET holder = excluded.holder, expire_time = excluded.expire_time,"
    " token = CASE WHEN l.holder = excluded.holder AND l.expire_time > $4 THEN l.token ELSE l.token + 1 END"
    " WHERE l.holder = excluded.holder OR l.expire_time <= $4 RETURNING token"
)


class PostgresLeases:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, namespace: str, job: str, holder: str, ttl_us: int) -> int | None:
        async def operation(tx: Transaction) -> int | None:
            found = await tx.row(_CLAIM, namespace, job, holder, tx.now_us, ttl_us)
            return int(found[0]) if found else None

        return await self._database.write(namespace, operation)

    async def release(self, namespace: str, job: str, token: int) -> None:
        async def operation(tx: Transaction) -> None:
            await tx.execute(
                "UPDATE memd.lease SET expire_time = 0 WHERE namespace = $1 AND job = $2 AND token = $3",
                namespace,
                job,
                token,
            )

        await self._database.write(namespace, operation)
