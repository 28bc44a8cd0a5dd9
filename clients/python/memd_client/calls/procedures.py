"""Calls of the ProcedureService."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from memd_client import parse, wire, words
from memd_client import types as t
from memd_client._proto.v1 import procedure_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id
from memd_client.enums import Outcome

_call = partial(Call, "ProcedureService")


def put_procedure(
    scope: t.Scope,
    key: str,
    content: str,
    *,
    trigger: str = "",
    metadata: t.Metadata | None = None,
    expected_version: int | None = None,
    agent_private: bool = False,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.StoredProcedure]:
    """Store the next version of a how-to under its key; ``trigger`` says in words when to use it.

    ``expected_version`` makes it a compare-and-set (0: must not exist yet). ``agent_private`` keeps it to the scope's
    agent.
    """
    request = pb.PutProcedureRequest(
        scope=wire.scope(scope),
        key=key,
        trigger=trigger,
        content=content,
        metadata=wire.struct(metadata or {}),
        expected_version=expected_version,
        request_id=new_request_id(request_id),
        agent_private=agent_private,
    )

    def stored(m: pb.PutProcedureResponse) -> t.StoredProcedure:
        receipt = parse.receipt(m.receipt)
        return t.StoredProcedure(parse.procedure(m.procedure, receipt), m.created, receipt)

    return _call("PutProcedure", request, stored, timeout_s)


def get_procedure(
    scope: t.Scope, key: str, *, version: int = 0, outcomes: int = 0, timeout_s: float | None = None
) -> Call[t.Procedure]:
    """One version of a how-to, with as many of its newest ``outcomes``; version 0 is the one that is offered now."""
    request = pb.GetProcedureRequest(scope=wire.scope(scope), key=key, version=version, outcomes=outcomes)
    return _call("GetProcedure", request, parse.procedure_with_outcomes, timeout_s)


def list_procedures_page(
    scope: t.Scope, *, key: str = "", page_size: int = 0, page_token: str = "", timeout_s: float | None = None
) -> Call[t.Page[t.Procedure]]:
    """The offered how-tos by key; with ``key``, all versions of that one, newest first."""
    request = pb.ListProceduresRequest(scope=wire.scope(scope), key=key, page_size=page_size, page_token=page_token)

    def page(m: pb.ListProceduresResponse) -> t.Page[t.Procedure]:
        return t.Page(tuple(map(parse.procedure, m.procedures)), m.next_page_token)

    return _call("ListProcedures", request, page, timeout_s)


def delete_procedure(
    scope: t.Scope, key: str, *, request_id: str = "", timeout_s: float | None = None
) -> Call[t.Removed]:
    """Delete all versions of a how-to with their outcomes."""
    request = pb.DeleteProcedureRequest(scope=wire.scope(scope), key=key, request_id=new_request_id(request_id))
    return _call(
        "DeleteProcedure", request, lambda m: t.Removed(m.versions_deleted, parse.receipt(m.receipt)), timeout_s
    )


def report_outcome(
    scope: t.Scope,
    key: str,
    version: int,
    outcome: Outcome | str,
    *,
    reason: str = "",
    duration: timedelta | None = None,
    outcome_id: str = "",
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Procedure]:
    """Count one outcome for the version that was used; returns it with its new record.

    ``outcome_id`` is your name for this use: reported again, by whomever, it counts once.
    """
    request = pb.ReportOutcomeRequest(
        scope=wire.scope(scope),
        key=key,
        version=version,
        outcome=words.OUTCOME.number(outcome, "outcome"),
        reason=reason,
        duration=wire.duration(duration),
        request_id=new_request_id(request_id),
        outcome_id=outcome_id,
    )
    return _call("ReportOutcome", request, lambda m: parse.procedure(m.procedure, parse.receipt(m.receipt)), timeout_s)
