"""The first reply of a stream has a deadline, what follows has none: a real server that is silent where it is
told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from memd_client import AsyncClient, Client, Position, errors
from memd_client._proto.v1 import memory_service_pb2 as pb

TIMEOUT_S = 0.3
POSITION, DELETE = pb.WatchMemoriesResponse.CHANGE_POSITION, pb.WatchMemoriesResponse.CHANGE_DELETE
LONGER_S = 4 * TIMEOUT_S
Behaviour = Callable[[], AsyncIterator[pb.WatchMemoriesResponse]]


@asynccontextmanager
async def served(behave: Behaviour) -> AsyncIterator[str]:
    async def watch(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        async for message in behave():
            yield message.SerializeToString()

    server = grpc.aio.server()
    handlers = {"WatchMemories": grpc.unary_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("memd.v1.MemoryService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def silent() -> AsyncIterator[pb.WatchMemoriesResponse]:
    await asyncio.Event().wait()
    yield pb.WatchMemoriesResponse()


async def at_first_then_later() -> AsyncIterator[pb.WatchMemoriesResponse]:
    yield pb.WatchMemoriesResponse(change=POSITION, resume_seq=1)
    await asyncio.sleep(LONGER_S)
    yield pb.WatchMemoriesResponse(change=DELETE, resume_seq=2, seq=2, memory_id="m")


async def test_no_first_reply_in_time() -> None:
    async with served(silent) as address:
        async with AsyncClient(address, timeout_s=TIMEOUT_S) as client:
            with pytest.raises(errors.DeadlineExceeded, match="no first reply"):
                await anext(client.watch(after=Position(0)))
        with Client(address, timeout_s=TIMEOUT_S) as sync, pytest.raises(errors.DeadlineExceeded):
            await asyncio.to_thread(next, sync.watch(after=Position(0)))


async def test_a_stream_that_has_begun_may_be_silent() -> None:
    async with served(at_first_then_later) as address:
        async with AsyncClient(address, timeout_s=TIMEOUT_S) as client:
            assert (await anext(client.watch(after=Position(0)))).memory_id == "m"
        with Client(address, timeout_s=TIMEOUT_S) as sync:
            assert (await asyncio.to_thread(next, sync.watch(after=Position(0)))).memory_id == "m"
