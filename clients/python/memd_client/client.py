"""The synchronous client."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import grpc

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
from memd_client.streams import Stream
from memd_client.tasks import ResumableTask
from memd_client.types import Imported, Page, Position, ReembedProgress, Scope
from memd_client.watch import Watch

P = ParamSpec("P")
R = TypeVar("R")
Chunks: TypeAlias = Iterable[bytes]
T = TypeVar("T")


def _method(function: Callable[Concatenate[Scope, P], Call[R]]) -> Callable[Concatenate[Client, P], R]:
    """A method that sends the call and returns what it parses to."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._send(build(function, self._scope, *args, **kwargs))

    return documented(method, function)


def _pages(
    function: Callable[Concatenate[Scope, P], Call[Page[T]]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """A method that iterates over the items of all pages, fetching each when it is reached."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._items(build(function, self._scope, *args, **kwargs))

    return documented(method, function, lambda page: page.replace("Page", "Iterator"))


class Client(ClientBase):
    """A synchronous client of one daemon; safe to share between threads.

        with Client(user_id="ada", session_id="s1") as memd:
            memd.remember("Ada prefers tea")
            print(memd.recall("what does she drink?").context)

    Every method raises the errors of ``memd_client.errors``. UNAVAILABLE is retried until ``timeout_s`` is over, a write
    always with the same ``request_id``, so it takes effect once.
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

    def watch(self, *, after: Position | None = None, filter: Expr | None = None, all_users: bool = False) -> Watch:
        """Changes of the scope's memories as they happen, after a position or from now on.

        It survives a restart of the daemon, and may be silent for as long as nothing changes: only the first answer has a
        deadline, the client's timeout. ``PositionLost``: list the memories anew and watch from now on. To keep a copy: watch,
        then list, then apply. ``all_users``: the whole namespace; needs the admin right.
        """
        return Watch(self._transport.stream, self._connection, self._scope, after, filter, all_users)

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

    def task(self, task_id: str, *, on_doubt: OnDoubt | None = None, lease: timedelta = DEFAULT_LEASE) -> ResumableTask:
        """A task whose steps have their effect once, also over crashes: see ``ResumableTask``."""
        return ResumableTask(self._send, self._scope, task_id, StepOptions(on_doubt=on_doubt, lease=lease))

    stats = _method(admin.stats)
    namespace_settings = _method(admin.namespace_settings)
    update_namespace_settings = _method(admin.update_namespace_settings)
    verify = _method(admin.verify)
    backup = _method(admin.backup)
    run_lifecycle = _method(admin.run_lifecycle)
    health = _method(admin.health)

    def export_namespace(self) -> Iterator[bytes]:
        """The memories and procedures of the namespace, all users', and its settings, as the lines of a file, in chunks.
        Needs the admin right."""
        yield from self._transport.replies(transfers.export(self._scope))

    def import_namespace(self, chunks: Chunks, *, into: str = "") -> Imported:
        """Take the file of an export in. It may be sent again: what is there is skipped. ``into``: the name of this
        namespace, to take in a file of another one. AlreadyExists at the end when ids of the file's are others' here."""
        return self._transport.upload(transfers.import_requests(self._scope, chunks, into))

    def reembed(self, model: str) -> Iterator[ReembedProgress]:
        """Change the whole store to another installed embedding model, named by its id or precision, while it serves. How
        far it is, until it is over; it goes on when nobody listens, and calling again joins it. Needs the admin right;
        embedded storage only."""
        yield from self._transport.replies(admin.reembed(self._scope, model))

    def cancel_reembed(self) -> None:
        """Leave everything as it was. WrongState when nothing is under way any more."""
        for _ in self._transport.replies(admin.reembed(self._scope, cancel=True)):
            pass  # there is none

    def close(self) -> None:
        """Close the connection, of all views."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Closed at the end of the ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._transport = _Transport(self._connection)

    def _send(self, call: Call[R]) -> R:
        timeout_s = self._connection.timeout_s if call.timeout_s is None else checked_timeout(call.timeout_s)
        deadline = time.monotonic() + timeout_s
        tried = 0
        while True:
            try:
                return self._transport.send(call, deadline - time.monotonic())
            except errors.MemdError as error:
                tried += 1
                remaining_s = deadline - time.monotonic()
                pause = pause_s(self._connection.retry, error, tried, remaining_s, random.random())
                if pause is None:
                    raise
            time.sleep(pause)

    def _items(self, first: Call[Page[T]]) -> Iterator[T]:
        call: Call[Page[T]] | None = first
        while call is not None:
            page = self._send(call)
            yield from page.items
            call = following(call, page)


class _Transport:
    """The channel and its stubs, shared by all views of a client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = grpc.insecure_channel(connection.target, options=CHANNEL_OPTIONS)
        self._stubs: dict[str, Any] = {name: stub(self._channel) for name, stub in STUBS.items()}

    def send(self, call: Call[R], timeout_s: float) -> R:
        """One try."""
        rpc = getattr(self._stubs[call.service], call.method)
        try:
            reply = rpc(call.request, timeout=max(timeout_s, 0.0), metadata=self._connection.metadata)
        except grpc.RpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc
        return call.parse(reply)

    def stream(self, call: Call[Any]) -> Stream:
        """Its replies, as they come; the first within the client's timeout, or the call's own."""
        rpc = getattr(self._stubs[call.service], call.method)
        timeout_s = self._connection.timeout_s if call.timeout_s is None else checked_timeout(call.timeout_s)
        return Stream(rpc(call.request, metadata=self._connection.metadata), timeout_s)

    def replies(self, call: Call[R]) -> Iterator[R]:
        """Those of a stream that ends by itself."""
        stream = self.stream(call)
        try:
            for message in stream:
                yield call.parse(message)
        except grpc.RpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc
        finally:
            stream.cancel()

    def upload(self, requests: Iterator[Any]) -> Imported:
        """One try, without a deadline."""
        rpc = self._stubs["AdminService"].ImportNamespace
        try:
            return transfers.imported(rpc(requests, metadata=self._connection.metadata))
        except grpc.RpcError as exc:
            raise errors.from_status(
                exc.code(), exc.details(), exc.trailing_metadata(), address=self._connection.address
            ) from exc

    def close(self) -> None:
        """No call after this."""
        self._channel.close()
