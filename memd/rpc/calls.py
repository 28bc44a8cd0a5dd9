"""What stands around every handler: identity, right, deadline, load, errors, metrics. A handler sees none of it.

Handlers are wrapped once, at registration: interceptors would cost a coroutine and a handler object per call each.
Requests are parsed and replies serialised here, so that malformed bytes and oversized replies get a proper error too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from memd_client._proto.v1 import common_pb2 as pb

from memd.domain.errors import DeadlineExceeded, InvalidArgument, LimitExceeded, Unimplemented
from memd.domain.identity import Caller, Right
from memd.domain.model import RequestKey, Scope
from memd.domain.visibility import resolve_scope
from memd.limits import (
    DEFAULT_DEADLINE_S,
    MAX_BULK_DEADLINE_S,
    MAX_CONCURRENT_CALLS,
    MAX_DEADLINE_S,
    MAX_MESSAGE_BYTES,
)
from memd.ports import TierAnswer
from memd.rpc import checks, convert_common
from memd.rpc.authorise import authorise, require
from memd.rpc.page_tokens import Pager
from memd.rpc.request_keys import request_key
from memd.rpc.status import Failure, settle

Handler: TypeAlias = Callable[[Any, "Call"], Awaitable[Message | bytes]]
"""Bytes are a reply that was serialised already."""
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

OVERLOAD_RETRY_S = 0.1
_BULK = frozenset({"Remember", "Forget", "Verify", "Backup"})
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

    ``servicers``: service descriptor to an object with a coroutine method per served RPC, named like it.
    """

    def __init__(
        self, servicers: Mapping[ServiceDescriptor, object], authenticate: Authenticate, metrics: CallMetrics
    ) -> None:
        self._authenticate = authenticate
        self._metrics = metrics
        self._in_flight = 0
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

    def _bind(self, method: MethodDescriptor, handler: Handler | None) -> grpc.RpcMethodHandler[Any, Any]:
        name = f"/{method.containing_service.full_name}/{method.name}"
        unary = self._unary(name, handler, GetMessageClass(method.input_type))
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(unary)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(_as_stream(unary))
        return grpc.unary_unary_rpc_method_handler(unary)

    def _unary(
        self, method: str, handler: Handler | None, request_class: type[Message] | None
    ) -> Callable[[Any, Any], Awaitable[bytes]]:
        cap_s = MAX_BULK_DEADLINE_S if method.rpartition("/")[2] in _BULK else MAX_DEADLINE_S
        finished = self._metrics.finished
        # a streaming request is never read here: what streams is not served yet
        served = handler if request_class is not None else None

        async def serve(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            started = perf_counter()
            self._in_flight += 1
            code = "CANCELLED"
            try:
                outcome = await settle(self._answer(method, served, request_class, raw, context, cap_s), method)
                code = outcome.code.name if isinstance(outcome, Failure) else "OK"
            finally:
                self._in_flight -= 1
                finished(method, code, perf_counter() - started)
            if isinstance(outcome, Failure):
                await context.abort(outcome.code, outcome.message, trailing_metadata=outcome.trailers)
            return outcome

        return serve

    async def _answer(
        self,
        method: str,
        handler: Handler | None,
        request_class: type[Message] | None,
        raw: bytes,
        context: grpc.aio.ServicerContext[Any, Any],
        cap_s: float,
    ) -> bytes:
        if self._in_flight > MAX_CONCURRENT_CALLS:
            raise LimitExceeded("too many calls at once", retry_after_s=OVERLOAD_RETRY_S)
        caller = self._authenticate(context.invocation_metadata() or ())
        if request_class is not None:
            authorise(caller, method)
        if handler is None or request_class is None:
            raise Unimplemented("this daemon does not serve this call")
        remaining_s = context.time_remaining()
        limit_s = DEFAULT_DEADLINE_S if remaining_s is None else min(remaining_s, cap_s)
        try:
            async with asyncio.timeout(limit_s) as timeout:
                call = Call(method, caller, timeout.when() or 0.0)
                made = await handler(_parse(request_class, raw), call)
                reply = made if isinstance(made, bytes) else made.SerializeToString()
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            raise DeadlineExceeded("the deadline passed before the work was done") from exc
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


def _as_stream(unary: Callable[[Any, Any], Awaitable[bytes]]) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    async def serve(raw: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await unary(raw, context)

    return serve
