"""What a call can raise, told apart by what the caller should do next.

Every error is rebuilt from the stable ``reason`` that the daemon sends in a ``google.rpc.ErrorInfo``, never from the
text::

    MemdError
    ├── InvalidArgument           fix the call; .field names the offending request field
    │   ├── RequestIdReused       the request_id was already used for another body
    │   └── IdempotencyKeyReused  the step's key was already used for another step or input
    ├── NotFound
    ├── AlreadyExists
    ├── VersionConflict           re-read, redo the step; .current_version is what is stored now
    ├── Forgotten                 the scope was forgotten while this write was in flight; do not write it again
    ├── StepTaken                 the lease of the step is over or somebody else's: begin it again
    ├── WrongState                do not retry
    │   ├── ModelMismatch
    │   └── SchemaTooNew
    ├── LimitExceeded             back off for .retry_after_s; 0: waiting does not help
    ├── Unavailable               nothing was done, or it is safe to send the same call with the same request_id again;
    │   │                         raised only when the retries ran out of time
    │   ├── Unreachable           no daemon answered at .address, or the connection was lost
    │   ├── NotReady
    │   ├── StoreBusy
    │   │   └── StoreFull
    │   ├── ReplicaStale
    │   ├── ModelUnavailable
    │   └── ShuttingDown
    ├── DeadlineExceeded          a write may still have been applied
    ├── Cancelled
    ├── Unauthenticated
    ├── PermissionDenied
    ├── Corruption                tell the operator
    ├── Unimplemented             this daemon does not serve that call
    └── Internal                  report it with .metadata["error_id"]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "memd"


class MemdError(Exception):
    """Root of everything this package raises on purpose.

    ``reason`` is the stable word of the daemon, ``metadata`` the extra facts it sent, ``retry_after_s`` how long it asked
    to wait (0: it did not).
    """

    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        if reason:
            self.reason = reason


class InvalidArgument(MemdError):
    """The request can never succeed as sent; ``field`` is the dotted path of the offending request field."""

    reason = "INVALID_ARGUMENT"


class RequestIdReused(InvalidArgument):
    """A ``request_id`` that was already used for a request with another body."""

    reason = "REQUEST_ID_REUSED"


class IdempotencyKeyReused(InvalidArgument):
    """A step's idempotency key that was already used for another step or with another input."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class NotFound(MemdError):
    """It is not there, or it belongs to somebody else."""

    reason = "NOT_FOUND"


class AlreadyExists(MemdError):
    """Something with this id is there already."""

    reason = "ALREADY_EXISTS"


class VersionConflict(MemdError):
    """Compare-and-set lost."""

    reason = "VERSION_CONFLICT"

    @property
    def current_version(self) -> int:
        """What is stored now; 0 means nothing is."""
        return int(self.metadata.get("current_version", "0"))


class Forgotten(MemdError):
    """The scope was forgotten while this write was in flight; it was not stored."""

    reason = "FORGOTTEN"


class StepTaken(MemdError):
    """The lease of the step is over, or somebody else has it; nothing was recorded."""

    reason = "STEP_TAKEN"


class WrongState(MemdError):
    """The call is well formed, but the store is not in a state that allows it."""

    reason = "WRONG_STATE"


class ModelMismatch(WrongState):
    """The store was written with another embedding model."""

    reason = "MODEL_MISMATCH"


class SchemaTooNew(WrongState):
    """The store was written by a newer memd."""

    reason = "SCHEMA_TOO_NEW"


class PositionLost(WrongState):
    """The daemon's change log does not reach back to where a watch wants to go on: list the memories anew."""

    reason = "POSITION_LOST"


class ConfirmationNeeded(WrongState):
    """What was asked for would delete so much that it has to be asked for once more, with the field the error names."""

    reason = "CONFIRMATION_NEEDED"


class LimitExceeded(MemdError):
    """A bound on load or stock was hit."""

    reason = "LIMIT_EXCEEDED"


class Unavailable(MemdError):
    """Not now; the same call with the same ``request_id`` may be sent again."""

    reason = "UNAVAILABLE"


class Unreachable(Unavailable):
    """No daemon answered at ``address``, or the connection was lost before the reply."""

    reason = "UNREACHABLE"

    @property
    def address(self) -> str:
        """The address that was tried."""
        return self.metadata.get("address", "")


