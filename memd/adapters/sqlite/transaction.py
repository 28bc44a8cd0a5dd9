"""One open write transaction, as the operations of a batch see it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import apsw

from memd.adapters.sqlite.connection import Row, row, rows
from memd.limits import MAX_EPOCH
from memd.ports import IndexChange, IndexRow

KINDS = ("memory", "procedure")
"""What has an index, and so a watermark to keep in step with the namespace's change number."""
_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
"""Rows of a many-row insert: few shapes, so that each stays prepared; the rows that are missing are NULL and left out."""


@cache
def _insert_sql(insert: str, columns: int, width: int, conflict: str) -> str:
    values = "(" + ", ".join("?" * columns) + ")"
    if width == 1:
        return f"{insert} VALUES {values}{conflict}"
    return f"{insert} SELECT * FROM (VALUES {', '.join([values] * width)}) WHERE column1 IS NOT NULL{conflict}"


class Transaction:
    """Statements, change numbers and index changes of the request that runs now; the writer owns begin and end."""

    def __init__(self, connection: apsw.Connection, now_us: int) -> None:
        self.connection = connection
        self.now_us = now_us
        self.restart()

    def restart(self) -> None:
        """Nothing has happened in it (any more)."""
        self.changes: list[IndexChange] = []
        self.after_commit: list[Callable[[], None]] = []
        self.erases = False
        """Set by what deletes content on purpose: the old bytes must leave the files now."""
        self.erases_later = False
        """As ``erases`` for what a cap or a TTL deletes: soon is enough."""
        self._bumped: dict[str, int] = {}

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Run to the end; how many rows it changed."""
        self.connection.execute(sql, bindings).fetchall()
        return self.connection.changes()

    def insert_many(self, insert: str, table_rows: Sequence[Row], conflict: str = "") -> None:
        """``insert`` is the statement up to its rows, none of which begins with None.

        One statement for up to 64 rows: each statement costs the thread a turn at the interpreter.
        """
        for start in range(0, len(table_rows), _WIDTHS[-1]):
            chunk = table_rows[start : start + _WIDTHS[-1]]
            width = next(width for width in _WIDTHS if width >= len(chunk))
            columns = len(chunk[0])
            bindings = list(chain.from_iterable(chunk))
            bindings += [None] * (columns * (width - len(chunk)))
            self.connection.execute(_insert_sql(insert, columns, width, conflict), bindings)

    def row(self, sql: str, bindings: Sequence[Any] = ()) -> Row | None:
        return row(self.connection, sql, bindings)

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        return rows(self.connection, sql, bindings)

    def seq(self, namespace: str) -> int:
        """The namespace's change number as it stands."""
        found = self.row("SELECT seq FROM namespace_head WHERE namespace = ?", (namespace,))
        return int(found[0]) if found else 0

    def bump(self, namespace: str) -> int:
        """The change number of the running request: grows on its first change, stays for the others."""
        if namespace not in self._bumped:
            found = self.row(
                "INSERT INTO namespace_head (namespace, seq, epoch) VALUES (?, 1, ?)"
                " ON CONFLICT (namespace) DO UPDATE SET seq = seq + 1 RETURNING seq",
                (namespace, secrets.randbelow(MAX_EPOCH) + 1),
            )
            assert found is not None
            self._bumped[namespace] = int(found[0])
        return self._bumped[namespace]

    def counts_as(self, namespace: str, seq: int) -> None:
        """The running request repeats a change of elsewhere, under the number it has there."""
        self._bumped[namespace] = seq

    def put(self, namespace: str, kind: str, *entries: IndexRow) -> None:
        """Log that entries changed and tell their index."""
        if not entries:
            return
        seq = self.bump(namespace)
        for entry in entries:
            self.log(namespace, seq, kind, entry.entry_id, "put", entry.version)
        self.changes.append(IndexChange(namespace, kind, seq, put=entries))

    def delete(self, namespace: str, kind: str, entry_ids: Sequence[str]) -> None:
        """Log that entries are gone and tell their index."""
        if not entry_ids:
            return
        seq = self.bump(namespace)
        for entry_id in entry_ids:
            self.log(namespace, seq, kind, entry_id, "delete", 0)
        self.changes.append(IndexChange(namespace, kind, seq, delete=tuple(entry_ids)))

    def delete_all(self, namespace: str, kind: str) -> None:
        """As ``delete`` for every entry of the namespace; the log has one line without an id."""
        seq = self.bump(namespace)
        self.log(namespace, seq, kind, "", "delete_all", 0)
        self.changes.append(IndexChange(namespace, kind, seq, delete_all=True))

    def audit(self, namespace: str, writer: str, action: str, detail: str = "{}") -> None:
        self.execute(
            "INSERT INTO audit (namespace, seq, create_time, writer, action, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (namespace, self.bump(namespace), self.now_us, writer, action, detail),
        )

    def log(self, namespace: str, seq: int, kind: str, entry_id: str, op: str, version: int) -> None:
        """A line of the change log alone."""
        self.execute(
            "INSERT OR REPLACE INTO change_log (namespace, seq, kind, entry_id, op, version, create_time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (namespace, seq, kind, entry_id, op, version, self.now_us),
        )

    def close_request(self) -> tuple[IndexChange, ...]:
        """What the request changed, padded so that the index of every kind reaches the namespace's change number."""
        changes = list(self.changes)
        for namespace, seq in self._bumped.items():
            told = {change.kind for change in changes if change.namespace == namespace}
            changes.extend(IndexChange(namespace, kind, seq) for kind in KINDS if kind not in told)
        self.changes = []
        self._bumped = {}
        return tuple(changes)
