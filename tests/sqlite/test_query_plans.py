"""No statement of a live store reads a whole table, but the few that say so here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import apsw
import pytest

from memd.domain.model import EventKind, Outcome, OutcomeReport, Scope
from memd.domain.portable import PortableMemory
from memd.domain.retention import RetentionPolicy
from memd.domain.visibility import EVERYTHING, forgettable, owned
from memd.ports import ForgetPlan, Head, Mark, MemoryChange
from tests.contract.builders import POLICY, SESSION, USER, draft, event, procedure, request, vector
from tests.contract.conftest import ManualClock
from tests.sqlite.conftest import Open

SCANS = {
    "SELECT pk FROM session WHERE dead = 0 AND expire_time": "the sweep, on a reader: expire_time moves with every append",
    "SELECT namespace FROM namespace_head": "at start; a row a namespace",
    "DELETE FROM change_log": "the sweep; a row a namespace, then the index",
    "DELETE FROM tombstone WHERE mark IN (SELECT t.mark FROM namespace_head": "the same",
}
_SCAN = re.compile(r"^SCAN (?!json_each|CONSTANT|\(subquery|\d+-ROW|request_record|tombstone)")


@pytest.fixture
def statements() -> Iterator[dict[str, object]]:
    """Every statement run, with bindings of one run."""
    seen: dict[str, object] = {}

    def watch(connection: apsw.Connection) -> None:
        def trace(cursor: apsw.Cursor, sql: str, bindings: apsw.Bindings | None) -> bool:
            seen.setdefault(sql, bindings)
            return True

        connection.set_exec_trace(trace)

    apsw.connection_hooks.append(watch)
    yield seen
    if watch in apsw.connection_hooks:
        apsw.connection_hooks.remove(watch)


async def test_statements_use_indexes(
    open_stores: Open, clock: ManualClock, statements: dict[str, object], tmp_path: Path
) -> None:
    stores = open_stores()
    statements.clear()  # opening looks at the schema as a whole
    sessions, memories, procedures, tasks = stores.sessions, stores.memories, stores.procedures, stores.tasks
    for i in range(3):
        await sessions.append(SESSION, [event(f"e{i}"), event("again")], POLICY, request(f"r{i}"))
    await sessions.append(SESSION, [event("x", "e2"), event("y", "e2")], POLICY, request("r0"))
    await sessions.working(SESSION, POLICY)
    await sessions.recent(SESSION, POLICY, 3)
    await sessions.episodes(SESSION, POLICY, kinds=frozenset({EventKind.TURN}), size=2, cursor="")
    await sessions.sessions(Scope("n", "u", "a"), size=2, cursor="")
    await sessions.clear_working(SESSION, None)
    await sessions.end(SESSION, None)
    await sessions.count(USER, all_users=False)
    (marked,) = (await stores.marks.unpromoted(1)).sessions
    await stores.marks.undigested(1, events=1, idle_us=1, expires_us=1)
    await stores.marks.since(marked, 0, 1)
    await stores.marks.mark([Mark(marked, 1)], [Mark(marked, 1)])
    memories.digests(USER, 1)
    await stores.leases.release("n", "job", await stores.leases.claim("n", "job", "one", 1) or 0)
    fence = await memories.fence("n")
    drafts = [draft("m1"), draft("m2", supersedes="m1", expire_time=clock.wall_us + 10_000)]
    await memories.remember("n", drafts, fence=fence, writer="w", request=request("r"))
    change = MemoryChange({"content": "new"}, (vector(),))
    await memories.update(
        "n", "m1", owned(USER), change, expected_version=0, fence=fence, writer="w", request=request("u")
    )
    memories.fetch("n", ["m1", "m2"])
    for where in (EVERYTHING, owned(USER), forgettable(Scope("n"))):
        await memories.page("n", where, size=1, cursor="")
    await memories.revisions("n", "m1", size=1, cursor="")
    for kind in ("memory", "procedure"):
        list(memories.load("n", kind)[1])
    await memories.namespaces()
    put = procedure("key")
    await procedures.put(put, (vector(),), expected_version=0, fence=fence, writer="w", request=request("p"))
    await procedures.get("n", put.procedure_id, 0)
    await procedures.get("n", put.procedure_id, 1)
    procedures.fetch("n", [put.procedure_id])
    await procedures.page(USER, key="", size=1, cursor="")
    await procedures.page(USER, key="key", size=1, cursor="")
    await procedures.report("n", put.procedure_id, 1, OutcomeReport(Outcome.SUCCESS), None)
    await procedures.delete("n", put.procedure_id, writer="w", request=None)
    for _ in range(2):
        await tasks.save("n", "t", b"x", expected_version=None, ttl_us=10**6, keep=1, request=request("t"))
    await tasks.load("n", "t", 0)
    await tasks.page("n", "", size=1, cursor="")
    await tasks.page("n", "t", size=1, cursor="")
    await tasks.delete("n", "t", None)
    await stores.settings.settings("n")
    await stores.settings.counts("n")
    for plan in (
        ForgetPlan(USER, owned(USER), memory_ids=("m1",)),
        ForgetPlan(USER, owned(USER), filter=EVERYTHING),
        ForgetPlan(USER, forgettable(USER), everything=True),
    ):
        receipt = await memories.forget(plan, writer="w", request=None)
        await memories.remember("n", [draft("m1")], fence=await memories.fence("n"), writer="w", request=None)
    await memories.pending_forgets()
    await memories.finish_forget(receipt.value.receipt_id, {})
    await sessions.forget(USER, all_users=False, receipt_id="r")
    await tasks.forget("n", ["t"], all_tasks=True, receipt_id="r")
    for policy in (RetentionPolicy(1, 0), RetentionPolicy(1, 0, keep_if_pinned=False)):
        surplus = await stores.retention.surplus("n", policy, 10)
    assert await stores.retention.retire("n", surplus.oldest, writer="w") > 0
    await stores.retention.policies("", 10)
    await tasks.histories(size=1, cursor="")
    await tasks.prune("n", "t", 1)
    clock.advance(10**9)
    for store in (sessions, memories, tasks):
        await store.sweep(10)
    stores.close()

    apsw.connection_hooks.clear()
    database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
    scans = []
    for sql, bindings in list(statements.items()):
        if not sql.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            continue
        plan_rows = database.execute(f"EXPLAIN QUERY PLAN {sql}", bindings).fetchall()  # type: ignore[arg-type]
        whole = [str(row[3]) for row in plan_rows if _SCAN.match(str(row[3]))]
        if whole and not any(sql.startswith(known) for known in SCANS):
            scans.append((sql, whole))
    database.close()
    assert len(statements) > 80, "the workload must reach the stores' statements"
    assert scans == []


async def test_tombstones_of_a_change_or_an_entry_are_found_by_an_index(
    open_stores: Open, statements: dict[str, object], tmp_path: Path
) -> None:
    """They are kept for ten years: a watcher and an import must not read them all."""
    stores = open_stores()
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("m1"), draft("m2")], fence=fence, writer="w", request=None)
    async with aclosing(stores.transfers.export("n")) as batches:
        found = [one async for batch in batches for one in batch]
    memories = [one for one in found if isinstance(one, PortableMemory)]
    plan = ForgetPlan(USER, owned(USER), memory_ids=("m1",))
    await stores.memories.forget(plan, writer="w", request=None)
    lines = await stores.change_log.memory_lines("n", Head(0, 0))
    assert lines is not None
    assert lines.lines[-1].forgotten_for == (USER,)
    taken = await stores.transfers.take_in("n", memories, exported_us=0, fence=fence, writer="w")
    assert taken.value.forgotten == 1
    stores.close()
    apsw.connection_hooks.clear()
    database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
    asked = [sql for sql in statements if "FROM tombstone WHERE" in sql and "mark" not in sql]
    assert len(asked) == 2
    for sql in asked:
        steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", statements[sql])]  # type: ignore[arg-type]
        assert any(step.startswith("SEARCH tombstone USING INDEX") for step in steps), steps
    database.close()
