"""The store's own check: memd's invariants over one namespace. Problems are told in words, without content. Whether the
server's files are sound is for the server's own tools to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memd.adapters.postgres.transaction import Reader

_INVARIANTS = (
    (
        "{} change-log entries are ahead of their namespace's change number",
        "SELECT count(*) FROM memd.change_log c WHERE c.namespace = $1 AND c.seq > coalesce("
        "(SELECT seq FROM memd.namespace_head WHERE namespace = $1), 0)",
    ),
    (
        "{} change numbers have no entry in the change log",
        "SELECT coalesce((SELECT seq FROM memd.namespace_head WHERE namespace = $1), 0) - coalesce(min(seq) - 1, 0)"
        " - count(DISTINCT seq) FROM memd.change_log WHERE namespace = $1",
    ),
    ("{} memories have no version", "SELECT count(*) FROM memd.memory WHERE namespace = $1 AND version < 1"),
    (
        "{} revisions are not older than their memory",
        "SELECT count(*) FROM memd.memory m JOIN memd.memory_revision r ON r.memory_pk = m.pk"
        " WHERE m.namespace = $1 AND r.version >= m.version",
    ),
    (
        "{} procedures lack their newest version, or offer another one without a reason",
        "SELECT count(*) FROM memd.procedure p WHERE p.namespace = $1"
        " AND (p.offered <> p.version AND p.demotion = '' OR NOT EXISTS"
        " (SELECT FROM memd.procedure_version v WHERE v.procedure_pk = p.pk AND v.version = p.offered))",
    ),
    (
        "{} rows are in another namespace than what they belong to",
        "SELECT (SELECT count(*) FROM memd.embedding e WHERE e.namespace = $1 AND NOT EXISTS"
        " (SELECT FROM memd.memory m WHERE m.pk = e.memory_pk)) + (SELECT count(*) FROM memd.memory_revision r"
        " WHERE r.namespace = $1 AND NOT EXISTS (SELECT FROM memd.memory m WHERE m.pk = r.memory_pk))",
    ),
)


async def verify_namespace(reader: Reader, namespace: str) -> tuple[int, Mapping[str, int], Sequence[str]]:
    """Change number, memory id to version, problems; one snapshot."""
    head = await reader.row("SELECT seq FROM memd.namespace_head WHERE namespace = $1", namespace)
    found = await reader.rows("SELECT memory_id, version FROM memd.memory WHERE namespace = $1", namespace)
    problems = []
    for words, sql in _INVARIANTS:
        broken = await reader.row(sql, namespace)
        if broken and broken[0]:
            problems.append(words.format(broken[0]))
    return (head[0] if head else 0), dict(found), problems
