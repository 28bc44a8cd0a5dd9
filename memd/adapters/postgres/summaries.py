"""Summaries in working memory, read and written by whoever holds the session's mutex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memd.adapters.postgres.text import stored_text
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.rows.session_head import Head
from memd.adapters.rows.summary import SUMMARY_COLUMNS

SUMMARIES = (
    f"ARRAY(SELECT ROW({SUMMARY_COLUMNS}) FROM memd.working_summary WHERE session_pk = s.pk ORDER BY last_position)"
)
"""Of a session ``s``, oldest first."""
_SUMMARIZED = (
    "SELECT (SELECT coalesce(max(last_position), 0) FROM memd.working_summary WHERE session_pk = s.pk), s.erased"
    " FROM memd.session s WHERE s.pk = $1"
)
_REMOVE = "DELETE FROM memd.working_summary WHERE session_pk = $1"
_PUT = (
    f"INSERT INTO memd.working_summary (namespace, session_pk, {SUMMARY_COLUMNS}) SELECT $1, $2, s.* FROM"
    " unnest($3::bigint[], $4::bigint[], $5::integer[], $6::bigint[], $7::text[], $8::text[]) s"
)


async def summarized(tx: Transaction, head: Head) -> tuple[int, int]:
    """Up to which position, 0 where nothing is; and how often a Forget took events out."""
    found = await tx.row(_SUMMARIZED, head.pk)
    assert found is not None
    return int(found[0]), int(found[1])


async def remove_summaries(tx: Transaction, head: Head) -> int:
    """How many there were."""
    return await tx.execute(_REMOVE, head.pk)


async def put_summaries(tx: Transaction, head: Head, rows: Sequence[tuple[Any, ...]]) -> None:
    """``rows`` as of ``summary_row``."""
    if rows:
        stored = [(*row[:-1], stored_text(row[-1])) for row in rows]
        await tx.execute(_PUT, head.scope.namespace, head.pk, *map(list, zip(*stored, strict=True)))