class NotReady(Unavailable):
    """The daemon is still starting, or has not yet seen the ``min_seq`` that was asked for."""

    reason = "NOT_READY"


class StoreBusy(Unavailable):
    """The store refused for now."""

    reason = "STORE_BUSY"


class StoreFull(StoreBusy):
    """The disk is full: nothing was written, reads go on."""

    reason = "STORE_FULL"


class ReplicaStale(Unavailable):
    """The daemon has been cut off from its server for too long to answer from its copy."""

    reason = "REPLICA_STALE"


class ModelUnavailable(Unavailable):
    """The embedding model is missing or broken; whatever needs no embedding still works."""

    reason = "MODEL_UNAVAILABLE"


class ShuttingDown(Unavailable):
    """The daemon is stopping."""

    reason = "SHUTTING_DOWN"


class DeadlineExceeded(MemdError):
    """The deadline passed first. A write may still have been applied."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(MemdError):
    """The call was cancelled."""

    reason = "CANCELLED"


class Unauthenticated(MemdError):
    """No token, or one the daemon does not know."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(MemdError):
    """The token does not allow this."""

    reason = "PERMISSION_DENIED"


class Corruption(MemdError):
    """Stored bytes do not mean what they must. The operator has to look."""

    reason = "CORRUPTION"


class Unimplemented(MemdError):
    """This daemon does not serve that call."""

    reason = "UNIMPLEMENTED"


class Internal(MemdError):
    """A fault of the daemon; ``metadata["error_id"]`` finds it in the daemon's log."""

    reason = "INTERNAL"


def _tree(root: type[MemdError]) -> list[type[MemdError]]:
    return [c for sub in root.__subclasses__() for c in (sub, *_tree(sub))]


BY_REASON: Mapping[str, type[MemdError]] = {c.reason: c for c in _tree(MemdError)}

BY_CODE: Mapping[grpc.StatusCode, type[MemdError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: VersionConflict,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.DATA_LOSS: Corruption,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}

_DROPPED = "CANCELLED"
"""gRPC's own text for a call that the other side cancelled without an answer; what is cancelled here has another."""


@dataclasses.dataclass(slots=True)
class _Details:
    """What the daemon said beside code and text."""

    reason: str = ""
    field: str = ""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    retry_after_s: float = 0.0


def from_status(
    code: grpc.StatusCode, message: str | None, trailers: Iterable[Any] | None, *, address: str = ""
) -> MemdError:
    """The error for a non-OK status.

    ``trailers`` is the trailing metadata, (key, value) pairs. The class follows the reason; an unknown reason (a newer
    daemon) or none at all (gRPC itself, a proxy) falls back to the code. UNAVAILABLE without a reason comes from the
    connection: Unreachable. CANCELLED without a reason and in gRPC's own words comes from a daemon that stops: its
    server drops the calls it had received and not yet begun, and those that took too long. ShuttingDown.
    """
    details = _read_details(trailers or ())
    kind = BY_REASON.get(details.reason) or BY_CODE.get(code, Internal)
    text = message or code.name
    if code is grpc.StatusCode.UNAVAILABLE and not details.reason:
        kind, text = Unreachable, f"no memd answered at {address}"
        details.metadata["address"] = address
    if code is grpc.StatusCode.CANCELLED and not details.reason and message == _DROPPED:
        kind = ShuttingDown
    return kind(
        text,
        reason=details.reason,
        field=details.field,
        metadata=details.metadata,
        retry_after_s=details.retry_after_s,
    )


def _read_details(trailers: Iterable[Any]) -> _Details:
    details = _Details()
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            _fill(details, value)
    return details


def _fill(details: _Details, encoded: bytes) -> None:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    try:
        for packed in status_pb2.Status.FromString(encoded).details:
            if packed.Unpack(info) and info.domain == ERROR_DOMAIN:
                details.reason = info.reason
                details.metadata = dict(info.metadata)
            elif packed.Unpack(bad_request) and bad_request.field_violations:
                details.field = bad_request.field_violations[0].field
            elif packed.Unpack(retry):
                details.retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    except DecodeError:
        return  # not ours: code and text remain
