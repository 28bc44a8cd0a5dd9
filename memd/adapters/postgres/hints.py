"""Hints by LISTEN and NOTIFY: they make replicas quicker and are never needed. A NOTIFY is a transaction of its own, for
many writes together: inside of theirs it would make every commit of the database wait for the others."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence

import asyncpg

from memd.adapters.postgres.connection import Connections, close_quietly, connect
from memd.adapters.postgres.detached import Detached
from memd.adapters.postgres.errors import CONNECTION_ERRORS
from memd.domain.errors import MemdError
from memd.limits import MAX_NOTIFY_BYTES, POSTGRES_ANNOUNCE_S

CHANNEL = "memd_changes"
_HURRIED = "BEGIN; SET LOCAL synchronous_commit = off;"
"""A hint is worth neither a sync of the disk nor a wait for a standby."""
_log = logging.getLogger(__name__)


class _Inbox:
    """Namespaces that were named by others than ``own`` and not yet taken: bounded, because a name is in it once."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._names: dict[str, None] = {}
        self._something = asyncio.Event()
        self._ended = False

    def add(self, *notification: object) -> None:
        """asyncpg's listener: connection, pid, channel, payload."""
        try:
            names = json.loads(str(notification[-1]))
        except ValueError:
            return  # somebody else uses the channel
        if isinstance(names, list) and names[:1] != [self._own]:  # a daemon has followed its own writes already
            self._names.update(dict.fromkeys(name for name in names[1:] if isinstance(name, str)))
            self._something.set()

    def end(self, *_: object) -> None:
        self._ended = True
        self._something.set()

    async def take(self) -> Sequence[str]:
        """Those that wait, at least one; empty at the end."""
        while not self._names and not self._ended:
            self._something.clear()
            await self._something.wait()
        names, self._names = tuple(self._names), {}
        return () if self._ended else names


class Hints:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._detached = Detached()
        self._outgoing: set[str] = set()
        self._sending = False
        self._inboxes: set[_Inbox] = set()
        self._own = secrets.token_hex(8)

    async def listen(self) -> AsyncIterator[Sequence[str]]:
        """Listening has begun when this returns. Behind a pooler LISTEN reaches nobody: then it ends at once."""
        if self._connections.facts.pooled:
            return _nothing()
        try:
            connection = await connect(self._connections.settings)
        except MemdError:
            return _nothing()
        inbox = _Inbox(self._own)
        connection.add_termination_listener(inbox.end)
        try:
            await connection.add_listener(CHANNEL, inbox.add)
        except (asyncpg.PostgresError, *CONNECTION_ERRORS):
            await close_quietly(connection)
            return _nothing()
        self._inboxes.add(inbox)
        return self._received(connection, inbox)

    async def _received(
        self, connection: asyncpg.Connection[asyncpg.Record], inbox: _Inbox
    ) -> AsyncIterator[Sequence[str]]:
        try:
            while names := await inbox.take():
                yield names
        finally:
            self._inboxes.discard(inbox)
            await close_quietly(connection)

    def announce(self, namespaces: Sequence[str]) -> None:
        self._outgoing.update(namespaces)
        if self._outgoing and not self._sending:
            self._sending = True
            self._detached.start(self._send())

    async def _send(self) -> None:
        try:
            while self._outgoing:
                names, self._outgoing = sorted(self._outgoing), set()
                await self._notify(names)
                await asyncio.sleep(POSTGRES_ANNOUNCE_S)
        finally:
            self._sending = False

    async def _notify(self, names: Sequence[str]) -> None:
        try:
            async with self._connections.take() as connection:
                for payload in _payloads(self._own, names):
                    text = f"convert_from(decode('{payload.hex()}', 'hex'), 'UTF8')"
                    await connection.execute(f"{_HURRIED} SELECT pg_notify('{CHANNEL}', {text}); COMMIT")
        except (MemdError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            _log.debug("a hint could not be sent: %s", type(error).__name__)

    async def close(self) -> None:
        for inbox in tuple(self._inboxes):
            inbox.end()
        await self._detached.join()


def _payloads(sender: str, names: Sequence[str]) -> list[bytes]:
    """JSON lists of the sender and names, each as long as a notification may be."""
    payloads: list[bytes] = []
    batch = [sender]
    for name in names:
        if len(json.dumps([*batch, name], ensure_ascii=False).encode()) > MAX_NOTIFY_BYTES:
            payloads.append(json.dumps(batch, ensure_ascii=False).encode())
            batch = [sender]
        batch.append(name)
    return [*payloads, json.dumps(batch, ensure_ascii=False).encode()]


async def _nothing() -> AsyncIterator[Sequence[str]]:
    none: tuple[Sequence[str], ...] = ()
    for names in none:
        yield names
