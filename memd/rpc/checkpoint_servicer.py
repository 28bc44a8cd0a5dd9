"""CheckpointService: check, convert, call, convert."""

from __future__ import annotations

from memd_client._proto.v1 import checkpoint_service_pb2 as cs

from memd.domain.errors import InvalidArgument
from memd.domain.steps import StepIntent
from memd.limits import MAX_CHECKPOINT_BYTES, MAX_REASON_BYTES, MAX_STEP_RESULT_BYTES, MAX_TIME_US
from memd.rpc import checks
from memd.rpc.calls import Call
from memd.rpc.convert_checkpoint import checkpoint, step
from memd.rpc.convert_common import receipt
from memd.service.checkpoints import CheckpointService
from memd.service.steps import StepService

_SHA256_BYTES = 32


class CheckpointServicer:
    def __init__(self, checkpoints: CheckpointService, steps: StepService) -> None:
        self._checkpoints = checkpoints
        self._steps = steps

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

    async def BeginStep(self, request: cs.BeginStepRequest, call: Call) -> cs.BeginStepResponse:
        scope = call.scope(request.scope)
        if len(request.input_sha256) not in (0, _SHA256_BYTES):
            raise InvalidArgument("input_sha256 must be 32 bytes, or empty", field="input_sha256")
        intent = StepIntent(
            task_id=checks.identifier(request.task_id, "task_id"),
            step_id=checks.identifier(request.step_id, "step_id"),
            idempotency_key=checks.optional_identifier(request.idempotency_key, "idempotency_key"),
            input_sha256=request.input_sha256,
            lease_us=_lease_us(request),
            in_doubt_token=_token(request.in_doubt_token, "in_doubt_token"),
        )
        written = await self._steps.begin(scope.namespace, intent, call.request_key(request, scope))
        return cs.BeginStepResponse(step=step(written.value), receipt=receipt(written))

    async def RenewStep(self, request: cs.RenewStepRequest, call: Call) -> cs.RenewStepResponse:
        namespace, task_id, step_id, token = _held(request, call)
        written = await self._steps.renew(
            namespace, task_id, step_id, token=token, lease_us=_lease_us(request), give_up=request.give_up
        )
        return cs.RenewStepResponse(step=step(written.value), receipt=receipt(written))

    async def CompleteStep(self, request: cs.CompleteStepRequest, call: Call) -> cs.CompleteStepResponse:
        namespace, task_id, step_id, token = _held(request, call)
        if len(request.result) > MAX_STEP_RESULT_BYTES:
            raise InvalidArgument(f"result is larger than {MAX_STEP_RESULT_BYTES:,} bytes", field="result")
        written = await self._steps.complete(namespace, task_id, step_id, token=token, result=request.result)
        return cs.CompleteStepResponse(step=step(written.value), receipt=receipt(written))

    async def FailStep(self, request: cs.FailStepRequest, call: Call) -> cs.FailStepResponse:
        namespace, task_id, step_id, token = _held(request, call)
        reason = checks.fits(request.error_reason, "error_reason", MAX_REASON_BYTES)
        written = await self._steps.fail(
            namespace, task_id, step_id, token=token, reason=reason, retryable=request.retryable
        )
        return cs.FailStepResponse(step=step(written.value), receipt=receipt(written))

    async def ListSteps(self, request: cs.ListStepsRequest, call: Call) -> cs.ListStepsResponse:
        scope = call.scope(request.scope)
        task_id = checks.identifier(request.task_id, "task_id")
        pager = call.pager(request, scope)
        size = checks.page_size(request.page_size)
        page = await self._steps.list(scope.namespace, task_id, size=size, cursor=pager.cursor)
        return cs.ListStepsResponse(steps=map(step, page.items), next_page_token=pager.token(page.next_cursor))


def _held(
    request: cs.RenewStepRequest | cs.CompleteStepRequest | cs.FailStepRequest, call: Call
) -> tuple[str, str, str, int]:
    """Namespace, task, step and fencing token of a step that the caller holds."""
    return (
        call.scope(request.scope).namespace,
        checks.identifier(request.task_id, "task_id"),
        checks.identifier(request.step_id, "step_id"),
        _token(request.fencing_token, "fencing_token", least=1),
    )


def _token(value: int, path: str, least: int = 0) -> int:
    return checks.whole(value, path, least, MAX_TIME_US)


def _lease_us(request: cs.BeginStepRequest | cs.RenewStepRequest) -> int:
    """0 where none is given."""
    return checks.lease(request.lease, "lease") if request.HasField("lease") else 0
