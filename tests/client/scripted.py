"""A real gRPC server that answers what a test tells it: for what a healthy daemon does not do on demand.

It shows how the client behaves on the wire (retries, deadlines, error details); what the daemon does is shown by
``test_end_to_end.py`` against the daemon itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from memd_client.errors import DETAILS_KEY


@dataclass(frozen=True)
class Refusal:
    """A non-OK answer, built as the daemon builds it. No ``reason``: no details, as from gRPC itself."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "no"
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_path: str = ""
    retry_after_s: float = 0.0
    domain: str = "memd"

    def details(self) -> bytes:
        """The ``google.rpc.Status``."""
        parts: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
        ]
        if self.field_path:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field_path)
            parts.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.retry_after_s:
            delay = Duration()
            delay.FromMicroseconds(round(self.retry_after_s * 1e6))
            parts.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for part in parts:
            packed.append(AnyProto())
            packed[-1].Pack(part)
        made: bytes = status_pb2.Status(
            code=self.code.value[0], message=self.message, details=packed
        ).SerializeToString()
        return made


@dataclass(frozen=True)
class Silence:
    """No answer for so long."""

    seconds: float


Answer = Message | Refusal | Silence


@dataclass(frozen=True)
class Seen:
    """One call as it arrived."""

    path: str
    request: bytes
    metadata: Mapping[str, str | bytes]
    remaining_s: float
    at_s: float


class ScriptedServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Answers any call with the next answer of the script, the last one for ever; ``seen`` holds what came."""

    def __init__(self, socket: Path, answers: Iterable[Answer]) -> None:
        self.address = f"unix:{socket}"
        self.seen: list[Seen] = []
        self._answers = list(answers)
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self])
        self._server.add_insecure_port(self.address)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """One handler for every path."""

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            return self._answer(details, request, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(self, details: grpc.HandlerCallDetails, request: bytes, context: grpc.ServicerContext) -> bytes:
        remaining_s = context.time_remaining() or 0.0
        with self._lock:
            metadata = dict(details.invocation_metadata)
            self.seen.append(Seen(details.method, request, metadata, remaining_s, time.monotonic()))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Silence):
            time.sleep(answer.seconds)
            return b""
        if isinstance(answer, Refusal):
            if answer.reason:
                context.set_trailing_metadata(((DETAILS_KEY, answer.details()),))
            context.abort(answer.code, answer.message)
        return answer.SerializeToString()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(None)
