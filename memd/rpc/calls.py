"""What stands around every handler: identity, right, deadline, load, errors, metrics. A handler sees none of it.

A call has one of three forms. Unary: a coroutine method. Server-streaming: an async generator method, whose items go out
one by one, each when the reader has room for it. Client-streaming: a coroutine method that is given an iterator of the
requests. A stream has a cap and a place of its own, ends with SHUTTING_DOWN as soon as the daemon drains (it could outlast
any grace), and is cut when its other end stands still for STREAM_STALL_S.

Handlers are wrapped once, at registration: interceptors would cost a coroutine and a handler object per call each.
Requests are parsed and replies serialised here, so that malformed bytes and oversized replies get a proper error too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from memd_client._proto.v1 import common_pb2 as pb

from memd.domain.errors import DeadlineExceeded, InvalidArgument, LimitExceeded, ShuttingDown, Unimplemented
from memd.domain.identity import Caller, Right
from memd.domain.model import RequestKey, Scope
from memd.domain.visibility import resolve_scope
from memd.limits import (
    DEFAULT_DEADLINE_S,
    MAX_BULK_DEADLINE_S,
    MAX_CONCURRENT_CALLS,
    MAX_DEADLINE_S,
    MAX_MESSAGE_BYTES,
    MAX_STREAM_S,
    MAX_STREAMS,
    STREAM_STALL_S,
)
from memd.ports import TierAnswer
from memd.rpc import checks, convert_common
from memd.rpc.authorise import authorise, require
from memd.rpc.page_tokens import Pager
from memd.rpc.request_keys import request_key
from memd.rpc.status import Failure, settle

T = TypeVar("T")
Handler: TypeAlias = Callable[[Any, "Call"], Awaitable[Message | bytes]]
"""Bytes are a reply that was serialised already."""
StreamHandler: TypeAlias = Callable[[Any, "Call"], AsyncGenerator[Message | bytes, None]]
"""Many replies to one request."""
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

OVERLOAD_RETRY_S = 0.1
_BULK = frozenset({"Remember", "Forget", "Verify", "RunLifecycle", "Backup"})
_PACKAGE = "/memd.v1."
if TYPE_CHECKING:
    _GenericHandler: TypeAlias = grpc.GenericRpcHandler[bytes, bytes]
else:
    _GenericHandler = grpc.GenericRpcHandler


class Authenticate(Protocol):
    def __call__(self, metadata: Metadata) -> Caller:
        """Who calls, by the metadata of the call; Unauthenticated when it does not tell."""


class CallMetrics(Protocol):
    """Where calls, and the tiers of a Recall, are counted."""

    def finished(self, method: str, code: str, seconds: float) -> None: ...

    def recalled(self, answers: Iterable[TierAnswer]) -> None: ...


@dataclass(slots=True)
class Call:
    """One call as a handler sees it."""

    method: str
    caller: Caller
    deadline: float

    def remaining_s(self) -> float:
        """Seconds until the deadline, the caller's or the daemon's cap, whichever is nearer."""
        return self.deadline - asyncio.get_running_loop().time()

    def scope(self, asked: pb.Scope) -> Scope:
        """What the request asks for, narrowed to what the credential allows."""
        return resolve_scope(self.caller, convert_common.scope(asked))

    def session(self, asked: pb.Scope) -> Scope:
        """The same, where a session is required."""
        scope = self.scope(asked)
        checks.identifier(scope.session_id, "scope.session_id")
        return scope

    def require(self, right: Right) -> None:
        require(self.caller, right)

    def request_key(self, request: Message, scope: Scope) -> RequestKey | None:
        return request_key(self.method, request, scope)

    def pager(self, request: Message, scope: Scope) -> Pager:
        return Pager(self.method, request, scope)


class Calls(_GenericHandler):
    """All RPCs of memd.v1: those the servicers have, and UNIMPLEMENTED for the rest of the contract.

    ``servicers``: service descriptor to an object with a method per served RPC, named like it. ``stall_s``: how long the
    other end of a stream may stand still.
    """

    def __init__(
        self,
        servicers: Mapping[ServiceDescriptor, object],
        authenticate: Authenticate,
        metrics: CallMetrics,
        *,
        stall_s: float = STREAM_STALL_S,
    ) -> None:
        self._authenticate = authenticate
        self._metrics = metrics
        self._stall_s = stall_s
        self._in_flight = 0
        self._streams: set[asyncio.Timeout] = set()
        self._stopping = False
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._bind(method, getattr(servicer, method.name, None))
            for service, servicer in servicers.items()
            for method in service.methods
        }
        # one name for all of them: a metric label must not be the client's to choose
        self._unknown = grpc.unary_unary_rpc_method_handler(self._unary(f"{_PACKAGE}unknown", None, None))

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        handler = self._handlers.get(method)
        return self._unknown if handler is None and method.startswith(_PACKAGE) else handler

    def end_streams(self) -> None:
        """Streams end now, and none begins any more."""
        self._stopping = True
        now_s = asyncio.get_running_loop().time()
        for timeout in self._streams:
            if not timeout.expired():
                timeout.reschedule(now_s)

    def _bind(self, method: MethodDescriptor, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        name = f"/{method.containing_service.full_name}/{method.name}"
        request_class = GetMessageClass(method.input_type)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._client_streaming(name, handler, request_class))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._server_streaming(name, handler, request_class))
        return grpc.unary_unary_rpc_method_handler(self._unary(name, handler, request_class))

    def _unary(
        self, method: str, handler: Handler | None, request_class: type[Message] | None
    ) -> Callable[[Any, Any], Awaitable[bytes]]:
        cap_s = MAX_BULK_DEADLINE_S if method.rpartition("/")[2] in _BULK else MAX_DEADLINE_S

        async def serve(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return await self._settled(
                method, self._answer(method, handler, request_class, raw, context, cap_s), context
            )

        return serve

    def _server_streaming(
        self, method: str, handler: StreamHandler | None, request_class: type[Message]
    ) -> Callable[[Any, Any], Awaitable[None]]:
        async def work(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            caller, served = self._admit(method, handler, context)
            async with (
                self._stream(method, caller, context) as call,
                contextlib.aclosing(served(_parse(request_class, raw), call)) as replies,
            ):
                async for made in replies:
                    await self._moving(context.write(_serialised(made)), "read nothing")

        async def serve(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await self._settled(method, work(raw, context), context)

        return serve

    def _client_streaming(
        self, method: str, handler: Handler | None, request_class: type[Message]
    ) -> Callable[[Any, Any], Awaitable[bytes]]:
        async def requests(sent: AsyncIterator[bytes]) -> AsyncIterator[Message]:
            while (raw := await self._moving(anext(sent, None), "sent nothing")) is not None:
                yield _parse(request_class, raw)

        async def work(sent: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            caller, served = self._admit(method, handler, context)
            async with self._stream(method, caller, context) as call:
                return _serialised(await served(requests(aiter(sent)), call))

        async def serve(sent: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return await self._settled(method, work(sent, context), context)

        return serve

    async def _settled(self, method: str, work: Awaitable[T], context: grpc.aio.ServicerContext[Any, Any]) -> T:
        """What the work comes to, counted; an error as the status it stands for."""
        started = perf_counter()
        self._in_flight += 1
        code = "CANCELLED"
        try:
            outcome = await settle(work, method)
            code = outcome.code.name if isinstance(outcome, Failure) else "OK"
        finally:
            self._in_flight -= 1
            self._metrics.finished(method, code, perf_counter() - started)
        if isinstance(outcome, Failure):
            await context.abort(outcome.code, outcome.message, trailing_metadata=outcome.trailers)
        return outcome

    def _admit(
        self, method: str, handler: T | None, context: grpc.aio.ServicerContext[Any, Any], *, known: bool = True
    ) -> tuple[Caller, T]:
        """Who calls, and the handler, once there is room for the call and the right to make it."""
        if self._in_flight > MAX_CONCURRENT_CALLS:
            raise LimitExceeded("too many calls at once", retry_after_s=OVERLOAD_RETRY_S)
        caller = self._authenticate(context.invocation_metadata() or ())
        if known:
            authorise(caller, method)
        if handler is None:
            raise Unimplemented("this daemon does not serve this call")
        return caller, handler

    async def _answer(
        self,
        method: str,
        handler: Handler | None,
        request_class: type[Message] | None,
        raw: bytes,
        context: grpc.aio.ServicerContext[Any, Any],
        cap_s: float,
    ) -> bytes:
        known = request_class is not None
        caller, served = self._admit(method, handler, context, known=known)
        assert request_class is not None
        remaining_s = context.time_remaining()
        limit_s = DEFAULT_DEADLINE_S if remaining_s is None else min(remaining_s, cap_s)
        try:
            async with asyncio.timeout(limit_s) as timeout:
                call = Call(method, caller, timeout.when() or 0.0)
                return _serialised(await served(_parse(request_class, raw), call))
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            raise _too_late() from exc

    @contextlib.asynccontextmanager
    async def _stream(
        self, method: str, caller: Caller, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Call]:
        """The time a stream has: the caller's deadline, MAX_STREAM_S, or until the daemon drains."""
        if self._stopping:
            raise _draining()
        if len(self._streams) >= MAX_STREAMS:
            raise LimitExceeded("too many streams at once", retry_after_s=OVERLOAD_RETRY_S)
        remaining_s = context.time_remaining()
        try:
            async with asyncio.timeout(
                MAX_STREAM_S if remaining_s is None else min(remaining_s, MAX_STREAM_S)
            ) as timeout:
                self._streams.add(timeout)
                try:
                    yield Call(method, caller, timeout.when() or 0.0)
                finally:
                    self._streams.discard(timeout)
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            raise (_draining() if self._stopping else _too_late()) from exc

    async def _moving(self, step: Awaitable[T], stood_still: str) -> T:
        """One message, in or out. The one that goes out waits here for its reader and nothing is made meanwhile: that is
        all the buffer a stream has."""
        try:
            async with asyncio.timeout(self._stall_s) as timeout:
                return await step
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            raise LimitExceeded(
                f"the stream was cut: the client {stood_still} for {self._stall_s:g} s; go on from what it has",
                metadata={"part": "stream"},
            ) from exc


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the work was done")


def _draining() -> ShuttingDown:
    return ShuttingDown("the daemon stops; go on after its restart")


def _serialised(made: Message | bytes) -> bytes:
    reply = made if isinstance(made, bytes) else made.SerializeToString()
    if len(reply) > MAX_MESSAGE_BYTES:
        raise LimitExceeded(
            f"the reply is larger than {MAX_MESSAGE_BYTES:,} bytes: ask for less at once",
            metadata={"reply_bytes": str(len(reply))},
        )
    return reply


def _parse(request_class: type[Message], raw: bytes) -> Message:
    try:
        return request_class.FromString(raw)
    except DecodeError as exc:
        raise InvalidArgument("the request is not a message of this call") from exc
