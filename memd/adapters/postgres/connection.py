"""Connections to Postgres: what may go wrong while opening one, what the server is, and a bounded pool of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from memd.adapters.postgres.errors import CONNECTION_ERRORS, translated
from memd.domain.errors import ConfigError, LimitExceeded, MemdError, ShuttingDown, StoreBusy
from memd.domain.model import Durability
from memd.limits import (
    DEFAULT_POSTGRES_POOL,
    DEFAULT_POSTGRES_TIMEOUT_S,
    MAX_POSTGRES_POOL,
    MAX_POSTGRES_TIMEOUT_S,
    MIN_POSTGRES,
    MIN_POSTGRES_POOL,
    MIN_POSTGRES_TIMEOUT_S,
    POSTGRES_STATEMENT_CACHE,
    READ_QUEUE_DEPTH,
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]

_QUEUE_FULL_RETRY_S = 0.05
_PLAIN: Mapping[str, str] = {}
_PLACE = re.compile(r"\w+://(?:[^@/?#]*@)?([^@?#]*)(?:\?[^@]*)?")
_PROBE = (
    "SELECT pg_is_in_recovery(), current_setting('server_version_num')::integer, pg_backend_pid(),"
    " current_setting('server_encoding'), current_user::text, current_database()::text, current_setting('fsync'),"
    " current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"
)


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """``url`` as libpq takes it, with one host or several; it may hold a password and is never shown.

    ``pool``: connections at most, beside those of hints, followers, vacuum and snapshots. Timeouts in seconds: of
    connecting, and of waiting for a connection, a lock or a statement.
    """

    url: str
    pool: int = DEFAULT_POSTGRES_POOL
    connect_timeout_s: float = DEFAULT_POSTGRES_TIMEOUT_S
    timeout_s: float = DEFAULT_POSTGRES_TIMEOUT_S

    def check(self) -> None:
        """ConfigError for what cannot work."""
        if not self.url.startswith(("postgres://", "postgresql://")):
            raise ConfigError("postgres.url: it must be postgresql://user@host:port/database")
        if not MIN_POSTGRES_POOL <= self.pool <= MAX_POSTGRES_POOL:
            raise ConfigError(f"postgres.pool: it must be {MIN_POSTGRES_POOL} to {MAX_POSTGRES_POOL}")
        for name, value in (("connect_timeout", self.connect_timeout_s), ("timeout", self.timeout_s)):
            if not MIN_POSTGRES_TIMEOUT_S <= value <= MAX_POSTGRES_TIMEOUT_S:
                low, high = MIN_POSTGRES_TIMEOUT_S, MAX_POSTGRES_TIMEOUT_S
                raise ConfigError(f"postgres.{name}: it must be {low:g} to {high:g} seconds")

    @property
    def where(self) -> str:
        """Hosts and database of the URL; nothing of a URL in which the password could be anywhere else."""
        found = _PLACE.fullmatch(self.url)
        return (found[1] or "the local socket") if found else "the given URL"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server is. ``pooled``: a pooler stands between, so prepared statements and LISTEN do not work."""

    version: int
    pooled: bool
    user: str
    database: str
    fsync: str
    synchronous_commit: str
    standbys: str

    @property
    def release(self) -> str:
        return f"{self.version // 10_000}.{self.version % 10_000}"

    @property
    def durability(self) -> Durability:
        return durability(self.fsync, self.synchronous_commit, self.standbys)


def durability(fsync: str, synchronous_commit: str, standbys: str) -> Durability:
    """What a commit means under these settings of the server."""
    if fsync != "on":
        return Durability.SERVER_MEMORY
    if standbys and synchronous_commit in ("on", "remote_apply"):
        return Durability.REPLICATED
    return Durability.SYNCED  # memd turns "off" into "on" for its own transactions


async def connect(
    settings: PostgresSettings, *, cache: int = 0, session: Mapping[str, str] = _PLAIN
) -> asyncpg.Connection[asyncpg.Record]:
    """One connection outside of any pool, ``session`` its settings. ConfigError for what an operator has to correct,
    StoreBusy for a server that does not answer."""
    try:
        return await asyncpg.connect(
            settings.url,
            timeout=settings.connect_timeout_s,
            command_timeout=settings.timeout_s,
            statement_cache_size=cache,
            server_settings={"application_name": "memd", **session},
            target_session_attrs=_wanted_server(settings),
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise _refused(error, settings.where) from error


def _wanted_server(settings: PostgresSettings) -> SessionAttribute | None:
    """Of several hosts the one that is primary, unless the URL says what it wants."""
    several = "," in settings.where.partition("/")[0] and "target_session_attrs" not in settings.url
    return SessionAttribute.primary if several else None


_REFUSED: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "Postgres at {} refused the password"),
    (asyncpg.InvalidAuthorizationSpecificationError, "Postgres at {} does not let this user in (pg_hba.conf, TLS)"),
    (asyncpg.InvalidCatalogNameError, "Postgres at {} has no such database"),
    (asyncpg.InsufficientPrivilegeError, "the user may not connect to the database at {}"),
    (ssl.SSLCertVerificationError, "the TLS certificate of Postgres at {} is not trusted, or is of another name"),
    (ssl.SSLError, "TLS with Postgres at {} failed; sslmode and certificates must fit the server"),
    (ValueError, "postgres.url: it cannot be understood; it must be postgresql://user@host:port/database"),
)


