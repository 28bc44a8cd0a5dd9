"""What was forgotten, without its content; and the fence that keeps late writers from bringing it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import Forgotten
from memd.domain.model import Scope
from memd.limits import MAX_CHANGE_LOG, TOMBSTONE_TTL_US

_INSERT = (
    "INSERT INTO tombstone (namespace, seq, kind, entry_id, user_id, agent_id, session_id, all_users, create_time)"
)
# A plus keeps SQLite from an index: few tombstones are newer than a mark, whosoever they are.
_HIT = (
    "SELECT 1 FROM tombstone WHERE mark > ? AND +namespace = ? AND +kind = ?"
    " AND ((entry_id = '' AND (all_users OR (user_id = ? AND agent_id IN ('', ?) AND session_id IN ('', ?))))"
    " OR (entry_id IN (SELECT value FROM json_each(?)) AND (all_users OR user_id = ?))) LIMIT 1"
)
RETENTION = "retention"
"""Kind of those that tell watchers whose memory a retention policy took: no write is refused for them."""
_MISSING = "SELECT 1 FROM tombstone WHERE mark > ? AND +namespace = ? AND +kind = ? AND entry_id IN ('', ?) LIMIT 1"


class Tombstones:
    """``fence`` may be read from any thread; the rest belongs to the writer thread."""

    def __init__(self, mark: int) -> None:
        self.fence = mark
        """Every tombstone up to this mark is committed."""
        self._newest = mark
        """May run ahead of what is committed, never behind: marks of a rolled-back request are given out again."""

    def add(self, tx: Transaction, kind: str, scope: Scope, entry_ids: Sequence[str], *, all_users: bool) -> None:
        """One for each id; with no ids one for everything of the scope."""
        seq = tx.bump(scope.namespace)
        owner = (scope.user_id, scope.agent_id, scope.session_id, int(all_users), tx.now_us)
        tx.insert_many(_INSERT, [(scope.namespace, seq, kind, entry_id, *owner) for entry_id in entry_ids or ("",)])
        self._newest = tx.connection.last_insert_rowid()
        tx.after_commit.append(partial(self.publish, self._newest))

    def pass_mark(self, tx: Transaction) -> int:
        """A mark of its own, for a change that makes every write void whose fence is older; nothing is buried under it. It is
        the caller's to ``publish`` it after the commit."""
        tx.insert_many(_INSERT, [("", 0, "", "", "", "", "", 0, tx.now_us)])
        self._newest = tx.connection.last_insert_rowid()
        tx.execute("DELETE FROM tombstone WHERE mark = ?", (self._newest,))
        return self._newest

    def publish(self, mark: int) -> None:
        self.fence = mark

    def check(self, tx: Transaction, kind: str, scope: Scope, entry_ids: Sequence[str], fence: int) -> None:
        """Raise Forgotten when one of the ids, or everything of the scope, was forgotten after ``fence``."""
        if fence >= self._newest:
            return
        bindings = (fence, scope.namespace, kind, scope.user_id, scope.agent_id, scope.session_id)
        if tx.row(_HIT, (*bindings, json.dumps([one for one in entry_ids if one]), scope.user_id)):
            raise _forgotten()

    def check_missing(self, tx: Transaction, kind: str, namespace: str, entry_id: str, fence: int) -> None:
        """As ``check`` for a row that is gone, so that nobody knows any more whose it was."""
        if fence < self._newest and tx.row(_MISSING, (fence, namespace, kind, entry_id)):
            raise _forgotten()


def sweep(tx: Transaction, max_rows: int) -> int:
    """Tombstones older than any backup that may still come back, up to ``max_rows``; row order is time order."""
    return tx.execute(
        "DELETE FROM tombstone WHERE mark IN (SELECT mark FROM (SELECT mark, create_time FROM tombstone"
        " ORDER BY mark LIMIT ?) WHERE create_time <= ?)",
        (max_rows, tx.now_us - TOMBSTONE_TTL_US),
    )


def sweep_retention(tx: Transaction, max_rows: int) -> int:
    """Those of retention that no watcher reaches back to, up to ``max_rows``."""
    return tx.execute(
        "DELETE FROM tombstone WHERE mark IN (SELECT t.mark FROM namespace_head h CROSS JOIN tombstone t"
        " ON t.namespace = h.namespace AND t.kind = 'retention' AND t.seq <= h.seq - ? LIMIT ?)",
        (MAX_CHANGE_LOG, max_rows),
    )


def _forgotten() -> Forgotten:
    return Forgotten("this was forgotten while the write was on its way; nothing was stored")
