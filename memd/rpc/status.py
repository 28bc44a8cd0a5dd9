"""THE table from domain errors to gRPC status codes, and the details every non-OK carries."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from memd.domain import errors as e

T = TypeVar("T")
log = logging.getLogger(__name__)

ERROR_DOMAIN = "memd"
DETAILS_KEY = "grpc-status-details-bin"

STATUS: Mapping[type[e.MemdError], grpc.StatusCode] = {
    e.MemdError: grpc.StatusCode.INTERNAL,
    e.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    e.RequestIdReused: grpc.StatusCode.INVALID_ARGUMENT,
    e.IdempotencyKeyReused: grpc.StatusCode.INVALID_ARGUMENT,
    e.NotFound: grpc.StatusCode.NOT_FOUND,
    e.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    e.VersionConflict: grpc.StatusCode.ABORTED,
    e.Forgotten: grpc.StatusCode.ABORTED,
    e.StepTaken: grpc.StatusCode.ABORTED,
    e.WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    e.ModelMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    e.PositionLost: grpc.StatusCode.FAILED_PRECONDITION,
    e.ConfirmationNeeded: grpc.StatusCode.FAILED_PRECONDITION,
    e.SchemaTooNew: grpc.StatusCode.FAILED_PRECONDITION,
    e.ConfigError: grpc.StatusCode.FAILED_PRECONDITION,
    e.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    e.Unavailable: grpc.StatusCode.UNAVAILABLE,
    e.NotReady: grpc.StatusCode.UNAVAILABLE,
    e.StoreBusy: grpc.StatusCode.UNAVAILABLE,
    e.StoreFull: grpc.StatusCode.UNAVAILABLE,
    e.ReplicaStale: grpc.StatusCode.UNAVAILABLE,
    e.ModelUnavailable: grpc.StatusCode.UNAVAILABLE,
    e.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    e.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    e.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    e.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    e.Corruption: grpc.StatusCode.DATA_LOSS,
    e.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A non-OK as gRPC sends it: ``details`` is the value of the ``grpc-status-details-bin`` trailer."""

    code: grpc.StatusCode
    message: str
    details: bytes

    @property
    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        return ((DETAILS_KEY, self.details),)


async def settle(work: Awaitable[T], method: str) -> T | Failure:
    """What ``work`` returns, or the Failure its error stands for. Cancellation passes through."""
    try:
        return await work
    except e.MemdError as exc:
        if STATUS.get(type(exc)) is not grpc.StatusCode.INTERNAL:
            return failure(exc)
        return unexpected(exc, method)
    except Exception as exc:  # noqa: BLE001 - the one place that turns any fault into a status
        return unexpected(exc, method)


def failure(error: e.MemdError) -> Failure:
    """One ErrorInfo always; BadRequest where a field is at fault, RetryInfo where waiting helps."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, e.InvalidArgument) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    wait_s = _retry_after_s(error)
    if wait_s > 0:
        details.append(error_details_pb2.RetryInfo(retry_delay=_duration(wait_s)))
    return _pack(code_of(error), error.message, details)


def unexpected(exc: BaseException, method: str) -> Failure:
    """INTERNAL with a fixed text and an error id; where it happened goes to the log under that id."""
    error_id = secrets.token_hex(8)
    log.error("call failed", exc_info=exc, extra={"fields": {"method": method, "error_id": error_id}})
    message = f"internal error; the daemon's log has it under error id {error_id}"
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN, metadata={"error_id": error_id})
    return _pack(grpc.StatusCode.INTERNAL, message, [info])


def code_of(error: e.MemdError) -> grpc.StatusCode:
    """The row of the error's class, or of the nearest class above it."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _retry_after_s(error: e.MemdError) -> float:
    if isinstance(error, e.LimitExceeded | e.Unavailable):
        return error.retry_after_s
    return 0.0


def _duration(seconds: float) -> Duration:
    micros = round(seconds * 1_000_000)
    return Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def _pack(code: grpc.StatusCode, message: str, details: list[Message]) -> Failure:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return Failure(code, message, status.SerializeToString())
