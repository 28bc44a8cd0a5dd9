"""Streams over real gRPC: the same identity, errors and metrics as other calls, no buffer but one message, no end to a
drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from memd_client import errors
from memd_client._proto.v1 import admin_service_pb2 as ads
from memd_client._proto.v1 import memory_service_pb2 as ms

from memd.domain.errors import NotFound
from memd.metrics import Metrics
from memd.rpc import calls
from memd.rpc.calls import Call, Calls
from memd.rpc.credentials import as_local_owner
from memd.rpc.server import SERVICES, Health, main_server

WATCH = "/memd.v1.MemoryService/WatchMemories"
IMPORT = "/memd.v1.AdminService/ImportNamespace"
BIG = b"x" * (1 << 20)
STALL_S = 0.3


class Streams:
    """WatchMemories and ImportNamespace that do what the test says."""

    def __init__(self, behave: Callable[..., Any]) -> None:
        self._behave = behave

    async def WatchMemories(self, request: ms.WatchMemoriesRequest, call: Call) -> AsyncGenerator[bytes, None]:
        async for item in self._behave():
            yield item

    async def ImportNamespace(self, requests: AsyncIterator[Any], call: Call) -> ads.ImportNamespaceResponse:
        imported: int = await self._behave(requests)
        return ads.ImportNamespaceResponse(imported=imported)


@asynccontextmanager
async def served(behave: Callable[..., Any], metrics: Metrics | None = None) -> AsyncIterator[tuple[Any, Calls]]:
    servicer = Streams(behave)
    services = {SERVICES["MemoryService"]: servicer, SERVICES["AdminService"]: servicer}
    handlers = Calls(services, as_local_owner, metrics or Metrics(), stall_s=STALL_S)
    server = main_server(handlers, Health(), reflect=False)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, handlers
    finally:
        await server.stop(None)


async def _read(stream: Any) -> tuple[list[bytes], errors.MemdError | None]:
    found: list[bytes] = []
    try:
        async for item in stream:
            found.append(item)
    except grpc.aio.AioRpcError as exc:
        return found, errors.from_status(exc.code(), exc.details(), exc.trailing_metadata())
    return found, None


async def test_what_was_sent_before_an_error_arrives_and_then_the_error() -> None:
    async def behave() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        raise NotFound("no more")

    metrics = Metrics()
    async with served(behave, metrics) as (channel, _):
        found, error = await _read(channel.unary_stream(WATCH)(b""))
    assert found == [b"one", b"two"]
    assert isinstance(error, errors.NotFound)


async def test_a_client_stream_is_read_as_it_comes() -> None:
    async def behave(requests: AsyncIterator[ads.ImportNamespaceRequest]) -> int:
        return sum([len(request.chunk) async for request in requests])

    async with served(behave) as (channel, _):
        sent = (ads.ImportNamespaceRequest(chunk=b"abc").SerializeToString() for _ in range(5))
        raw = await channel.stream_unary(IMPORT)(sent)
    assert ads.ImportNamespaceResponse.FromString(raw).imported == 15


async def test_a_reader_that_reads_nothing_is_cut_and_no_more_is_made_for_it() -> None:
    made = 0
    ended = asyncio.Event()

    async def behave() -> AsyncIterator[bytes]:
        nonlocal made
        try:
            while True:
                made += 1
                yield BIG
        finally:
            ended.set()

    async with served(behave) as (channel, _):
        stream = channel.unary_stream(WATCH)(b"")
        await asyncio.wait_for(ended.wait(), 30)
        made_by_then = made
        found, error = await _read(stream)
    assert isinstance(error, errors.LimitExceeded)
    assert "read nothing" in error.message
    assert len(found) <= made_by_then == made < 64


async def test_a_sender_that_sends_nothing_is_cut() -> None:
    async def behave(requests: AsyncIterator[ads.ImportNamespaceRequest]) -> int:
        return sum([1 async for _ in requests])

    async with served(behave) as (channel, _):
        call = channel.stream_unary(IMPORT)()
        await call.write(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_drain_ends_streams_at_once_and_begins_no_more() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def behave() -> AsyncIterator[bytes]:
        try:
            yield b"here"
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with served(behave) as (channel, handlers):
        reading = asyncio.ensure_future(_read(channel.unary_stream(WATCH)(b"")))
        await began.wait()
        handlers.end_streams()
        found, error = await reading
        assert found == [b"here"]
        assert isinstance(error, errors.ShuttingDown)
        assert ended.is_set()
        _, late = await _read(channel.unary_stream(WATCH)(b""))
        assert isinstance(late, errors.ShuttingDown)
        assert handlers.in_flight == 0


async def test_the_deadline_of_the_caller_ends_a_stream() -> None:
    async def behave() -> AsyncIterator[bytes]:
        yield b"here"
        await asyncio.Event().wait()

    async with served(behave) as (channel, _handlers):
        found, error = await _read(channel.unary_stream(WATCH)(b"", timeout=0.3))
        assert found == [b"here"]
        assert isinstance(error, errors.DeadlineExceeded)


async def test_streams_have_a_bound_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_STREAMS", 1)
    began = asyncio.Event()

    async def behave() -> AsyncIterator[bytes]:
        began.set()
        yield b"here"
        await asyncio.Event().wait()

    async with served(behave) as (channel, _):
        first = channel.unary_stream(WATCH)(b"")
        await began.wait()
        _, error = await _read(channel.unary_stream(WATCH)(b""))
        assert isinstance(error, errors.LimitExceeded)
        first.cancel()
