"""Retention on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter

import apsw

from memd.adapters.sqlite.connection import row, rows, transaction
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.settings import decode_settings
from memd.adapters.sqlite.tombstones import RETENTION
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.retention import Outdated, RetentionPolicy, Surplus, policy_of
from memd.ports import Clock, Retained

_POLICIES = (
    "SELECT namespace, s.version, body, coalesce(seq, 0) FROM namespace_settings s LEFT JOIN namespace_head USING (namespace)"
    " WHERE namespace > ? AND (body ->> 'retention_max_age_us' IS NOT NULL OR body ->> 'retention_max_count' IS NOT NULL)"
    " ORDER BY namespace LIMIT ?"
)
# Both are answered from the index alone; ``pinned`` is one of the two values at a time, so that it gives their order.
_COUNT = (
    "SELECT count(*) FROM memory WHERE namespace = ?1 AND fields ->> 'pinned' = ?2"
    " AND (expire_time IS NULL OR expire_time > ?3) AND fields ->> 'update_time' <= ?4"
)
_OLDEST = (
    "SELECT memory_id, version, fields ->> 'update_time' FROM memory WHERE namespace = ?1 AND fields ->> 'pinned' = ?2"
    " AND (expire_time IS NULL OR expire_time > ?3) ORDER BY fields ->> 'update_time' LIMIT ?4"
)
_EVER = (1 << 63) - 1
_FOUND = (
    "SELECT m.pk, m.memory_id, user_id, agent_id FROM json_each(?1) CROSS JOIN memory m"
    " ON m.namespace = ?2 AND m.memory_id = json_each.value ->> 0"
    " AND m.version = json_each.value ->> 1 AND m.fields ->> 'update_time' = json_each.value ->> 2"
)
_BURY = "INSERT INTO tombstone (namespace, seq, kind, entry_id, user_id, agent_id, session_id, all_users, create_time)"


class SqliteRetention:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    async def policies(self, after: str, limit: int) -> tuple[Retained, ...]:
        found = await self._reads.run(lambda connection: rows(connection, _POLICIES, (after, limit)))
        return tuple(Retained(one[0], policy_of(decode_settings(one[1:3])), one[3]) for one in found)

    async def surplus(self, namespace: str, policy: RetentionPolicy, limit: int) -> Surplus:
        now_us = self._clock.now_us()

        def read(connection: apsw.Connection) -> Surplus:
            with transaction(connection):
                return _surplus(connection, namespace, policy, now_us, limit)

        return await self._reads.run(read)

    async def retire(self, namespace: str, outdated: Sequence[Outdated], *, writer: str) -> int:
        named = json.dumps([(one.memory_id, one.version, one.update_time) for one in outdated])

        def operation(tx: Transaction) -> int:
            found = tx.rows(_FOUND, (named, namespace))
            if not found:
                return 0
            pks = json.dumps([pk for pk, *_ in found])
            tx.execute("DELETE FROM memory WHERE pk IN (SELECT value FROM json_each(?))", (pks,))
            tx.delete(namespace, "memory", [memory_id for _, memory_id, *_ in found])
            seq = tx.bump(namespace)
            tx.insert_many(_BURY, [(namespace, seq, RETENTION, *name, "", 0, tx.now_us) for _, *name in found])
            tx.audit(namespace, writer, "retention", json.dumps({"memories": len(found)}))
            tx.erases_later = True
            return len(found)

        return await self._writer.submit(operation)


def _surplus(connection: apsw.Connection, namespace: str, policy: RetentionPolicy, now_us: int, limit: int) -> Surplus:
    kinds = (0,) if policy.keep_if_pinned else (0, 1)

    def count(until_us: int | None) -> int:
        if until_us is None:
            return 0
        found = [row(connection, _COUNT, (namespace, pinned, now_us, until_us)) for pinned in kinds]
        return sum(one[0] for one in found if one)

    subject = count(None if policy.max_count is None else _EVER)
    going = policy.surplus(subject, count(policy.cutoff_us(now_us)))
    oldest = [
        Outdated(*one)
        for pinned in kinds
        for one in rows(connection, _OLDEST, (namespace, pinned, now_us, min(going, limit)))
    ]
    return Surplus(going, tuple(sorted(oldest, key=attrgetter("update_time"))[: min(going, limit)]))
