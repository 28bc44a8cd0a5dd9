"""The store's own check: the file, its references, and memd's invariants. Problems are told in words, without content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from memd.adapters.sqlite.connection import check_library, connect, row, rows, transaction
from memd.adapters.sqlite.datadir import DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.schema import migrate

# Words, the namespace column, and what counts the rows that break an invariant; {} stands for "of the namespace".
_INVARIANTS = (
    (
        "{} change-log entries are ahead of their namespace's change number",
        "c.namespace",
        "SELECT count(*) FROM change_log c LEFT JOIN namespace_head h USING (namespace)"
        " WHERE {} AND c.seq > coalesce(h.seq, 0)",
    ),
    ("{} memories have no version", "namespace", "SELECT count(*) FROM memory WHERE {} AND version < 1"),
    (
        "{} revisions are not older than their memory",
        "namespace",
        "SELECT count(*) FROM memory m JOIN memory_revision r ON r.memory_pk = m.pk WHERE {} AND r.version >= m.version",
    ),
    (
        "{} procedures lack their newest version, or offer another one without a reason",
        "namespace",
        "SELECT count(*) FROM procedure p WHERE {} AND (p.offered <> p.version AND p.demotion = '' OR NOT EXISTS"
        " (SELECT 1 FROM procedure_version v WHERE v.procedure_pk = p.pk AND v.version = p.offered))",
    ),
    (
        "{} events lie beyond the end of their session",
        "namespace",
        "SELECT count(*) FROM session s JOIN event e ON e.session_pk = s.pk WHERE {} AND e.position > s.last_position",
    ),
    (
        "{} checkpoints are newer than their task's version",
        "c.namespace",
        "SELECT count(*) FROM checkpoint c JOIN task t USING (namespace, task_id) WHERE {} AND c.version > t.last_version",
    ),
    (
        "{} checkpoints have another size than they say",
        "namespace",
        "SELECT count(*) FROM checkpoint WHERE {} AND length(state) != size_bytes",
    ),
    (
        "{} memories have embeddings of the wrong size",
        "namespace",
        "SELECT count(*) FROM memory m JOIN embedding e ON e.memory_pk = m.pk"
        " WHERE {} AND length(vectors) != windows * coalesce((SELECT value ->> 'dimensions' FROM meta"
        " WHERE key = 'embedding_model'), 0) * 4",
    ),
)


def verify_namespace(
    connection: apsw.Connection, namespace: str, now_us: int
) -> tuple[int, Mapping[str, int], Sequence[str]]:
    """Change number, memory id to version, problems; the rows are one snapshot."""
    problems = file_problems(connection)
    if problems:  # what a broken file says beyond that means nothing
        return 0, {}, problems
    with transaction(connection):
        head = row(connection, "SELECT seq FROM namespace_head WHERE namespace = ?", (namespace,))
        found = row(
            connection, "SELECT json_group_object(memory_id, version) FROM memory WHERE namespace = ?", (namespace,)
        )
        problems = _broken_invariants(connection, namespace)
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
                return file_problems(connection) or _broken_invariants(connection, None)
            finally:
                connection.close(True)
    finally:
        directory.close()


def file_problems(connection: apsw.Connection) -> list[str]:
    problems = [str(one[0]) for one in rows(connection, "PRAGMA quick_check(20)") if one[0] != "ok"]
    dangling = 0 if problems else len(rows(connection, "PRAGMA foreign_key_check"))
    return [*problems, f"{dangling} rows refer to a row that is not there"] if dangling else problems


def _broken_invariants(connection: apsw.Connection, namespace: str | None) -> list[str]:
    problems = []
    for words, column, sql in _INVARIANTS:
        of_namespace = "1" if namespace is None else f"{column} = ?"
        found = row(connection, sql.format(of_namespace), () if namespace is None else (namespace,))
        if found and found[0]:
            problems.append(words.format(found[0]))
    return problems
