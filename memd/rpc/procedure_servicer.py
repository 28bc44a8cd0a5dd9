"""ProcedureService: check, convert, call, convert."""

from __future__ import annotations

from memd_client._proto.v1 import procedure_service_pb2 as ps

from memd.domain.errors import InvalidArgument
from memd.domain.model import Outcome, OutcomeReport
from memd.limits import MAX_CONTENT_BYTES, MAX_KEPT_OUTCOMES, MAX_QUERY_BYTES, MAX_REASON_BYTES
from memd.rpc import checks, pages
from memd.rpc.calls import Call
from memd.rpc.convert_common import OUTCOMES, receipt
from memd.rpc.convert_procedure import outcome_report, procedure
from memd.service.procedures import ProcedureService

_OUTCOMES = {number: outcome for number, outcome in OUTCOMES.items() if outcome is not Outcome.NONE}


class ProcedureServicer:
    def __init__(self, procedures: ProcedureService) -> None:
        self._procedures = procedures

    async def PutProcedure(self, request: ps.PutProcedureRequest, call: Call) -> ps.PutProcedureResponse:
        scope = call.scope(request.scope)
        if request.agent_private and not scope.agent_id:
            raise InvalidArgument("agent_private needs scope.agent_id", field="agent_private")
        written = await self._procedures.put(
            scope,
            checks.identifier(request.key, "key"),
            checks.fits(request.trigger, "trigger", MAX_QUERY_BYTES),
            checks.text(request.content, "content", MAX_CONTENT_BYTES),
            checks.metadata(request.metadata, "metadata"),
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            agent_private=request.agent_private,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        stored, created = written.value
        return ps.PutProcedureResponse(procedure=procedure(stored), created=created, receipt=receipt(written))

    async def GetProcedure(self, request: ps.GetProcedureRequest, call: Call) -> ps.GetProcedureResponse:
        scope = call.scope(request.scope)
        wanted = checks.whole(request.outcomes, "outcomes", 0, MAX_KEPT_OUTCOMES)
        found = await self._procedures.get(scope, checks.identifier(request.key, "key"), request.version)
        outcomes = await self._procedures.outcomes(found, wanted) if wanted else []
        return ps.GetProcedureResponse(procedure=procedure(found), outcomes=map(outcome_report, outcomes))

    async def ListProcedures(self, request: ps.ListProceduresRequest, call: Call) -> ps.ListProceduresResponse:
        scope = call.scope(request.scope)
        key = checks.optional_identifier(request.key, "key")
        pager = call.pager(request, scope)

        async def fetch(size: int) -> ps.ListProceduresResponse:
            page = await self._procedures.list(scope, key, size=size, cursor=pager.cursor)
            procedures = map(procedure, page.items)
            return ps.ListProceduresResponse(procedures=procedures, next_page_token=pager.token(page.next_cursor))

        return await pages.fitting(checks.page_size(request.page_size), fetch)

    async def DeleteProcedure(self, request: ps.DeleteProcedureRequest, call: Call) -> ps.DeleteProcedureResponse:
        scope = call.scope(request.scope)
        written = await self._procedures.delete(
            scope,
            checks.identifier(request.key, "key"),
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        return ps.DeleteProcedureResponse(versions_deleted=written.value, receipt=receipt(written))

    async def ReportOutcome(self, request: ps.ReportOutcomeRequest, call: Call) -> ps.ReportOutcomeResponse:
        scope = call.scope(request.scope)
        key = checks.identifier(request.key, "key")
        if not request.version:
            raise InvalidArgument("version is required: the one that was used", field="version")
        outcome = checks.choice(request.outcome, "outcome", _OUTCOMES)
        report = OutcomeReport(
            outcome,
            checks.optional_identifier(request.outcome_id, "outcome_id"),
            checks.fits(request.reason, "reason", MAX_REASON_BYTES),
            checks.elapsed(request.duration, "duration") if request.HasField("duration") else None,
        )
        written = await self._procedures.report(scope, key, request.version, report, call.request_key(request, scope))
        return ps.ReportOutcomeResponse(procedure=procedure(written.value), receipt=receipt(written))
