"""Runs transactions: as which role, in which namespace, again when they lost to another one, and what became of one whose
commit got no answer.

A commit whose connection was lost may or may not have happened. Every request that changes something has a dedupe record,
under its own request_id or under one memd drew for it; so it is simply run again: it finds the record of the first run
and answers what that did, or it waits for the first run to end, on the locks that one still holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakValueDictionary

import asyncpg

from memd.adapters.postgres.connection import Connections, drop
from memd.adapters.postgres.detached import Detached
from memd.adapters.postgres.errors import CONNECTION_ERRORS, is_lost, is_repeatable, translate, translated
from memd.adapters.postgres.gate import gate_key
from memd.adapters.postgres.lookout import Lookout
from memd.adapters.postgres.model_guard import STILL
from memd.adapters.postgres.schema import APP, KEEPER, SETTING
from memd.adapters.postgres.transaction import INTERNAL, Reader, Repeat, Transaction
from memd.domain.errors import MemdError, StoreBusy
from memd.domain.model import RequestKey
from memd.limits import MAX_BULK_DEADLINE_S, POSTGRES_RETRY_S, POSTGRES_UNCLEAR_S, POSTGRES_WRITE_ATTEMPTS
from memd.ports import Clock

if TYPE_CHECKING:
    from memd.adapters.postgres.connection import Connection

T = TypeVar("T")
Write = Callable[[Transaction], Awaitable[T]]
Read = Callable[[Reader], Awaitable[T]]
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_UNCLEAR = (
    "the connection to Postgres was lost while committing: the outcome is unknown; send the same request_id again"
)
_NEVER_S = 3_600.0
_FOREIGN = (asyncpg.PostgresError, *CONNECTION_ERRORS)


class _Unclear(Exception):
    """The connection was lost during COMMIT."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What ``Database.write`` was asked for; ``key`` is the caller's, or one drawn for it."""

    namespace: str
    store: str
    key: RequestKey | None
    exclusive: bool
    mutex: int | None


class _Patience:
    """How often and how long one request is tried."""

    def __init__(self, longest_s: float) -> None:
        self._attempt = 0
        self._end = time.monotonic() + longest_s
        self._unclear_end = 0.0

    def after(self, error: BaseException) -> float:
        """Seconds to wait before the next attempt; raises memd's error when there is to be none. Once an outcome is
        unclear nothing but the answer, or time, ends it."""
        self._attempt += 1
        now = time.monotonic()
        if isinstance(error, _Unclear) and not self._unclear_end:
            self._unclear_end = now + POSTGRES_UNCLEAR_S
        if self._unclear_end and now > self._unclear_end:
            raise StoreBusy(_UNCLEAR) from error
        if not self._unclear_end:
            again = isinstance(error, Repeat) or is_lost(error) or is_repeatable(error)
            if not again or self._attempt >= POSTGRES_WRITE_ATTEMPTS or now > self._end:
                _raise(error)
        longest = POSTGRES_RETRY_S * 2 ** min(self._attempt - 1, 5)
        return random.uniform(longest / 2, longest)  # so that those who met once do not meet again


