"""Embeddings of another model beside those the file is frozen to, and how they take their place. On one connection.

While ``meta`` names a target, ``embedding_next`` and ``procedure_reembedding`` fill with its embeddings. Each is of its row
as it is now: a row that changes loses its own in the same commit, by the triggers of the schema. What is missing is therefore
known without looking at everything: memories past the cursor, those in ``reembedding_due``, and versions of procedures that
have none. At the switch the two tables of embeddings change names, so that it takes no longer for a large store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from memd.adapters.rows.memory import spoken_text
from memd.adapters.rows.procedure import procedure_index_row
from memd.adapters.sqlite.connection import row, rows
from memd.adapters.sqlite.schema import TARGET_MODEL, change_model, read_model, write_model
from memd.domain.errors import WrongState
from memd.domain.model import EmbeddingModel
from memd.ports import IndexRow, Unembedded

_CURSOR = "reembedding_cursor"
_MEMORY = "pk, namespace, memory_id, m.version, content, fields"
_LACKING = "NOT EXISTS (SELECT 1 FROM embedding_next WHERE memory_pk = m.pk)"
_AHEAD = f"SELECT {_MEMORY} FROM memory m WHERE pk > ? AND {_LACKING} ORDER BY pk LIMIT ?"
_WRITTEN_SINCE = (
    f"SELECT {_MEMORY} FROM reembedding_due JOIN memory m ON pk = memory_pk WHERE {_LACKING} ORDER BY pk LIMIT ?"
)
_PROCEDURES = (
    "SELECT v.procedure_pk, namespace, procedure_id, v.version, coalesce(nullif(trigger, ''), key)"
    " FROM procedure_version v JOIN procedure p ON p.pk = v.procedure_pk"
    " LEFT JOIN procedure_reembedding r ON r.procedure_pk = v.procedure_pk AND r.version = v.version"
    " WHERE r.procedure_pk IS NULL ORDER BY v.procedure_pk, v.version LIMIT ?"
)
# The row is compared with what was embedded: it may have changed, or the key be another row's by now.
_PUT_MEMORY = (
    "INSERT OR REPLACE INTO embedding_next (memory_pk, windows, vectors) SELECT pk, ?, ? FROM memory WHERE pk = ?"
    " AND namespace = ? AND memory_id = ? AND version = ? AND content = ? AND fields = ?"
)
_PUT_PROCEDURE = (
    "INSERT OR REPLACE INTO procedure_reembedding (procedure_pk, version, vectors)"
    " SELECT v.procedure_pk, v.version, ? FROM procedure_version v JOIN procedure p ON p.pk = v.procedure_pk"
    " WHERE v.procedure_pk = ? AND namespace = ? AND procedure_id = ? AND v.version = ?"
    " AND coalesce(nullif(trigger, ''), key) = ?"
)
_OFFERED = (
    "SELECT key, trigger, user_id, agent_id FROM procedure p"
    " JOIN procedure_version v ON v.procedure_pk = p.pk AND v.version = p.offered WHERE p.pk = ? AND v.version = ?"
)
_DONE = "DELETE FROM reembedding_due WHERE memory_pk IN (SELECT value FROM json_each(?))"
_COUNTS = (
    "SELECT (SELECT count(*) FROM memory) + (SELECT count(*) FROM procedure_version),"
    " (SELECT count(*) FROM memory WHERE pk > ?1)"
    " + (SELECT count(*) FROM reembedding_due WHERE memory_pk <= ?1)"
    " + (SELECT count(*) FROM procedure_version v WHERE NOT EXISTS (SELECT 1 FROM procedure_reembedding r"
    " WHERE r.procedure_pk = v.procedure_pk AND r.version = v.version))"
)
_CLEAR = (
    "DELETE FROM embedding_next WHERE memory_pk IN (SELECT memory_pk FROM embedding_next LIMIT ?)",
    "DELETE FROM reembedding_due WHERE memory_pk IN (SELECT memory_pk FROM reembedding_due LIMIT ?)",
    "DELETE FROM procedure_reembedding WHERE (procedure_pk, version) IN"
    " (SELECT procedure_pk, version FROM procedure_reembedding LIMIT ?)",
)


@dataclass(frozen=True, slots=True)
class Lacking(Unembedded):
    """A row without an embedding of the target, as it was read."""

    pk: int
    namespace: str
    entry_id: str
    version: int
    content: str
    fields: str
    """"" for a version of a procedure."""


@dataclass(frozen=True, slots=True)
class Put:
    """What an index of the target's embeddings needs of a row that has just got one."""

    namespace: str
    kind: str
    row: IndexRow


def target(connection: apsw.Connection) -> EmbeddingModel | None:
    """The model that is being changed to."""
    return read_model(connection, TARGET_MODEL)


