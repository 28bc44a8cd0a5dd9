"""gRPC servers with memd's bounds: the one that serves memd.v1, and one for health probes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from memd_client._proto.v1 import (
    admin_service_pb2,
    checkpoint_service_pb2,
    memory_service_pb2,
    procedure_service_pb2,
    session_service_pb2,
)

from memd.limits import MAX_CONCURRENT_STREAMS, MAX_HEADER_BYTES, MAX_MESSAGE_BYTES

_FILES = (
    memory_service_pb2,
    session_service_pb2,
    procedure_service_pb2,
    checkpoint_service_pb2,
    admin_service_pb2,
)
SERVICES: dict[str, ServiceDescriptor] = {
    service.name: service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
}
"""Every service of the contract by its short name."""

KEEPALIVE_MS = 30_000
MIN_PING_INTERVAL_MS = 10_000
MAX_PING_STRIKES = 2
_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_HEADER_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
)


class Health:
    """grpc.health.v1: NOT_SERVING until ``set_serving(True)``; the empty name and every service say the same."""

    def __init__(self) -> None:
        self._servicer = HealthServicer()

    async def set_serving(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if serving else states.NOT_SERVING
        for name in ("", *(service.full_name for service in SERVICES.values())):
            await self._servicer.set(name, state)

    def add_to(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)


def main_server(calls: grpc.GenericRpcHandler[bytes, bytes], health: Health, *, reflect: bool) -> grpc.aio.Server:
    """Serves memd.v1 and health, and reflection where asked for. Bind it, then start it."""
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((calls,))
    health.add_to(server)
    if reflect:
        names = (*(service.full_name for service in SERVICES.values()), "grpc.health.v1.Health")
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    return server


def health_server(health: Health) -> grpc.aio.Server:
    """Serves grpc.health.v1 alone, for probes that cannot reach the socket."""
    server = grpc.aio.server(options=_OPTIONS)
    health.add_to(server)
    return server
