"""Streams of replies. The first reply has a deadline: who is asked answers at once. After it a stream may be silent for as
long as it likes, and a daemon that is gone is found out by the connection (``CHANNEL_OPTIONS``)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import grpc
import grpc.aio

from memd_client import errors

END: Any = vars(grpc.aio)["EOF"]  # the type stubs do not know it


class Stream:
    """Iterates over the replies. DeadlineExceeded when the first is not there within ``timeout_s``, else gRPC's errors."""

    def __init__(self, replies: Any, timeout_s: float) -> None:
        self._replies = replies
        self._timeout_s = timeout_s
        self._begun = False
        self._late = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._replies) if self._begun else self._first()

    def _first(self) -> Any:
        timer = threading.Timer(self._timeout_s, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            reply = next(self._replies)
        except grpc.RpcError as exc:
            if self._late:
                raise _too_late(self._timeout_s) from exc
            raise
        finally:
            timer.cancel()
        self._begun = True
        return reply

    def _give_up(self) -> None:
        self._late = True
        self._replies.cancel()

    def cancel(self) -> None:
        """From any thread."""
        self._replies.cancel()


class AsyncStream:
    """As ``Stream``; ``read`` gives END after the last reply."""

    def __init__(self, replies: Any, timeout_s: float) -> None:
        self._replies = replies
        self._timeout_s = timeout_s
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        reply = await self.read()
        if reply is END:
            raise StopAsyncIteration
        return reply

    async def read(self) -> Any:
        if self._begun:
            return await self._replies.read()
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                reply = await self._replies.read()
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            self._replies.cancel()
            raise _too_late(self._timeout_s) from exc
        self._begun = True
        return reply

    def cancel(self) -> None:
        self._replies.cancel()


def _too_late(timeout_s: float) -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded(f"no first reply within {timeout_s:g} s")
