"""The same bare grpc.aio channel to the daemon and to the echo: what differs between their figures is the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import grpc.aio
from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceStub
from memd_client.connection import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from memd_client._proto.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

CALL_TIMEOUT_S = 60.0


@contextlib.asynccontextmanager
async def memory_service(target: str) -> AsyncIterator[MemoryServiceAsyncStub]:
    """A stub without the client's retries and dataclasses."""
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        yield cast("MemoryServiceAsyncStub", MemoryServiceStub(channel))
