"""The store's own check: the file, its references, and memd's invariants. Problems are told in words, without content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from memd.adapters.sqlite.connection import check_library, connect, row, rows, transaction
from memd.adapters.sqlite.datadir import DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.model_guard import FLOAT32_BYTES
from memd.adapters.sqlite.schema import frozen_model, migrate

# Each finds rows that break an invariant; ?1 is the namespace, or NULL for all of them.
_INVARIANTS = (
    (
        "{} change-log entries are ahead of their namespace's change number",
        "SELECT count(*) FROM change_log c LEFT JOIN namespace_head h USING (namespace)"
        " WHERE (?1 IS NULL OR c.namespace = ?1) AND c.seq > coalesce(h.seq, 0)",
    ),
    (
        "{} memories have no version",
        "SELECT count(*) FROM memory WHERE (?1 IS NULL OR namespace = ?1) AND version < 1",
    ),
    (
        "{} revisions are not older than their memory",
        "SELECT count(*) FROM memory m JOIN memory_revision r ON r.memory_pk = m.pk"
        " WHERE (?1 IS NULL OR namespace = ?1) AND r.version >= m.version",
    ),
    (
        "{} procedures lack their newest version",
        "SELECT count(*) FROM procedure p WHERE (?1 IS NULL OR namespace = ?1) AND NOT EXISTS"
        " (SELECT 1 FROM procedure_version v WHERE v.procedure_pk = p.pk AND v.version = p.version)",
    ),
    (
        "{} events lie beyond the end of their session",
        "SELECT count(*) FROM session s JOIN event e ON e.session_pk = s.pk"
        " WHERE (?1 IS NULL OR namespace = ?1) AND e.position > s.last_position",
    ),
    (
        "{} checkpoints are newer than their task's version",
        "SELECT count(*) FROM checkpoint c JOIN task t USING (namespace, task_id)"
        " WHERE (?1 IS NULL OR c.namespace = ?1) AND c.version > t.last_version",
    ),
    (
        "{} checkpoints have another size than they say",
        "SELECT count(*) FROM checkpoint WHERE (?1 IS NULL OR namespace = ?1) AND length(state) != size_bytes",
    ),
)
_VECTORS = (
    "SELECT count(*) FROM memory m JOIN embedding e ON e.memory_pk = m.pk"
    " WHERE (?1 IS NULL OR namespace = ?1) AND length(vectors) != windows * ?2"
)


def verify_namespace(
    connection: apsw.Connection, namespace: str, now_us: int
) -> tuple[int, Mapping[str, int], Sequence[str]]:
    """Change number, memory id to version, problems; the rows are one snapshot."""
    problems = _file_problems(connection)
    with transaction(connection):
        head = row(connection, "SELECT seq FROM namespace_head WHERE namespace = ?", (namespace,))
        found = row(
            connection, "SELECT json_group_object(memory_id, version) FROM memory WHERE namespace = ?", (namespace,)
        )
        problems += _broken_invariants(connection, namespace)
    assert found is not None
    return (head[0] if head else 0), json.loads(found[0]), problems


def verify_offline(data_dir: Path) -> list[str]:
    """Check a directory no daemon runs on: takes its lock. An empty list is a clean bill."""
    check_library()
    directory = DataDir(data_dir, create=False)
    try:
        with translated():
            connection = connect(directory.database, vfs=None, writes=True)
            try:
                migrate(connection)
                return _file_problems(connection) + _broken_invariants(connection, None)
            finally:
                connection.close(True)
    finally:
        directory.close()


def _file_problems(connection: apsw.Connection) -> list[str]:
    problems = [str(one[0]) for one in rows(connection, "PRAGMA quick_check(20)") if one[0] != "ok"]
    dangling = rows(connection, "PRAGMA foreign_key_check")
    if dangling:
        problems.append(f"{len(dangling)} rows refer to a row that is not there")
    return problems


def _broken_invariants(connection: apsw.Connection, namespace: str | None) -> list[str]:
    counted = [(words, row(connection, sql, (namespace,))) for words, sql in _INVARIANTS]
    model = frozen_model(connection)
    if model is not None:
        sized = row(connection, _VECTORS, (namespace, model.dimensions * FLOAT32_BYTES))
        counted.append(("{} memories have embeddings of the wrong size", sized))
    return [words.format(found[0]) for words, found in counted if found and found[0]]
