"""Retention on Postgres. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.settings import decode_settings
from memd.adapters.postgres.tombstones import RETENTION
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.domain.model import Scope
from memd.domain.retention import Outdated, RetentionPolicy, Surplus, policy_of
from memd.ports import Retained

_POLICIES = (
    "SELECT namespace, s.version, body, coalesce(seq, 0) FROM memd.namespace_settings s"
    " LEFT JOIN memd.namespace_head USING (namespace) WHERE namespace > $1"
    " AND ((body::jsonb ->> 'retention_max_age_us') IS NOT NULL OR (body::jsonb ->> 'retention_max_count') IS NOT NULL)"
    " ORDER BY namespace LIMIT $2"
)
_COUNT = (
    "SELECT count(*) FROM memd.memory WHERE namespace = $1 AND pinned = ANY ($2::boolean[])"
    " AND (expire_time IS NULL OR expire_time > $3) AND update_time <= $4"
)
# ``pinned`` is one of the two values, so that the index gives the order.
_OLDEST = (
    "SELECT memory_id, version, update_time FROM memd.memory WHERE namespace = $1 AND pinned = $2"
    " AND (expire_time IS NULL OR expire_time > $3) ORDER BY update_time, pk LIMIT $4"
)
_EVER = (1 << 63) - 1
# In the order of their ids, as every writer locks them.
_FOUND = (
    "SELECT m.pk, m.memory_id, m.user_id, m.agent_id FROM memd.memory m"
    " JOIN unnest($2::text[], $3::integer[], $4::bigint[]) o (memory_id, version, update_time)"
    ' ON m.memory_id = o.memory_id COLLATE "C" AND m.version = o.version AND m.update_time = o.update_time'
    " WHERE m.namespace = $1 ORDER BY m.memory_id FOR UPDATE OF m"
)


class PostgresRetention:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def policies(self, after: str, limit: int) -> tuple[Retained, ...]:
        found = await self._database.read_all(lambda reader: reader.rows(_POLICIES, after, limit))
        return tuple(Retained(one[0], policy_of(decode_settings(one[1:3])), one[3]) for one in found)

    async def surplus(self, namespace: str, policy: RetentionPolicy, limit: int) -> Surplus:
        return await self._database.read(namespace, lambda reader: _surplus(reader, namespace, policy, limit))

    async def retire(self, namespace: str, outdated: Sequence[Outdated], *, writer: str) -> int:
        async def operation(tx: Transaction) -> int:
            found = await tx.rows(
                _FOUND,
                namespace,
                [one.memory_id for one in outdated],
                [one.version for one in outdated],
                [one.update_time for one in outdated],
            )
            if not found:
                return 0
            await tx.execute("DELETE FROM memd.memory WHERE pk = ANY ($1::bigint[])", [one[0] for one in found])
            tx.delete("memory", [memory_id for _, memory_id, *_ in found])
            for _, memory_id, user_id, agent_id in found:
                tx.bury(RETENTION, Scope(namespace, user_id, agent_id), (memory_id,), all_users=False)
            tx.audit(writer, "retention", json.dumps({"memories": len(found)}))
            await tx.seal(None)
            return len(found)

        return await self._database.write(namespace, operation)


async def _surplus(reader: Reader, namespace: str, policy: RetentionPolicy, limit: int) -> Surplus:
    kinds = [False] if policy.keep_if_pinned else [False, True]

    async def count(until_us: int | None) -> int:
        if until_us is None:
            return 0
        found = await reader.row(_COUNT, namespace, kinds, reader.now_us, until_us)
        return found[0] if found else 0

    subject = await count(None if policy.max_count is None else _EVER)
    going = policy.surplus(subject, await count(policy.cutoff_us(reader.now_us)))
    few = min(going, limit)
    oldest = [
        Outdated(*one)
        for pinned in kinds
        for one in (await reader.rows(_OLDEST, namespace, pinned, reader.now_us, few) if few else ())
    ]
    return Surplus(going, tuple(sorted(oldest, key=attrgetter("update_time"))[:few]))
