"""What a Forget already did in one store: asked again, it answers the same counts and does nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from memd.adapters.postgres.transaction import Reader, Transaction
from memd.limits import TOMBSTONE_TTL_US

_FIND = "SELECT counts FROM memd.forget_effect WHERE receipt_id = $1 AND store = $2 AND namespace = $3"
_SAVE = "INSERT INTO memd.forget_effect (namespace, store, receipt_id, create_time, counts) VALUES ($1, $2, $3, $4, $5)"
_SWEEP = (
    "WITH due AS MATERIALIZED (SELECT receipt_id, store, namespace FROM memd.forget_effect WHERE create_time <= $1"
    " ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM memd.forget_effect"
    " WHERE (receipt_id, store, namespace) IN (SELECT receipt_id, store, namespace FROM due)"
)


async def find(tx: Transaction, store: str, receipt_id: str) -> Mapping[str, int] | None:
    found = await tx.row(_FIND, receipt_id, store, tx.namespace)
    counts: Mapping[str, int] | None = json.loads(found[0]) if found else None
    return counts


async def save(tx: Transaction, store: str, receipt_id: str, counts: Mapping[str, int]) -> None:
    await tx.execute(_SAVE, tx.namespace, store, receipt_id, tx.now_us, json.dumps(counts))


async def sweep(reader: Reader, max_rows: int) -> int:
    """Old effects of every store, up to ``max_rows``."""
    return await reader.execute(_SWEEP, reader.now_us - TOMBSTONE_TTL_US, max_rows)
