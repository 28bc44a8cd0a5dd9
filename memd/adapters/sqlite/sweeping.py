"""Bounded clean-up in the memory store: what has expired, and bookkeeping past its use."""

from __future__ import annotations

import json

from memd.adapters.sqlite import requests, tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.limits import MAX_AUDIT_ROWS, MAX_CHANGE_LOG, TOMBSTONE_TTL_US


def sweep_memories(tx: Transaction, max_rows: int) -> int:
    """Delete up to ``max_rows`` expired memories and as many rows of each kind of bookkeeping; how many went."""
    return (
        _expired(tx, max_rows)
        + requests.sweep(tx, max_rows)
        + tombstones.sweep(tx, max_rows)
        + tombstones.sweep_retention(tx, max_rows)
        + sweep_change_log(tx, max_rows)
        + _audit(tx, max_rows)
        + _receipts(tx, max_rows)
    )


def _expired(tx: Transaction, max_rows: int) -> int:
    found = tx.rows(
        "SELECT pk, namespace, memory_id FROM memory WHERE expire_time <= ? ORDER BY expire_time LIMIT ?",
        (tx.now_us, max_rows),
    )
    if not found:
        return 0
    pks = json.dumps([pk for pk, _, _ in found])
    tx.execute("DELETE FROM memory WHERE pk IN (SELECT value FROM json_each(?))", (pks,))
    for namespace in {namespace for _, namespace, _ in found}:
        tx.delete(namespace, "memory", [memory_id for _, other, memory_id in found if other == namespace])
    tx.erases_later = True
    return len(found)


def sweep_change_log(tx: Transaction, max_rows: int) -> int:
    """Lines that no replica and no saved index reaches back to, up to ``max_rows``."""
    return tx.execute(
        "DELETE FROM change_log WHERE (namespace, seq, kind, entry_id) IN"
        " (SELECT c.namespace, c.seq, c.kind, c.entry_id FROM namespace_head h"
        " CROSS JOIN change_log c ON c.namespace = h.namespace AND c.seq <= h.seq - ? LIMIT ?)",
        (MAX_CHANGE_LOG, max_rows),
    )


def _audit(tx: Transaction, max_rows: int) -> int:
    return tx.execute(
        "DELETE FROM audit WHERE pk IN (SELECT pk FROM audit WHERE pk <= (SELECT max(pk) FROM audit) - ?"
        " ORDER BY pk LIMIT ?)",
        (MAX_AUDIT_ROWS, max_rows),
    )


def _receipts(tx: Transaction, max_rows: int) -> int:
    return tx.execute(
        "DELETE FROM forget_intent WHERE receipt_id IN (SELECT receipt_id FROM forget_intent"
        " WHERE done = 1 AND create_time <= ? LIMIT ?)",
        (tx.now_us - TOMBSTONE_TTL_US, max_rows),
    )