def aim(connection: apsw.Connection, model: EmbeddingModel) -> None:
    """Begin. Of an earlier run nothing may be left: ``clear`` until nothing is."""
    write_model(connection, TARGET_MODEL, model)
    _move(connection, 0)


def give_up(connection: apsw.Connection) -> None:
    """No target any more; ``clear`` what was made for it."""
    connection.execute("DELETE FROM meta WHERE key IN (?, ?)", (TARGET_MODEL, _CURSOR)).fetchall()


def counts(connection: apsw.Connection) -> tuple[int, int]:
    """Texts that have their embedding, of all; reads as much as there is."""
    total, lacking = row(connection, _COUNTS, (_cursor(connection),)) or (0, 0)
    return total - lacking, total


def lacking(connection: apsw.Connection, most: int) -> list[Lacking]:
    """The next rows to be embedded. Fewer than ``most``: there are no others."""
    found = _memories(rows(connection, _AHEAD, (_cursor(connection), most)))
    if len(found) < most:
        seen = {one.pk for one in found}
        since = _memories(rows(connection, _WRITTEN_SINCE, (most,)))
        found += [one for one in since if one.pk not in seen][: most - len(found)]
    if len(found) < most:
        found += [
            Lacking(text, pk, namespace, procedure_id, version, text, "")
            for pk, namespace, procedure_id, version, text in rows(connection, _PROCEDURES, (most - len(found),))
        ]
    return found


def _memories(found: Sequence[tuple[Any, ...]]) -> list[Lacking]:
    return [
        Lacking(spoken_text(content, fields), pk, namespace, memory_id, version, content, fields)
        for pk, namespace, memory_id, version, content, fields in found
    ]


def put(connection: apsw.Connection, read: Sequence[Lacking], embedded: Sequence[Sequence[bytes]]) -> list[Put]:
    """Store the embeddings of the rows that are still as they were read; the others stay due. What an index needs of those
    that are in one."""
    stored: list[int] = []
    indexed: list[Put] = []
    for one, windows in zip(read, embedded, strict=True):
        vectors = b"".join(windows)
        if not one.fields:
            indexed += _put_procedure(connection, one, vectors)
        elif _changes(connection, _PUT_MEMORY, (len(windows), vectors, *_as_read(one), one.content, one.fields)):
            stored.append(one.pk)
            entry = IndexRow(one.entry_id, one.version, one.text, vectors, one.fields.encode())
            indexed.append(Put(one.namespace, "memory", entry))
    _changes(connection, _DONE, (json.dumps(stored),))
    _move(connection, max([_cursor(connection), *(one.pk for one in read if one.fields)]))
    return indexed


def _put_procedure(connection: apsw.Connection, one: Lacking, vectors: bytes) -> list[Put]:
    if not _changes(connection, _PUT_PROCEDURE, (vectors, *_as_read(one), one.content)):
        return []
    offered = row(connection, _OFFERED, (one.pk, one.version))
    if offered is None:
        return []
    key, trigger, user_id, agent_id = offered
    entry = procedure_index_row(one.entry_id, one.version, key, trigger, vectors, user_id, agent_id)
    return [Put(one.namespace, "procedure", entry)]


def _as_read(one: Lacking) -> tuple[int, str, str, int]:
    return one.pk, one.namespace, one.entry_id, one.version


def switch(connection: apsw.Connection, model: EmbeddingModel) -> None:
    """In one transaction: the embeddings of the target, of which none may lack, become the file's, with its model. Those of
    before are what ``clear`` takes."""
    found = row(connection, "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'memory_changed'")
    assert found is not None
    for statement in (
        "DROP TRIGGER memory_changed",  # a trigger would follow its table to the new name
        "ALTER TABLE embedding RENAME TO embedding_before",
        "ALTER TABLE embedding_next RENAME TO embedding",
        "ALTER TABLE embedding_before RENAME TO embedding_next",
        found[0],
        "UPDATE procedure_version AS v SET vectors = r.vectors FROM procedure_reembedding r"
        " WHERE r.procedure_pk = v.procedure_pk AND r.version = v.version",
    ):
        connection.execute(statement).fetchall()
    give_up(connection)
    change_model(connection, model)


def clear(connection: apsw.Connection, most: int) -> int:
    """Delete up to ``most`` rows a table of what no model needs any more; how many went. WrongState with a target."""
    if target(connection) is not None:
        raise WrongState("the embeddings of the other model are still wanted")
    return sum(_changes(connection, sql, (most,)) for sql in _CLEAR)


def _cursor(connection: apsw.Connection) -> int:
    found = row(connection, "SELECT value FROM meta WHERE key = ?", (_CURSOR,))
    return int(found[0]) if found else 0


def _move(connection: apsw.Connection, cursor: int) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_CURSOR, str(cursor))).fetchall()


def _changes(connection: apsw.Connection, sql: str, bindings: Sequence[Any]) -> int:
    connection.execute(sql, bindings).fetchall()
    return connection.changes()
