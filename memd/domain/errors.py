"""The error tree of the domain: what can go wrong, told apart by what the caller should do next.

Adapters translate foreign errors into this tree once (``raise ... from exc``); ``rpc/status.py`` maps the tree to gRPC
codes by one table. ``reason`` is a stable upper-case word that goes over the wire; clients rebuild their exceptions from
it, so renaming one is a breaking change. Messages never contain memory text, embeddings or credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class MemdError(Exception):
    """Root of every error memd raises on purpose."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidArgument(MemdError):
    """The request can never succeed as sent. ``field`` is the dotted path of the offending request field."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.field = field


class RequestIdReused(InvalidArgument):
    """A ``request_id`` that was already used for a request with another body."""

    reason = "REQUEST_ID_REUSED"


class IdempotencyKeyReused(InvalidArgument):
    """A step's idempotency key came with another step or another input."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class NotFound(MemdError):
    reason = "NOT_FOUND"


class AlreadyExists(MemdError):
    reason = "ALREADY_EXISTS"


class VersionConflict(MemdError):
    """Compare-and-set lost. ``current_version`` is what is stored now; 0 means nothing is stored."""

    reason = "VERSION_CONFLICT"

    def __init__(self, message: str, *, current_version: int) -> None:
        super().__init__(message, metadata={"current_version": str(current_version)})
        self.current_version = current_version


class StepTaken(MemdError):
    """The lease of a step is over or somebody else's; what the caller wanted to record was not recorded."""

    reason = "STEP_TAKEN"


class WrongState(MemdError):
    """The call is well formed but the store is not in a state that allows it (another embedding model, newer schema)."""

    reason = "WRONG_STATE"


class ModelMismatch(WrongState):
    """The store was written with another embedding model than the one configured."""

    reason = "MODEL_MISMATCH"


class SchemaTooNew(WrongState):
    """The store was written by a newer memd."""

    reason = "SCHEMA_TOO_NEW"


class PositionLost(WrongState):
    """A watch wants to go on from where the change log no longer reaches, or from another history of the store."""

    reason = "POSITION_LOST"


class ConfirmationNeeded(WrongState):
    """What was asked for would delete so much that it has to be asked for twice."""

    reason = "CONFIRMATION_NEEDED"


class LimitExceeded(MemdError):
    """A bound of ``limits.py`` on load or stock was hit. ``retry_after_s`` is 0 where waiting does not help."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, message: str, *, retry_after_s: float = 0.0, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.retry_after_s = retry_after_s


AWAY_US = "away_us"
"""Metadata of Unavailable: for how many microseconds the store has been out of reach, where that is known."""


class Unavailable(MemdError):
    """Nothing was done; the same call with the same request_id may be sent again."""

    reason = "UNAVAILABLE"
    retry_after_s: ClassVar[float] = 0.1


class NotReady(Unavailable):
    """The daemon is still starting."""

    reason = "NOT_READY"


class StoreBusy(Unavailable):
    """The store refused for now: locked, full disk, I/O error before commit."""

    reason = "STORE_BUSY"


class StoreFull(StoreBusy):
    """The disk is full: nothing was written; reads go on, writes work again once there is room."""

    reason = "STORE_FULL"
    retry_after_s = 1.0


class ReplicaStale(Unavailable):
    """Postgres has been out of reach for longer than ``replica.max_stale``: what is here may no longer be true."""

    reason = "REPLICA_STALE"
    retry_after_s = 1.0


class ModelUnavailable(Unavailable):
    """The embedding model is missing, tampered with or could not be loaded; everything that needs no embedding serves."""

    reason = "MODEL_UNAVAILABLE"
    retry_after_s = 1.0


class ShuttingDown(Unavailable):
    reason = "SHUTTING_DOWN"


class DeadlineExceeded(MemdError):
    """The caller's deadline passed before the work was done. A write may still have been applied."""

    reason = "DEADLINE_EXCEEDED"


class Unauthenticated(MemdError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(MemdError):
    reason = "PERMISSION_DENIED"


class Corruption(MemdError):
    """Stored bytes do not mean what they must. The operator has to look."""

    reason = "CORRUPTION"


class ConfigError(MemdError):
    """A setting is unknown, malformed or out of range; raised before the daemon serves anything."""

    reason = "CONFIG"


class Forgotten(MemdError):
    """The scope was forgotten while this write was in flight; nothing was stored. Send it again if it is meant to stay."""

    reason = "FORGOTTEN"


class Unimplemented(MemdError):
    """The contract has this call; this daemon does not serve it."""

    reason = "UNIMPLEMENTED"