class Database:
    """``clock`` None: times are the server's."""

    def __init__(self, connections: Connections, clock: Clock | None) -> None:
        self.connections = connections
        self._clock = clock
        self._detached = Detached()
        self._lookout = Lookout(connections)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._limits = _limits(connections.settings.timeout_s)

    async def write(
        self,
        namespace: str,
        operation: Write[T],
        *,
        store: str = "",
        request: RequestKey | None = None,
        exclusive: bool = False,
        mutex: int | None = None,
    ) -> T:
        """Run ``operation`` in a transaction of the namespace and commit; it goes on when the caller is cancelled.

        With ``store`` there is a dedupe record: the operation ends with ``tx.seal(reply)``, or answers ``tx.known``.
        Without, it must be harmless to run it twice. ``exclusive``: no other write of the namespace runs meanwhile;
        ``mutex``: none with the same key (see ``gate``). It may run several times.
        """
        key = request
        if key is None and store:
            key = RequestKey(namespace, INTERNAL + secrets.token_hex(16), b"")
        return await self._detached.run(self._write(_Request(namespace, store, key, exclusive, mutex), operation))

    async def _write(self, request: _Request, operation: Write[T]) -> T:
        if request.mutex is None:
            return await self._until_done(request, operation)
        # Writers of one thing wait for each other here, not each with a connection of the pool.
        async with self._turns.setdefault(request.mutex, asyncio.Lock()):
            return await self._until_done(request, operation)

    async def _until_done(self, request: _Request, operation: Write[T]) -> T:
        patience = _Patience(self.connections.settings.timeout_s)
        while True:
            try:
                return await self._attempt(request, operation)
            except (_Unclear, Repeat, *_FOREIGN) as error:
                if is_lost(error) or isinstance(error, _Unclear):
                    await self.connections.renew()
                pause_s = patience.after(error)
            await asyncio.sleep(pause_s)

    async def _attempt(self, request: _Request, operation: Write[T]) -> T:
        timeout_s = MAX_BULK_DEADLINE_S if request.exclusive else None
        async with self.connections.take() as connection:
            tx = Transaction(connection, request.namespace, request.store, request.key, timeout_s)
            async with _undone(connection):
                await connection.execute(self._begin(request))
                await tx.begin(self._clock.now_us() if self._clock else None)
                result = await operation(tx)
            await self._commit(connection)
            return result

    def _begin(self, request: _Request) -> str:
        gate = "pg_advisory_xact_lock" if request.exclusive else "pg_advisory_xact_lock_shared"
        limits = _limits(MAX_BULK_DEADLINE_S) if request.exclusive else self._limits
        mutex = "" if request.mutex is None else f"; SELECT pg_advisory_xact_lock({request.mutex})"
        return (
            f"BEGIN ISOLATION LEVEL READ COMMITTED; {limits} {_as(APP, request.namespace)}"
            " SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';"
            f" SELECT {gate}({gate_key(request.namespace)}){mutex}"
        )

    async def _commit(self, connection: Connection) -> None:
        """The server is not told to stop when it takes too long: a commit that waits for a standby would then count."""
        committing = asyncio.ensure_future(connection.execute("COMMIT", timeout=_NEVER_S))
        await asyncio.wait({committing}, timeout=self.connections.settings.timeout_s)
        if not committing.done():
            drop(connection)
        try:
            done = await committing
        except _FOREIGN as error:
            if is_lost(error):
                raise _Unclear from error
            raise
        if done != "COMMIT":  # a statement had failed and nobody raised
            raise StoreBusy("Postgres rolled the transaction back")

    async def read(self, namespace: str, operation: Read[T]) -> T:
        """One snapshot of one namespace."""
        return await self._read(_as(APP, namespace), operation)

    async def search(self, namespace: str, settings: str, operation: Read[T]) -> T:
        """As ``read``, with embeddings, under ``settings`` of its own (``SET LOCAL ...;``) and without the clock: nothing
        but what the operation asks costs a round trip."""
        return await self._read(f"{settings} {STILL} {_as(APP, namespace)}", operation, now_us=0)

    async def follow(self, namespace: str, operation: Read[T]) -> T:
        """As ``read``, with embeddings and without the clock; a lost connection is the caller's to try again."""
        identity = f"{STILL} {_as(APP, namespace)}"
        with translated():
            async with self.connections.take() as connection, self.reading(connection, identity, now_us=0) as reader:
                return await operation(reader)

    async def read_all(self, operation: Read[T]) -> T:
        """One snapshot of all namespaces."""
        return await self._read(_as(KEEPER, ""), operation)

    async def glance(self, sql: str, *bindings: Any) -> list[asyncpg.Record]:
        """One statement over all namespaces, for what is asked many times a second; see ``Lookout``."""
        with translated():
            if not self.connections.facts.pooled:
                return await self._lookout.rows(sql, *bindings)
        begin = f"BEGIN READ ONLY; {self._limits} {_as(KEEPER, '')}"
        with translated():
            async with self.connections.take() as connection, _undone(connection):
                await connection.execute(begin)
                found: list[asyncpg.Record] = await connection.fetch(sql, *bindings)
                await connection.execute("COMMIT")
        return found

    async def _read(self, identity: str, operation: Read[T], now_us: int | None = None) -> T:
        """A read that lost its connection is run once more: the pool may not have known yet."""
        try:
            return await self._read_once(identity, operation, now_us)
        except _FOREIGN as error:
            if not is_lost(error):
                _raise(error)
            await self.connections.renew()
        with translated():
            return await self._read_once(identity, operation, now_us)

    async def _read_once(self, identity: str, operation: Read[T], now_us: int | None) -> T:
        async with self.connections.take() as connection, self.reading(connection, identity, now_us=now_us) as reader:
            return await operation(reader)

    @contextlib.asynccontextmanager
    async def reading(
        self, connection: Connection, identity: str, limits: str | None = None, now_us: int | None = None
    ) -> AsyncIterator[Reader]:
        """A read-only snapshot on ``connection``; ``now_us`` None: as the server has it."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
        try:
            await connection.execute(f"{begin} {self._limits if limits is None else limits} {identity}")
            yield Reader(connection, await self._now_us(connection) if now_us is None else now_us)
        finally:
            await _rollback(connection)

    @contextlib.asynccontextmanager
    async def snapshot(self, namespace: str) -> AsyncIterator[Reader]:
        """A long one, with embeddings, on a connection of its own."""
        identity = f"{STILL} {_as(APP, namespace)}"
        async with self.connections.own() as connection, self.reading(connection, identity, limits="") as reader:
            yield reader

    async def _now_us(self, connection: Connection) -> int:
        return self._clock.now_us() if self._clock else int(await connection.fetchval(_NOW))

    async def keep(self, operation: Read[T]) -> T:
        """A write over all namespaces that is harmless to run twice and changes nothing a replica has."""
        return await self._detached.run(self._keep(operation))

    async def _keep(self, operation: Read[T]) -> T:
        begin = f"BEGIN ISOLATION LEVEL READ COMMITTED; {self._limits} {_as(KEEPER, '')}"
        patience = _Patience(self.connections.settings.timeout_s)
        while True:
            try:
                async with self.connections.take() as connection, _undone(connection):
                    await connection.execute(begin)
                    result = await operation(Reader(connection, await self._now_us(connection)))
                    await connection.execute("COMMIT")
                    return result
            except _FOREIGN as error:
                if is_lost(error):
                    await self.connections.renew()
                pause_s = patience.after(error)
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """What runs is finished first."""
        await self._detached.join()
        await self._lookout.close()
        await self.connections.close()


def _limits(timeout_s: float) -> str:
    """The server gives up by itself, also on a statement whose client is gone."""
    milliseconds = int(timeout_s * 1e3)
    return f"SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = {milliseconds};"


def _as(role: str, namespace: str) -> str:
    """Statements that bind the transaction to a role and a namespace. The name goes as hexadecimal: no quoting, whatever
    the server's settings."""
    name = f"convert_from(decode('{namespace.encode().hex()}', 'hex'), 'UTF8')"
    return f"SET LOCAL ROLE {role}; SELECT set_config('{SETTING}', {name}, true);"


async def _rollback(connection: Connection) -> None:
    """The error that led here stays the one that is seen."""
    try:
        if not connection.is_closed() and connection.is_in_transaction():
            await connection.execute("ROLLBACK", timeout=1.0)
    except _FOREIGN:
        drop(connection)


@contextlib.asynccontextmanager
async def _undone(connection: Connection) -> AsyncIterator[None]:
    """Roll back whatever the block left open when it raises."""
    try:
        yield
    except BaseException:
        await _rollback(connection)
        raise


def _raise(error: BaseException) -> NoReturn:
    if isinstance(error, Repeat) or is_repeatable(error):
        raise StoreBusy("other writers were in the way; send the same request_id again") from error
    ours: MemdError | None = translate(error)
    if ours is None:
        raise error
    raise ours from error
