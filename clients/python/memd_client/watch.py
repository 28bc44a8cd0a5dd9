"""Watching memories: a stream that is begun anew, where it ended, when the daemon goes away and comes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import grpc.aio

from memd_client import errors
from memd_client.calls import memories
from memd_client.calls.call import Call
from memd_client.connection import Connection
from memd_client.filters import Expr
from memd_client.retry import pause_s
from memd_client.streams import END
from memd_client.types import MemoryChange, Position, Scope

_Told = tuple[Position, MemoryChange | None]


class _Watching:
    """What both have: where they are, and whether another try is to be made."""

    def __init__(
        self,
        open_stream: Callable[[Call[_Told]], Any],
        connection: Connection,
        scope: Scope,
        after: Position | None,
        filter: Expr | None,
        all_users: bool,
    ) -> None:
        self._open = open_stream
        self._connection = connection
        self._scope = scope
        self._filter = filter
        self._all_users = all_users
        self._stream: Any = None
        self._tried = 0
        self._deadline_s = 0.0
        self._closed = False
        self.position = after
        """Where to go on: of the last change that was handed out, or a later one without news."""

    def _call(self) -> Call[_Told]:
        return memories.watch(self._scope, self.position, self._filter, all_users=self._all_users)

    def _took(self, message: Any) -> MemoryChange | None:
        self._tried = 0
        self.position, change = self._call().parse(message)
        return change

    def _pause(self, exc: Any) -> float:
        """Seconds before the next try; raises the error when there is to be none."""
        self._stream = None
        error = errors.from_status(exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address)
        now_s = time.monotonic()
        if not self._tried:
            self._deadline_s = now_s + self._connection.timeout_s
        self._tried += 1
        pause = pause_s(self._connection.retry, error, self._tried, self._deadline_s - now_s, random.random())
        if pause is None:
            raise error from exc
        return pause


class Watch(_Watching):
    """Iterates over ``MemoryChange``, waiting for the next; ends with ``close`` (from any thread), or with an error of
    ``memd_client.errors`` after which ``position`` says where to go on."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MemoryChange:
        while not self._closed:
            try:
                if self._stream is None:
                    self._stream = self._open(self._call())
                change = self._took(next(self._stream))
            except grpc.RpcError as exc:
                if self._closed:
                    break
                time.sleep(self._pause(exc))
            else:
                if change is not None:
                    return change
        raise StopIteration

    def close(self) -> None:
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncWatch(_Watching):
    """As ``Watch``, for ``async for``."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MemoryChange:
        while not self._closed:
            try:
                if self._stream is None:
                    self._stream = self._open(self._call())
                message = await self._stream.read()
            except grpc.aio.AioRpcError as exc:
                await asyncio.sleep(self._pause(exc))
                continue
            if message is END:
                self._stream = None
                continue
            change = self._took(message)
            if change is not None:
                return change
        raise StopAsyncIteration

    def close(self) -> None:
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
