"""The asynchronous client."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import grpc
import grpc.aio

from memd_client import errors
from memd_client.base import ClientBase
from memd_client.bind import build, documented
from memd_client.calls import admin, checkpoints, memories, procedures, steps, transfers
from memd_client.calls import sessions as session
from memd_client.calls.call import Call, following
from memd_client.connection import CHANNEL_OPTIONS, STUBS, Connection, checked_timeout
from memd_client.filters import Expr
from memd_client.retry import pause_s
from memd_client.step_flow import DEFAULT_LEASE, OnDoubt, StepOptions
from memd_client.streams import AsyncStream
from memd_client.tasks import AsyncResumableTask
from memd_client.types import Imported, Page, Position, ReembedProgress, Scope
from memd_client.watch import AsyncWatch

P = ParamSpec("P")
R = TypeVar("R")
Chunks: TypeAlias = AsyncIterable[bytes]
T = TypeVar("T")


def _method(
    function: Callable[Concatenate[Scope, P], Call[R]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]]:
    """A coroutine method that sends the call and returns what it parses to."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._send(build(function, self._scope, *args, **kwargs))

    return documented(method, function)


def _pages(
    function: Callable[Concatenate[Scope, P], Call[Page[T]]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    """A method that iterates over the items of all pages, fetching each when it is reached."""

    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._items(build(function, self._scope, *args, **kwargs))

    return documented(method, function, lambda page: page.replace("Page", "AsyncIterator"))


class AsyncClient(ClientBase):
    """The same client for asyncio; used within one event loop.

    async with AsyncClient(user_id="ada", session_id="s1") as memd:
        await memd.remember("Ada prefers tea")
        print((await memd.recall("what does she drink?")).context)
        memories = [m async for m in memd.list()]
    """

    recall = _method(memories.recall)
    observe = _method(memories.observe)
    remember = _method(memories.remember)
    forget = _method(memories.forget)
    get = _method(memories.get)
    list = _pages(memories.list_page)
    list_page = _method(memories.list_page)
    update = _method(memories.update)
    revisions = _pages(memories.revisions_page)
    revisions_page = _method(memories.revisions_page)
    restore_revision = _method(memories.restore_revision)

    def watch(
        self, *, after: Position | None = None, filter: Expr | None = None, all_users: bool = False
    ) -> AsyncWatch:
        """Changes of the scope's memories as they happen, after a position or from now on.

        It survives a restart of the daemon, and may be silent for as long as nothing changes: only the first answer has a
        deadline, the client's timeout. ``PositionLost``: list the memories anew and watch from now on. To keep a copy: watch,
        then list, then apply. ``all_users``: the whole namespace; needs the admin right.
        """
        return AsyncWatch(self._transport.stream, self._connection, self._scope, after, filter, all_users)

    working_memory = _method(session.working_memory)
    clear_working_memory = _method(session.clear_working_memory)
    episodes = _pages(session.episodes_page)
    episodes_page = _method(session.episodes_page)
    sessions = _pages(session.sessions_page)
    sessions_page = _method(session.sessions_page)
    end_session = _method(session.end_session)
    update_session_settings = _method(session.update_session_settings)

    put_procedure = _method(procedures.put_procedure)
    get_procedure = _method(procedures.get_procedure)
    list_procedures = _pages(procedures.list_procedures_page)
    list_procedures_page = _method(procedures.list_procedures_page)
    delete_procedure = _method(procedures.delete_procedure)
    report_outcome = _method(procedures.report_outcome)

    save_checkpoint = _method(checkpoints.save_checkpoint)
    load_checkpoint = _method(checkpoints.load_checkpoint)
    list_checkpoints = _pages(checkpoints.list_checkpoints_page)
    list_checkpoints_page = _method(checkpoints.list_checkpoints_page)
    delete_checkpoint = _method(checkpoints.delete_checkpoint)

    begin_step = _method(steps.begin_step)
    renew_step = _method(steps.renew_step)
    complete_step = _method(steps.complete_step)
    fail_step = _method(steps.fail_step)
    list_steps = _pages(steps.list_steps_page)
    list_steps_page = _method(steps.list_steps_page)

    def task(
        self, task_id: str, *, on_doubt: OnDoubt | None = None, lease: timedelta = DEFAULT_LEASE
    ) -> AsyncResumableTask:
        """A task whose steps have their effect once, also over crashes: see ``AsyncResumableTask``."""
        return AsyncResumableTask(self._send, self._scope, task_id, StepOptions(on_doubt=on_doubt, lease=lease))

    stats = _method(admin.stats)
    namespace_settings = _method(admin.namespace_settings)
    update_namespace_settings = _method(admin.update_namespace_settings)
    verify = _method(admin.verify)
    backup = _method(admin.backup)
    run_lifecycle = _method(admin.run_lifecycle)
    health = _method(admin.health)

    async def export_namespace(self) -> AsyncIterator[bytes]:
        """The memories and procedures of the namespace, all users', and its settings, as the lines of a file, in chunks.
        Needs the admin right."""
        async for chunk in self._transport.replies(transfers.export(self._scope)):
            yield chunk

    async def import_namespace(self, chunks: Chunks, *, into: str = "") -> Imported:
        """Take the file of an export in. It may be sent again: what is there is skipped. ``into``: the name of this
        namespace, to take in a file of another one. AlreadyExists at the end when ids of the file's are others' here."""
        return await self._transport.upload(transfers.async_import_requests(self._scope, chunks, into))

    async def reembed(self, model: str) -> AsyncIterator[ReembedProgress]:
        """Change the whole store to another installed embedding model, named by its id or precision, while it serves. How
        far it is, until it is over; it goes on when nobody listens, and calling again joins it. Needs the admin right;
        embedded storage only."""
        async for progress in self._transport.replies(admin.reembed(self._scope, model)):
            yield progress

    async def cancel_reembed(self) -> None:
        """Leave everything as it was. WrongState when nothing is under way any more."""
        async for _ in self._transport.replies(admin.reembed(self._scope, cancel=True)):
            pass  # there is none

    async def close(self) -> None:
        """Close the connection, of all views."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        """Closed at the end of the ``async with`` block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> None:
        self._transport = _Transport(self._connection)

    async def _send(self, call: Call[R]) -> R:
        timeout_s = self._connection.timeout_s if call.timeout_s is None else checked_timeout(call.timeout_s)
        deadline = time.monotonic() + timeout_s
        tried = 0
        while True:
            try:
                return await self._transport.send(call, deadline - time.monotonic())
            except errors.MemdError as error:
                tried += 1
                remaining_s = deadline - time.monotonic()
                pause = pause_s(self._connection.retry, error, tried, remaining_s, random.random())
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _items(self, first: Call[Page[T]]) -> AsyncIterator[T]:
        call: Call[Page[T]] | None = first
        while call is not None:
            page = await self._send(call)
            for item in page.items:
                yield item
            call = following(call, page)


class _Transport:
    """The channel and its stubs, shared by all views of a client; opened by the first call, inside the event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[str, Any] = {}
        self._closed = False

    def _connect(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")
        self._channel = grpc.aio.insecure_channel(self._connection.target, options=CHANNEL_OPTIONS)
        self._stubs = {name: stub(self._channel) for name, stub in STUBS.items()}

    async def send(self, call: Call[R], timeout_s: float) -> R:
        """One try."""
        if self._channel is None:
            self._connect()
        rpc = getattr(self._stubs[call.service], call.method)
        try:
            reply = await rpc(call.request, timeout=max(timeout_s, 0.0), metadata=self._connection.metadata)
        except grpc.aio.AioRpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc
        return call.parse(reply)

    def stream(self, call: Call[Any]) -> AsyncStream:
        """Its replies, as they come; the first within the client's timeout, or the call's own."""
        if self._channel is None:
            self._connect()
        rpc = getattr(self._stubs[call.service], call.method)
        timeout_s = self._connection.timeout_s if call.timeout_s is None else checked_timeout(call.timeout_s)
        return AsyncStream(rpc(call.request, metadata=self._connection.metadata), timeout_s)

    async def replies(self, call: Call[R]) -> AsyncIterator[R]:
        """Those of a stream that ends by itself."""
        stream = self.stream(call)
        try:
            async for message in stream:
                yield call.parse(message)
        except grpc.aio.AioRpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc
        finally:
            stream.cancel()

    async def upload(self, requests: AsyncIterator[Any]) -> Imported:
        """One try, without a deadline."""
        if self._channel is None:
            self._connect()
        rpc = self._stubs["AdminService"].ImportNamespace
        try:
            return transfers.imported(await rpc(requests, metadata=self._connection.metadata))
        except grpc.aio.AioRpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc

    async def close(self) -> None:
        """No call after this."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(grace=None)