def _refused(error: BaseException, where: str) -> MemdError:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return StoreBusy(f"no server of {where} is the primary yet")  # in a failover none is, for a while
    for kind, message in _REFUSED:
        if isinstance(error, kind):
            return ConfigError(message.format(where))
    if isinstance(error, ConnectionError) and "SSL" in str(error):
        return ConfigError(f"Postgres at {where} does not speak TLS, which the URL demands")
    if isinstance(error, asyncpg.InterfaceError) and not isinstance(error, OSError):
        return ConfigError("postgres.url: it cannot be understood; it must be postgresql://user@host:port/database")
    return StoreBusy(f"Postgres at {where} cannot be reached", metadata={"error": type(error).__name__})


async def probe(connection: asyncpg.Connection[asyncpg.Record], settings: PostgresSettings) -> ServerFacts:
    """ConfigError for a server memd cannot be kept on."""
    with translated():
        async with connection.transaction():
            found = await connection.fetchrow(_PROBE)
    assert found is not None
    standby, version, pid, encoding, user, database, fsync, commit, standbys = found
    if standby:
        raise ConfigError(f"Postgres at {settings.where} is a standby: give memd the primary")
    if version < MIN_POSTGRES:
        raise ConfigError(f"Postgres at {settings.where} is older than release {MIN_POSTGRES // 10_000}")
    if encoding != "UTF8":
        raise ConfigError(f"the database at {settings.where} has the encoding {encoding}: memd needs UTF8")
    pooled = pid != connection.get_server_pid()
    return ServerFacts(version, pooled, user, database, fsync, commit, standbys)


async def _keep_as_it_is(connection: Connection) -> None:
    """Nothing to reset between two users: every setting memd makes is local to a transaction."""


class Connections:
    """A bounded pool, and connections of their own for what takes long."""

    def __init__(self, settings: PostgresSettings, facts: ServerFacts) -> None:
        self.settings = settings
        self.facts = facts
        self._waiting = 0
        self._closed = False
        self._pool: Pool = asyncpg.create_pool(
            settings.url,
            min_size=0,
            max_size=settings.pool,
            timeout=settings.connect_timeout_s,
            command_timeout=settings.timeout_s,
            statement_cache_size=0 if facts.pooled else POSTGRES_STATEMENT_CACHE,
            server_settings={"application_name": "memd"},
            target_session_attrs=_wanted_server(settings),
            reset=_keep_as_it_is,
        )

    @classmethod
    async def open(cls, settings: PostgresSettings) -> Connections:
        settings.check()
        connection = await connect(settings)
        try:
            facts = await probe(connection, settings)
        finally:
            await close_quietly(connection)
        connections = cls(settings, facts)
        with translated():
            await connections._pool
        return connections

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[Connection]:
        """One of the pool. LimitExceeded when too many wait; raises asyncpg's errors."""
        if self._closed:
            raise ShuttingDown("the stores are closed")
        if self._waiting >= READ_QUEUE_DEPTH:
            raise LimitExceeded("too many calls wait for Postgres", retry_after_s=_QUEUE_FULL_RETRY_S)
        self._waiting += 1
        try:
            connection = await self._pool.acquire(timeout=self.settings.timeout_s)
        finally:
            self._waiting -= 1
        try:
            yield connection
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """A connection that is still inside a transaction is of no use to the next. One that was lost has left the pool
        by itself; then every call of it is an InterfaceError."""
        with contextlib.suppress(asyncpg.PostgresError, *CONNECTION_ERRORS):
            if connection.is_in_transaction():
                connection.terminate()
            await self._pool.release(connection)

    @contextlib.asynccontextmanager
    async def own(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """One outside of the pool: as the role that owns the tables, for what takes long."""
        if self._closed:
            raise ShuttingDown("the stores are closed")
        connection = await connect(self.settings)
        try:
            yield connection
        finally:
            await close_quietly(connection)

    async def renew(self) -> None:
        """After a lost connection: the others most likely lead to the same dead server."""
        with contextlib.suppress(asyncpg.InterfaceError):
            await self._pool.expire_connections()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.wait_for(self._pool.close(), self.settings.timeout_s)
        except (asyncpg.PostgresError, *CONNECTION_ERRORS):
            self._pool.terminate()


async def close_quietly(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """A connection that cannot say goodbye is dropped."""
    try:
        await connection.close(timeout=1.0)
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        connection.terminate()


def drop(connection: Connection) -> None:
    """Close without a word, whatever its state: the server rolls back what it had not committed."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
