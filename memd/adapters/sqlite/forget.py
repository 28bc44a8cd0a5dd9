"""Forget: rows, revisions, embeddings and procedures in one commit, a tombstone without content, and a receipt."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw

from memd.adapters.rows.forget import Links, buried, decode_plan, encode_plan, links, sources
from memd.adapters.rows.memory import filterable
from memd.adapters.sqlite.connection import row, rows, transaction
from memd.adapters.sqlite.memory_rows import pushdown
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import NotFound
from memd.domain.filters import And, Filter, In, matches
from memd.domain.model import Durability, ForgetReceipt, SessionEvents, Written
from memd.domain.visibility import EVERYTHING
from memd.ports import ForgetPlan, PendingForget

_IS_DIGEST = "fields ->> 'source' = 'digest'"
"""As the index of digests has it."""
OUT_OF_REACH = ()
"""Beyond what is out of reach of every store, which the use case says."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """Row keys and ids of what a plan removes; the last ``digests`` of the memories go because of ``events``."""

    memory_pks: tuple[int, ...]
    memory_ids: tuple[str, ...]
    procedure_pks: tuple[int, ...]
    procedure_ids: tuple[str, ...]
    digests: int
    events: tuple[SessionEvents, ...]


class Forgetter:
    def __init__(self, tombstones: Tombstones) -> None:
        self._tombstones = tombstones

    def count(self, connection: apsw.Connection, plan: ForgetPlan, now_us: int) -> Written[ForgetReceipt]:
        """What ``run`` would remove."""
        with transaction(connection):  # one snapshot
            targets = _find(connection, plan)
            counts = _counts(connection, targets)
            head = row(connection, "SELECT seq FROM namespace_head WHERE namespace = ?", (plan.scope.namespace,))
        receipt = ForgetReceipt("", counts, now_us, OUT_OF_REACH, True, targets.events)
        return Written(receipt, head[0] if head else 0, Durability.SYNCED)

    def run(self, tx: Transaction, plan: ForgetPlan, writer: str) -> ForgetReceipt:
        namespace = plan.scope.namespace
        targets = _find(tx.connection, plan)
        counts = _counts(tx.connection, targets)
        tx.execute("DELETE FROM memory WHERE pk IN (SELECT value FROM json_each(?))", (json.dumps(targets.memory_pks),))
        tx.execute(
            "DELETE FROM procedure WHERE pk IN (SELECT value FROM json_each(?))", (json.dumps(targets.procedure_pks),)
        )
        self._bury(tx, plan, targets)
        if plan.all_users:
            tx.delete_all(namespace, "memory")
            tx.delete_all(namespace, "procedure")
        else:
            tx.delete(namespace, "memory", targets.memory_ids)
            tx.delete(namespace, "procedure", targets.procedure_ids)
        tx.erases = True
        receipt_id = f"f_{secrets.token_hex(16)}"
        receipt = ForgetReceipt(receipt_id, counts, tx.now_us, OUT_OF_REACH, False, targets.events)
        done = not (plan.everything or targets.events)
        tx.execute(
            "INSERT INTO forget_intent (receipt_id, namespace, create_time, done, plan, counts)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (receipt_id, namespace, tx.now_us, int(done), encode_plan(plan, targets.events), json.dumps(counts)),
        )
        tx.audit(namespace, writer, "forget", json.dumps({"receipt_id": receipt_id, "counts": counts}))
        return receipt

    def _bury(self, tx: Transaction, plan: ForgetPlan, targets: _Targets) -> None:
        if plan.everything:
            self._tombstones.add(tx, "memory", plan.scope, (), all_users=plan.all_users)
            if not plan.scope.session_id:
                self._tombstones.add(tx, "procedure", plan.scope, (), all_users=plan.all_users)
            return
        named = buried(plan, targets.memory_ids, targets.events)
        if named:
            self._tombstones.add(tx, "memory", plan.scope, named, all_users=False)

    def receipt(self, tx: Transaction, receipt_id: str) -> ForgetReceipt:
        found = tx.row("SELECT create_time, counts, plan FROM forget_intent WHERE receipt_id = ?", (receipt_id,))
        if found is None:
            raise NotFound("there is no such receipt")
        events = decode_plan(found[2])[1]
        return ForgetReceipt(receipt_id, json.loads(found[1]), found[0], OUT_OF_REACH, False, events)

    def finish(self, tx: Transaction, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        known = self.receipt(tx, receipt_id)
        merged = {**known.counts, **counts}
        changed = tx.execute(
            "UPDATE forget_intent SET done = 1, counts = ? WHERE receipt_id = ? AND done = 0",
            (json.dumps(merged), receipt_id),
        )
        return self.receipt(tx, receipt_id) if changed else known

    def pending(self, connection: apsw.Connection) -> tuple[PendingForget, ...]:
        found = rows(connection, "SELECT receipt_id, plan FROM forget_intent WHERE done = 0 ORDER BY create_time")
        return tuple(PendingForget(receipt_id, *decode_plan(plan)) for receipt_id, plan in found)


def _find(connection: apsw.Connection, plan: ForgetPlan) -> _Targets:
    found = _find_memories(connection, plan)
    procedures = _find_procedures(connection, plan) if plan.everything and not plan.scope.session_id else []
    events = () if plan.everything else sources(plan, [one[2] for one in found])
    named = {one[0] for one in found}
    digests = [one for one in _find_digests(connection, plan, events) if one[0] not in named]
    memories = [*((pk, name) for pk, name, _ in found), *digests]
    return _Targets(
        tuple(one[0] for one in memories),
        tuple(one[1] for one in memories),
        tuple(one[0] for one in procedures),
        tuple(one[1] for one in procedures),
        len(digests),
        events,
    )


def _find_digests(
    connection: apsw.Connection, plan: ForgetPlan, events: Sequence[SessionEvents]
) -> list[tuple[int, str]]:
    """Those that tell one of the events."""
    namespace = plan.scope.namespace
    sql = f"SELECT pk, memory_id, fields, body FROM memory WHERE namespace = ? AND user_id = ? AND {_IS_DIGEST}"
    found = {
        pk: name
        for one in events
        for pk, name, fields, body in rows(connection, sql, (namespace, one.scope.user_id))
        if links(namespace, fields, body).touches(one)
    }
    return list(found.items())


def _find_memories(connection: apsw.Connection, plan: ForgetPlan) -> Sequence[tuple[int, str, Links]]:
    namespace = plan.scope.namespace
    if plan.all_users:
        where: Filter = EVERYTHING
    else:
        where = And((plan.visible, _asked(plan)))
    narrowed, bindings = pushdown(where)
    sql = f"SELECT pk, memory_id, fields, body FROM memory WHERE namespace = ? AND {narrowed}"
    found = [
        (pk, memory_id, links(namespace, fields, body))
        for pk, memory_id, fields, body in rows(connection, sql, (namespace, *bindings))
        if matches(where, filterable(memory_id, fields))
    ]
    if not plan.event_ids:
        return found
    asked = SessionEvents(plan.scope, plan.event_ids)
    return [one for one in found if not one[2].digest and one[2].touches(asked)]


def _asked(plan: ForgetPlan) -> Filter:
    if plan.everything or plan.event_ids:
        return EVERYTHING
    return plan.filter if plan.filter is not None else In("memory_id", plan.memory_ids)


def _find_procedures(connection: apsw.Connection, plan: ForgetPlan) -> Sequence[tuple[int, str]]:
    where, bindings = "namespace = ?", [plan.scope.namespace]
    if not plan.all_users:
        where, bindings = f"{where} AND user_id = ?", [*bindings, plan.scope.user_id]
        if plan.scope.agent_id:
            where, bindings = f"{where} AND agent_id = ?", [*bindings, plan.scope.agent_id]
    found = rows(connection, f"SELECT pk, procedure_id FROM procedure WHERE {where}", bindings)
    return [(pk, procedure_id) for pk, procedure_id in found]


def _counts(connection: apsw.Connection, targets: _Targets) -> dict[str, int]:
    pks = json.dumps(targets.memory_pks)
    found = row(
        connection,
        "SELECT (SELECT count(*) FROM memory_revision WHERE memory_pk IN (SELECT value FROM json_each(?1))),"
        " (SELECT coalesce(sum(windows), 0) FROM embedding WHERE memory_pk IN (SELECT value FROM json_each(?1)))",
        (pks,),
    )
    assert found is not None
    counts = {
        "memories": len(targets.memory_pks) - targets.digests,
        "revisions": found[0],
        "embeddings": found[1],
        "procedures": len(targets.procedure_pks),
    }
    return counts | ({"digests": targets.digests} if targets.digests else {})
