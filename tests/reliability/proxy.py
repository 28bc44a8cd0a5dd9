"""A proxy between client and daemon that loses replies after the daemon has committed, and sends requests twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
import grpc.aio

Key: TypeAlias = tuple[str, bytes]
"""Method and request, as they are on the wire: a retry has the same."""


@dataclass(frozen=True, slots=True)
class Mischief:
    """What happens to one request: ``lost`` replies before one gets through; ``twice``: the daemon gets it once more;
    ``together``: and that at the same time."""

    lost: int = 0
    twice: bool = False
    together: bool = False


class Proxy(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves at ``address``; ``replies`` holds every reply of the daemon by request, in order."""

    def __init__(self, upstream: str, socket: Path, mischief: Callable[[], Mischief]) -> None:
        self.address = f"unix:{socket}"
        self.replies: dict[Key, list[bytes]] = defaultdict(list)
        self._upstream = upstream
        self._mischief = mischief
        self._plans: dict[Key, Mischief] = {}

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._upstream)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(self.address)
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)
        await self._channel.close(None)

    def service(self, details: Any) -> Any:
        async def handle(request: bytes, context: Any) -> bytes:
            return await self._handle((details.method, request), context)

        return grpc.unary_unary_rpc_method_handler(handle)

    async def send(self, key: Key) -> bytes:
        """To the daemon, remembering its reply."""
        method, request = key
        reply: bytes = await self._channel.unary_unary(method, bytes, bytes)(request)
        self.replies[key].append(reply)
        return reply

    async def _handle(self, key: Key, context: Any) -> bytes:
        plan = self._plans.setdefault(key, self._mischief())
        tried = len(self.replies[key])
        try:
            if plan.together:
                reply, _ = await asyncio.gather(self.send(key), self.send(key))
            else:
                reply = await self.send(key)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", error.trailing_metadata() or ())
        if tried // (1 + plan.together) < plan.lost:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost after the commit")
        if plan.twice:
            reply = await self.send(key)
        return reply
