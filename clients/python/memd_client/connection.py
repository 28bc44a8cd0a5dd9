"""What both clients know about their connection: target, credential, channel options, stubs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from memd_client import address as addresses
from memd_client._proto.v1.admin_service_pb2_grpc import AdminServiceStub
from memd_client._proto.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub
from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceStub
from memd_client._proto.v1.procedure_service_pb2_grpc import ProcedureServiceStub
from memd_client._proto.v1.session_service_pb2_grpc import SessionServiceStub
from memd_client.errors import InvalidArgument
from memd_client.retry import RetryPolicy

DEFAULT_TIMEOUT_S = 5.0
KEEPALIVE_MS = 30_000

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # memd_client.retry does it, within the call's deadline and with one request_id
    ("grpc.enable_retries", 0),
    # each client has its own connection, as its constructor suggests
    ("grpc.use_local_subchannel_pool", 1),
    # a daemon is beside its agent, never behind a web proxy
    ("grpc.enable_http_proxy", 0),
    # a restarted daemon is found again quickly: gRPC's own 1 s to 120 s are made for far servers
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # a silent stream is asked after, so that it ends (Unreachable) when the daemon's machine is gone, or the way to it; a
    # daemon of memd takes a ping every ten seconds
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where and as whom calls go. ``metadata`` goes with every call."""

    address: str
    target: str
    metadata: tuple[tuple[str, str], ...]
    timeout_s: float
    retry: RetryPolicy


class HealthStub:
    """Stub of ``grpc.health.v1.Health``, without its package: the wrappers have the same wire form."""

    def __init__(self, channel: Any) -> None:
        self.Check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=Int32Value.FromString,
        )


STUBS: Mapping[str, Callable[[Any], object]] = {
    "MemoryService": MemoryServiceStub,
    "SessionService": SessionServiceStub,
    "ProcedureService": ProcedureServiceStub,
    "CheckpointService": CheckpointServiceStub,
    "AdminService": AdminServiceStub,
    "Health": HealthStub,
}


def connection(
    address: str | None, token: str | None, token_file: str | Path | None, timeout_s: float, retry: RetryPolicy
) -> Connection:
    """Check the constructor's arguments. InvalidArgument for a bad one, OSError for an unreadable token file."""
    if token is not None and token_file is not None:
        raise InvalidArgument("give token or token_file, not both", field="token")
    if token_file is not None:
        token = Path(token_file).read_text(encoding="utf-8").strip()
    chosen = address or addresses.default_address()
    return Connection(
        address=chosen,
        target=addresses.target(chosen),
        metadata=() if token is None else (("authorization", f"Bearer {_checked(token)}"),),
        timeout_s=checked_timeout(timeout_s),
        retry=retry,
    )


def _checked(token: str) -> str:
    if not token or not all("!" <= c <= "~" for c in token):
        raise InvalidArgument("a token is printable ASCII without spaces", field="token")
    return token


def checked_timeout(timeout_s: float) -> float:
    """The timeout, positive and finite: a call without a deadline can hang for ever."""
    if not 0 < timeout_s < float("inf"):
        raise InvalidArgument("a timeout is a positive number of seconds", field="timeout_s")
    return timeout_s
