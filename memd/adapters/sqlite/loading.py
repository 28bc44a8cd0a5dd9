"""The rows of a namespace for its index: all of them, or what changed since an index of it was saved; in one snapshot.

A saved index is known by its change number and the *mark* of the change log there: a digest of the last entry up to that
number. Numbers alone would not do: in a database that was put back from a copy they are given out a second time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import apsw

from memd.adapters.rows.memory import stored_index_row
from memd.adapters.rows.procedure import procedure_index_row
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.schema import TARGET_MODEL, frozen_model, read_model, same_model
from memd.domain.errors import InvalidArgument
from memd.domain.model import EmbeddingModel
from memd.limits import MAX_CHANGE_LOG
from memd.ports import IndexChanges, IndexRow

LOAD_BATCH = 512
"""Rows handed over at a time: an index takes many at once more cheaply, and none is held longer than needed."""
_MEMORIES = (
    "SELECT memory_id, version, content, coalesce(vectors, x''), fields FROM memory"
    " LEFT JOIN {} ON memory_pk = pk WHERE namespace = ?1"
)
_PROCEDURES = (
    "SELECT procedure_id, v.version, key, trigger, {}, user_id, agent_id FROM procedure p"
    " JOIN procedure_version v ON v.procedure_pk = p.pk AND v.version = p.offered{} WHERE namespace = ?1"
)
_SQL = {"memory": _MEMORIES.format("embedding"), "procedure": _PROCEDURES.format("v.vectors", "")}
_NEXT = {
    "memory": _MEMORIES.format("embedding_next"),
    "procedure": _PROCEDURES.format(
        "coalesce(r.vectors, x'')",
        " LEFT JOIN procedure_reembedding r ON r.procedure_pk = p.pk AND r.version = p.offered",
    ),
}
"""With the embeddings of the model that the store is on its way to, where there is one already."""
_NONE = {
    "memory": "SELECT memory_id, version, content, x'', fields FROM memory WHERE namespace = ?1",
    "procedure": _PROCEDURES.format("x''", ""),
}
"""Without any."""
MARK_DIGITS = 16
_ID = {"memory": "memory_id", "procedure": "procedure_id"}
_CHANGED = "SELECT entry_id FROM change_log c WHERE c.namespace = ?1 AND c.kind = ?2 AND c.seq > ?3"


def load(
    connection: apsw.Connection, namespace: str, kind: str, model: EmbeddingModel | None = None
) -> tuple[int, Iterator[Sequence[IndexRow]]]:
    """The change number and the rows as of it, with their embeddings of ``model`` (None: of the store's), of which the
    store may lack some, or all when it is not on its way to that model. The iterator owns ``connection`` and closes it at
    its end."""
    _check_kind(connection, kind)
    with translated():
        connection.execute("BEGIN").fetchall()
        head = _head(connection, namespace)
        sql = _with_embeddings(connection, model)
    return head, _batches(connection, kind, sql[kind], (namespace,))


def _with_embeddings(connection: apsw.Connection, model: EmbeddingModel | None) -> Mapping[str, str]:
    frozen = frozen_model(connection) if model else None
    if model is None or frozen is None or same_model(frozen, model):
        return _SQL
    aimed = read_model(connection, TARGET_MODEL)
    return _NEXT if aimed is not None and same_model(aimed, model) else _NONE


def changed(
    connection: apsw.Connection,
    namespace: str,
    kind: str,
    since: int,
    mark_then: str,
    model: EmbeddingModel | None = None,
) -> IndexChanges | None:
    """What an index that was saved at change number ``since`` lacks; None when that cannot be told, because the log no
    longer reaches back, was another one then, or the store is of another model than ``model``. Owns ``connection``, as
    ``load``."""
    _check_kind(connection, kind)
    with translated():
        connection.execute("BEGIN").fetchall()
        head = _head(connection, namespace)
        known = since <= head <= since + MAX_CHANGE_LOG and _with_embeddings(connection, model) is _SQL
        if not known or mark(connection, namespace, since) != mark_then:
            connection.close(True)
            return None
        bindings = (namespace, kind, since)
        if row(connection, f"SELECT 1 FROM ({_CHANGED} AND op = 'delete_all')", bindings):
            connection.close(True)
            return None
        gone = rows(
            connection,
            f"SELECT DISTINCT entry_id FROM ({_CHANGED}) WHERE NOT EXISTS"
            f" (SELECT 1 FROM {kind} WHERE namespace = ?1 AND {_ID[kind]} = entry_id)",
            bindings,
        )
    batches = _batches(connection, kind, f"{_SQL[kind]} AND {_ID[kind]} IN ({_CHANGED})", bindings)
    return IndexChanges(head, tuple(entry_id for (entry_id,) in gone), batches)


def mark(connection: apsw.Connection, namespace: str, seq: int) -> str:
    """The digest of the last change up to ``seq``; "" before the first."""
    last = row(
        connection,
        "SELECT seq, kind, entry_id, op, version, create_time FROM change_log WHERE namespace = ? AND seq <= ?"
        " ORDER BY seq DESC, kind DESC, entry_id DESC LIMIT 1",
        (namespace, seq),
    )
    return hashlib.sha256(json.dumps(last).encode()).hexdigest()[:MARK_DIGITS] if last else ""


def erased_since(connection: apsw.Connection, namespace: str, kind: str, seq: int) -> bool:
    """Whether an entry was deleted after change number ``seq``, or may have been: the log does not reach back for ever."""
    if not seq <= _head(connection, namespace) <= seq + MAX_CHANGE_LOG:
        return True
    deleted = f"SELECT 1 FROM ({_CHANGED} AND op IN ('delete', 'delete_all')) LIMIT 1"
    return row(connection, deleted, (namespace, kind, seq)) is not None


def _check_kind(connection: apsw.Connection, kind: str) -> None:
    if kind not in _SQL:
        connection.close()
        raise InvalidArgument("the kind must be memory or procedure")


def _head(connection: apsw.Connection, namespace: str) -> int:
    head = row(connection, "SELECT seq FROM namespace_head WHERE namespace = ?", (namespace,))
    return int(head[0]) if head else 0


def _batches(
    connection: apsw.Connection, kind: str, sql: str, bindings: tuple[str | int, ...]
) -> Iterator[Sequence[IndexRow]]:
    try:
        with translated():
            batch: list[IndexRow] = []
            for found in connection.execute(sql, bindings):
                batch.append(stored_index_row(*found) if kind == "memory" else procedure_index_row(*found))
                if len(batch) == LOAD_BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch
    finally:
        connection.close(True)
