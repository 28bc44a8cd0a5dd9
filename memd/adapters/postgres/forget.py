"""Forget: rows, revisions, embeddings and procedures in one commit, a tombstone without content, and a receipt.

It runs with the namespace's gate to itself (``gate.py``), so what it finds is all there is. The bytes of deleted rows stay
in the server's files until their space is used again: a VACUUM is asked for behind the reply, and the receipt says what is
beyond it. Of columns that hold content Postgres keeps no samples for its planner (``0015_no_samples.sql``).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from memd.adapters.postgres.memory_rows import pushdown
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.adapters.rows.forget import Links, buried, decode_plan, encode_plan, links, sources
from memd.adapters.rows.memory import filterable
from memd.domain.errors import NotFound
from memd.domain.filters import And, Filter, In, matches
from memd.domain.model import Durability, ForgetReceipt, SessionEvents, Written
from memd.domain.visibility import EVERYTHING
from memd.ports import ForgetPlan, PendingForget

OUT_OF_REACH = (
    "free space inside the table files of Postgres, until it is used again (VACUUM was asked for; VACUUM FULL frees it)",
    "the write-ahead log of Postgres until its segments are recycled, and where it is archived",
    "standbys of Postgres until they have applied the deletion, and base backups and dumps made before",
    "single words in the planner's statistics, where Postgres searches the namespace, until it analyzes them again",
)
_TABLES: Mapping[str, tuple[str, ...]] = {
    "memories": ("memory", "embedding_next", "search_memory", "search_term"),
    "digests": ("memory", "embedding_next", "search_memory", "search_term"),
    "revisions": ("memory_revision",),
    "embeddings": ("embedding",),
    "procedures": ("procedure", "procedure_version", "procedure_outcome", "procedure_reembedding"),
    "events": ("event", "working_summary"),
    "sessions": ("session",),
    "checkpoints": ("checkpoint", "task"),
    "steps": ("step", "step_task"),
}
"""By count of a receipt, which tables hold rows that went. Of what is kept elsewhere they are empty: nothing is lost."""
_DIGESTS = (
    "SELECT pk, memory_id, fields, body FROM memd.memory WHERE namespace = $1 AND user_id = $2"
    """ AND fields LIKE '%"source":"digest"%'"""  # narrows alone; as the index has it
)
_SCAN_BATCH = 4_096
"""Rows whose fields are looked at in one round trip."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """Row keys and ids of what a plan removes; the last ``digests`` of the memories go because of ``events``."""

    memory_pks: list[int]
    memory_ids: list[str]
    procedure_pks: list[int]
    procedure_ids: list[str]
    digests: int
    events: tuple[SessionEvents, ...]


class Forgetter:
    """``vacuum`` takes the names of tables that hold deleted content."""

    def __init__(self, vacuum: Callable[[set[str]], None]) -> None:
        self._vacuum = vacuum

    async def count(self, reader: Reader, plan: ForgetPlan) -> Written[ForgetReceipt]:
        """What ``run`` would remove."""
        targets = await _find(reader, plan)
        counts = await _counts(reader, targets)
        head = await reader.row("SELECT seq FROM memd.namespace_head WHERE namespace = $1", plan.scope.namespace)
        receipt = ForgetReceipt("", counts, reader.now_us, OUT_OF_REACH, True, targets.events)
        return Written(receipt, head[0] if head else 0, Durability.SYNCED)

    async def run(self, tx: Transaction, plan: ForgetPlan, writer: str) -> ForgetReceipt:
        targets = await _find(tx, plan)
        counts = await _counts(tx, targets)
        await tx.execute("DELETE FROM memd.memory WHERE pk = ANY ($1::bigint[])", targets.memory_pks)
        await tx.execute("DELETE FROM memd.procedure WHERE pk = ANY ($1::bigint[])", targets.procedure_pks)
        _bury(tx, plan, targets)
        if plan.all_users:
            tx.delete_all("memory")
            tx.delete_all("procedure")
        else:
            tx.delete("memory", targets.memory_ids)
            tx.delete("procedure", targets.procedure_ids)
        receipt_id = f"f_{secrets.token_hex(16)}"
        receipt = ForgetReceipt(receipt_id, counts, tx.now_us, OUT_OF_REACH, False, targets.events)
        await tx.execute(
            "INSERT INTO memd.forget_intent (receipt_id, namespace, create_time, done, plan, counts)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            receipt_id,
            tx.namespace,
            tx.now_us,
            not (plan.everything or targets.events),
            encode_plan(plan, targets.events),
            json.dumps(counts),
        )
        tx.audit(writer, "forget", json.dumps({"receipt_id": receipt_id, "counts": counts}))
        return receipt

    def erase(self, receipt: ForgetReceipt) -> None:
        """After the commit: let the server reuse the space of what went."""
        touched = {table for name, tables in _TABLES.items() if receipt.counts.get(name) for table in tables}
        if touched and not receipt.dry_run:
            self._vacuum(touched)

    async def receipt(self, reader: Reader, receipt_id: str) -> ForgetReceipt:
        found = await reader.row(
            "SELECT create_time, counts, plan FROM memd.forget_intent WHERE receipt_id = $1", receipt_id
        )
        if found is None:
            raise NotFound("there is no such receipt")
        events = decode_plan(found[2])[1]
        return ForgetReceipt(receipt_id, json.loads(found[1]), found[0], OUT_OF_REACH, False, events)

    async def finish(self, reader: Reader, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        await reader.row("SELECT 1 FROM memd.forget_intent WHERE receipt_id = $1 FOR UPDATE", receipt_id)
        known = await self.receipt(reader, receipt_id)
        merged = {**known.counts, **counts}
        changed = await reader.execute(
            "UPDATE memd.forget_intent SET done = true, counts = $2 WHERE receipt_id = $1 AND NOT done",
            receipt_id,
            json.dumps(merged),
        )
        return await self.receipt(reader, receipt_id) if changed else known

    async def pending(self, reader: Reader) -> tuple[PendingForget, ...]:
        found = await reader.rows("SELECT receipt_id, plan FROM memd.forget_intent WHERE NOT done ORDER BY create_time")
        return tuple(PendingForget(receipt_id, *decode_plan(plan)) for receipt_id, plan in found)


def _bury(tx: Transaction, plan: ForgetPlan, targets: _Targets) -> None:
    if plan.everything:
        tx.bury("memory", plan.scope, (), all_users=plan.all_users)
        if not plan.scope.session_id:
            tx.bury("procedure", plan.scope, (), all_users=plan.all_users)
        return
    named = buried(plan, targets.memory_ids, targets.events)
    if named:
        tx.bury("memory", plan.scope, named, all_users=False)


async def _find(reader: Reader, plan: ForgetPlan) -> _Targets:
    found = await _find_memories(reader, plan)
    procedures = await _find_procedures(reader, plan) if plan.everything and not plan.scope.session_id else []
    events = () if plan.everything else sources(plan, [one[2] for one in found])
    named = {one[0] for one in found}
    digests = [one for one in await _find_digests(reader, events) if one[0] not in named]
    memories = [*((pk, name) for pk, name, _ in found), *digests]
    return _Targets(
        [one[0] for one in memories],
        [one[1] for one in memories],
        [one[0] for one in procedures],
        [one[1] for one in procedures],
        len(digests),
        events,
    )


async def _find_digests(reader: Reader, events: Sequence[SessionEvents]) -> list[tuple[int, str]]:
    """Those that tell one of the events."""
    found: dict[int, str] = {}
    for one in events:
        namespace = one.scope.namespace
        rows = await reader.rows(_DIGESTS, namespace, one.scope.user_id)
        found |= {pk: name for pk, name, fields, body in rows if _tells(links(namespace, fields, body), one)}
    return list(found.items())


def _tells(one: Links, events: SessionEvents) -> bool:
    return one.digest and one.touches(events)


async def _find_memories(reader: Reader, plan: ForgetPlan) -> Sequence[tuple[int, str, Links]]:
    where: Filter = EVERYTHING if plan.all_users else And((plan.visible, _asked(plan)))
    narrowed, bindings = pushdown(where, 4)
    sql = (
        "SELECT pk, memory_id, fields, body FROM memd.memory"
        f" WHERE namespace = $1 AND pk > $2 AND {narrowed} ORDER BY pk LIMIT $3"
    )
    namespace = plan.scope.namespace
    asked = SessionEvents(plan.scope, plan.event_ids)
    targets: list[tuple[int, str, Links]] = []
    last = 0
    while True:
        found = await reader.rows(sql, namespace, last, _SCAN_BATCH, *bindings)
        matching = [
            (pk, name, links(namespace, fields, body))
            for pk, name, fields, body in found
            if matches(where, filterable(name, fields))
        ]
        targets += [one for one in matching if not plan.event_ids or (not one[2].digest and one[2].touches(asked))]
        if len(found) < _SCAN_BATCH:
            return targets
        last = found[-1][0]


def _asked(plan: ForgetPlan) -> Filter:
    if plan.everything or plan.event_ids:
        return EVERYTHING
    return plan.filter if plan.filter is not None else In("memory_id", plan.memory_ids)


async def _find_procedures(reader: Reader, plan: ForgetPlan) -> Sequence[tuple[int, str]]:
    scope = plan.scope
    found = await reader.rows(
        "SELECT pk, procedure_id FROM memd.procedure WHERE namespace = $1"
        " AND ($2 OR (user_id = $3 AND $4 IN ('', agent_id)))",
        scope.namespace,
        plan.all_users,
        scope.user_id,
        scope.agent_id,
    )
    return [(pk, procedure_id) for pk, procedure_id in found]


async def _counts(reader: Reader, targets: _Targets) -> dict[str, int]:
    found = await reader.row(
        "SELECT (SELECT count(*) FROM memd.memory_revision WHERE memory_pk = ANY ($1::bigint[])),"
        " (SELECT count(*) FROM memd.embedding WHERE memory_pk = ANY ($1::bigint[]))",
        targets.memory_pks,
    )
    assert found is not None
    counts = {
        "memories": len(targets.memory_pks) - targets.digests,
        "revisions": found[0],
        "embeddings": found[1],
        "procedures": len(targets.procedure_pks),
    }
    return counts | ({"digests": targets.digests} if targets.digests else {})
