"""The fence that keeps late writers from bringing back what was forgotten; ``Transaction.bury`` makes the tombstones."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.postgres.transaction import Transaction
from memd.domain.errors import Forgotten, StoreBusy
from memd.domain.model import Scope

RETENTION = "retention"
"""Kind of those that tell watchers whose memory a retention policy took: no write is refused for them."""
_HIT = (
    "SELECT 1 FROM memd.tombstone t, unnest($4::text[], $5::text[], $6::text[], $7::text[])"
    " w (user_id, agent_id, session_id, entry_id) WHERE t.namespace = $1 AND t.kind = $2 AND t.seq > $3"
    " AND ((t.entry_id = '' AND (t.all_users OR (t.user_id = w.user_id AND t.agent_id IN ('', w.agent_id)"
    " AND t.session_id IN ('', w.session_id))))"
    " OR (t.entry_id <> '' AND t.entry_id = w.entry_id AND (t.all_users OR t.user_id = w.user_id))) LIMIT 1"
)
_MISSING = (
    "SELECT 1 FROM memd.tombstone WHERE namespace = $1 AND kind = $2 AND seq > $3 AND entry_id IN ('', $4) LIMIT 1"
)


async def check(tx: Transaction, kind: str, touched: Sequence[tuple[Scope, str]], fence: int) -> None:
    """Raise Forgotten when one of the ids, or everything of its scope, was forgotten after ``fence``."""
    if not _passed(tx, fence):
        return
    found = await tx.row(
        _HIT,
        tx.namespace,
        kind,
        fence,
        [scope.user_id for scope, _ in touched],
        [scope.agent_id for scope, _ in touched],
        [scope.session_id for scope, _ in touched],
        [entry_id for _, entry_id in touched],
    )
    if found:
        raise _forgotten()


async def check_missing(tx: Transaction, kind: str, entry_id: str, fence: int) -> None:
    """As ``check`` for a row that is gone, so that nobody knows any more whose it was."""
    if _passed(tx, fence) and await tx.row(_MISSING, tx.namespace, kind, fence, entry_id):
        raise _forgotten()


def _passed(tx: Transaction, fence: int) -> bool:
    """Whether anything at all was forgotten since."""
    if fence > tx.seq:  # numbers after the fence were taken by another history
        raise StoreBusy("Postgres lost its newest changes while this write was on its way; nothing was stored")
    return tx.forget_seq > fence


def _forgotten() -> Forgotten:
    return Forgotten("this was forgotten while the write was on its way; nothing was stored")
