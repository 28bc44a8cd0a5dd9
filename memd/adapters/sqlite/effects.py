"""What a Forget already did in one store: asked again, it answers the same counts and does nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from memd.adapters.sqlite.transaction import Transaction
from memd.limits import TOMBSTONE_TTL_US


def find(tx: Transaction, store: str, receipt_id: str) -> Mapping[str, int] | None:
    found = tx.row("SELECT counts FROM forget_effect WHERE store = ? AND receipt_id = ?", (store, receipt_id))
    counts: Mapping[str, int] | None = json.loads(found[0]) if found else None
    return counts


def save(tx: Transaction, store: str, receipt_id: str, counts: Mapping[str, int]) -> None:
    tx.execute(
        "INSERT INTO forget_effect (store, receipt_id, create_time, counts) VALUES (?, ?, ?, ?)",
        (store, receipt_id, tx.now_us, json.dumps(counts)),
    )


def sweep(tx: Transaction, max_rows: int) -> int:
    """Old effects, up to ``max_rows``."""
    return tx.execute(
        "DELETE FROM forget_effect WHERE (store, receipt_id) IN"
        " (SELECT store, receipt_id FROM forget_effect WHERE create_time <= ? LIMIT ?)",
        (tx.now_us - TOMBSTONE_TTL_US, max_rows),
    )
