"""All rows of a namespace for its index, in one snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import apsw

from memd.adapters.sqlite.connection import row
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.procedure_rows import procedure_index_row
from memd.domain.errors import InvalidArgument
from memd.domain.spoken import spoken
from memd.ports import IndexRow

LOAD_BATCH = 512
"""Rows handed over at a time: an index takes many at once more cheaply, and none is held longer than needed."""
_SQL = {
    "memory": (
        "SELECT memory_id, version, content, coalesce(vectors, x''), fields FROM memory"
        " LEFT JOIN embedding ON memory_pk = pk WHERE namespace = ?"
    ),
    "procedure": (
        "SELECT procedure_id, p.version, key, trigger, vectors, user_id, agent_id FROM procedure p"
        " JOIN procedure_version v ON v.procedure_pk = p.pk AND v.version = p.version WHERE namespace = ?"
    ),
}


def load(connection: apsw.Connection, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
    """The change number and the rows as of it. The iterator owns ``connection`` and closes it at its end."""
    if kind not in _SQL:
        connection.close()
        raise InvalidArgument("the kind must be memory or procedure")
    with translated():
        connection.execute("BEGIN").fetchall()
        head = row(connection, "SELECT seq FROM namespace_head WHERE namespace = ?", (namespace,))
    return (int(head[0]) if head else 0), _batches(connection, namespace, kind)


def _batches(connection: apsw.Connection, namespace: str, kind: str) -> Iterator[Sequence[IndexRow]]:
    try:
        with translated():
            batch: list[IndexRow] = []
            for found in connection.execute(_SQL[kind], (namespace,)):
                batch.append(_memory(*found) if kind == "memory" else procedure_index_row(*found))
                if len(batch) == LOAD_BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch
    finally:
        connection.close(True)


def _memory(memory_id: str, version: int, content: str, vectors: bytes, fields: str) -> IndexRow:
    speaker = json.loads(fields).get("speaker", "") if '"speaker"' in fields else ""
    return IndexRow(memory_id, version, spoken(speaker, content), vectors, fields.encode())
