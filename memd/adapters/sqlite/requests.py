"""Dedupe records: a repeated request_id gets its first reply, in the transaction that would have run it again."""

from __future__ import annotations

import json
from typing import Any

from memd.adapters.rows.compact import encode
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import LimitExceeded, RequestIdReused
from memd.domain.model import RequestKey
from memd.limits import REQUEST_ID_TTL_US, REQUEST_RECORD_BYTES

INSERT = "INSERT INTO request_record (store, namespace, request_id, body_sha256, create_time, reply)"


def find(tx: Transaction, store: str, request: RequestKey | None) -> Any | None:
    """The reply stored for this request, as JSON gives it; None when it is new. RequestIdReused for another body."""
    if request is None:
        return None
    found = tx.row(
        "SELECT pk, body_sha256, create_time, reply FROM request_record"
        " WHERE namespace = ? AND request_id = ? AND store = ?",
        (request.namespace, request.request_id, store),
    )
    if found is None:
        return None
    pk, body_sha256, create_time, reply = found
    if create_time + REQUEST_ID_TTL_US <= tx.now_us:
        tx.execute("DELETE FROM request_record WHERE pk = ?", (pk,))
        return None
    if body_sha256 != request.body_sha256:
        raise RequestIdReused("this request_id was used for another request", field="request_id")
    return json.loads(reply)


def save(tx: Transaction, store: str, request: RequestKey | None, reply: Any) -> None:
    """Keep the reply for a repeat; ``reply`` holds ids, versions and numbers only."""
    if request is not None:
        tx.insert_many(INSERT, [record(store, request, reply, tx.now_us)])


def record(store: str, request: RequestKey, reply: Any, now_us: int) -> tuple[Any, ...]:
    """The row for ``INSERT``."""
    text = encode(reply)
    if len(text) > REQUEST_RECORD_BYTES:
        raise LimitExceeded("the request names too many ids to be repeatable; send it in parts")
    return store, request.namespace, request.request_id, request.body_sha256, now_us, text


def sweep(tx: Transaction, max_rows: int) -> int:
    """Delete up to ``max_rows`` records older than their TTL. Row order is time order, so the oldest come first."""
    return tx.execute(
        "DELETE FROM request_record WHERE pk IN (SELECT pk FROM (SELECT pk, create_time FROM request_record"
        " ORDER BY pk LIMIT ?) WHERE create_time <= ?)",
        (max_rows, tx.now_us - REQUEST_ID_TTL_US),
    )
