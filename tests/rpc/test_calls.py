"""What stands around every handler, over real gRPC: errors are well formed, load and time are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from memd_client._proto.v1 import memory_service_pb2 as ms

from memd import limits
from memd.metrics import Metrics
from memd.rpc import calls
from memd.rpc.calls import Call, Calls
from memd.rpc.credentials import as_local_owner
from memd.rpc.server import SERVICES, Health, main_server

GET = "/memd.v1.MemoryService/GetMemory"


class Servicer:
    """A MemoryService whose GetMemory does what the test says."""

    def __init__(self, behave: Callable[[Call], Any]) -> None:
        self._behave = behave

    async def GetMemory(self, request: ms.GetMemoryRequest, call: Call) -> ms.GetMemoryResponse:
        reply = await self._behave(call)
        return reply if isinstance(reply, ms.GetMemoryResponse) else ms.GetMemoryResponse()


@asynccontextmanager
async def served(behave: Callable[[Call], Any], metrics: Metrics | None = None) -> AsyncIterator[Any]:
    handlers = Calls({SERVICES["MemoryService"]: Servicer(behave)}, as_local_owner, metrics or Metrics())
    server = main_server(handlers, Health(), reflect=False)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def _unary(channel: Any, method: str = GET) -> Any:
    return channel.unary_unary(method)


async def _failure(pending: Any) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pending
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]
    raw = trailers["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    kinds = [detail.TypeName().rpartition(".")[2] for detail in status.details]
    assert kinds.count("ErrorInfo") == 1
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert info.domain == "memd"
    assert status.code == caught.value.code().value[0]
    return caught.value.code(), info, kinds


async def _nothing(call: Call) -> None:
    return None


async def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    async with served(_nothing) as channel:
        code, info, _ = await _failure(_unary(channel)(b"\xff\xff\xff"))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


@pytest.mark.parametrize("method", ["/memd.v1.MemoryService/Dream", "/memd.v1.Nothing/X"])
async def test_what_the_contract_does_not_have_is_unimplemented(method: str) -> None:
    async with served(_nothing) as channel:
        code, info, _ = await _failure(_unary(channel, method)(b""))
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


async def test_what_streams_and_is_not_served_says_so() -> None:
    async with served(_nothing) as channel:
        stream = channel.unary_stream("/memd.v1.MemoryService/WatchMemories")(b"")

        async def read() -> None:
            async for _ in stream:
                pass

        code, info, _ = await _failure(read())
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


async def test_a_bug_shows_nothing_of_itself() -> None:
    async def broken(call: Call) -> None:
        raise ValueError("CANARY")

    async with served(broken) as channel:
        code, info, _ = await _failure(_unary(channel)(b""))
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "CANARY" not in str(info)


async def test_a_call_without_a_deadline_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "DEFAULT_DEADLINE_S", 0.1)

    async def slow(call: Call) -> None:
        await asyncio.sleep(60)

    async with served(slow) as channel:
        code, info, _ = await _failure(_unary(channel)(b""))
    assert (code, info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_a_longer_deadline_than_the_cap_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_DEADLINE_S", 40.0)
    seen: list[float] = []

    async def look(call: Call) -> None:
        seen.append(call.remaining_s())

    async with served(look) as channel:
        await _unary(channel)(b"", timeout=3_600)
        await _unary(channel)(b"", timeout=20)
    assert 20 < seen[0] <= 40
    assert 0 < seen[1] <= 21  # the header rounds up


async def test_a_timeout_inside_a_handler_is_a_bug_not_a_deadline() -> None:
    async def broken(call: Call) -> None:
        raise TimeoutError

    async with served(broken) as channel:
        code, _, _ = await _failure(_unary(channel)(b"", timeout=5))
    assert code is grpc.StatusCode.INTERNAL


async def test_too_many_calls_are_refused_at_once_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CONCURRENT_CALLS", 2)
    release, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(call: Call) -> None:
        begun.release()
        await release.wait()

    async with served(wait) as channel:
        held = [asyncio.ensure_future(_unary(channel)(b"")) for _ in range(2)]
        await begun.acquire()
        await begun.acquire()
        code, info, kinds = await _failure(_unary(channel)(b"", timeout=5))
        release.set()
        await asyncio.gather(*held)
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert "RetryInfo" in kinds


async def test_a_reply_over_the_message_bound_is_an_error_that_says_so() -> None:
    async def huge(call: Call) -> ms.GetMemoryResponse:
        reply = ms.GetMemoryResponse()
        reply.memory.content = "x" * (limits.MAX_MESSAGE_BYTES + 1)
        return reply

    async with served(huge) as channel:
        code, info, _ = await _failure(_unary(channel)(b""))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(info.metadata["reply_bytes"]) > limits.MAX_MESSAGE_BYTES


async def test_a_cancelled_call_is_cancelled_inside_and_leaves_the_count() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(call: Call) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with served(wait) as channel:
        pending = _unary(channel)(b"")
        await begun.wait()
        pending.cancel()
        await asyncio.wait_for(ended.wait(), 1)


async def test_calls_are_counted_by_method_and_code_and_unknown_methods_share_a_name() -> None:
    metrics = Metrics()
    async with served(_nothing, metrics) as channel:
        await _unary(channel)(b"")
        for name in ("A", "B"):
            await _failure(_unary(channel, f"/memd.v1.MemoryService/{name}")(b""))
    assert sorted(metrics.calls) == [(GET, "OK"), ("/memd.v1.unknown", "UNIMPLEMENTED")]
