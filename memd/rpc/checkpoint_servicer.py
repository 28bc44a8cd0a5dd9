"""CheckpointService: check, convert, call, convert. The step ledger is not served yet."""

from __future__ import annotations

from memd_client._proto.v1 import checkpoint_service_pb2 as cs

from memd.domain.errors import InvalidArgument
from memd.limits import MAX_CHECKPOINT_BYTES
from memd.rpc import checks
from memd.rpc.calls import Call
from memd.rpc.convert_checkpoint import checkpoint
from memd.rpc.convert_common import receipt
from memd.service.checkpoints import CheckpointService


class CheckpointServicer:
    def __init__(self, checkpoints: CheckpointService) -> None:
        self._checkpoints = checkpoints

    async def SaveCheckpoint(self, request: cs.SaveCheckpointRequest, call: Call) -> cs.SaveCheckpointResponse:
        scope = call.scope(request.scope)
        if len(request.state) > MAX_CHECKPOINT_BYTES:
            raise InvalidArgument(f"state is larger than {MAX_CHECKPOINT_BYTES:,} bytes", field="state")
        written = await self._checkpoints.save(
            scope.namespace,
            checks.identifier(request.task_id, "task_id"),
            request.state,
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            ttl_us=checks.ttl(request.ttl, "ttl") if request.HasField("ttl") else None,
            request=call.request_key(request, scope),
        )
        return cs.SaveCheckpointResponse(checkpoint=checkpoint(written.value), receipt=receipt(written))

    async def LoadCheckpoint(self, request: cs.LoadCheckpointRequest, call: Call) -> cs.LoadCheckpointResponse:
        scope = call.scope(request.scope)
        task_id = checks.identifier(request.task_id, "task_id")
        found = await self._checkpoints.load(scope.namespace, task_id, request.version)
        return cs.LoadCheckpointResponse(checkpoint=checkpoint(found))

    async def ListCheckpoints(self, request: cs.ListCheckpointsRequest, call: Call) -> cs.ListCheckpointsResponse:
        scope = call.scope(request.scope)
        task_id = checks.optional_identifier(request.task_id, "task_id")
        pager = call.pager(request, scope)
        size = checks.page_size(request.page_size)
        page = await self._checkpoints.list(scope.namespace, task_id, size=size, cursor=pager.cursor)
        checkpoints = map(checkpoint, page.items)
        return cs.ListCheckpointsResponse(checkpoints=checkpoints, next_page_token=pager.token(page.next_cursor))

    async def DeleteCheckpoint(self, request: cs.DeleteCheckpointRequest, call: Call) -> cs.DeleteCheckpointResponse:
        scope = call.scope(request.scope)
        task_id = checks.identifier(request.task_id, "task_id")
        written = await self._checkpoints.delete(scope.namespace, task_id, call.request_key(request, scope))
        return cs.DeleteCheckpointResponse(versions_deleted=written.value, receipt=receipt(written))
