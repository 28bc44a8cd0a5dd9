"""Connections: one setting for all, and one a thread for readers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from memd.adapters.sqlite.errors import translated
from memd.domain.errors import ConfigError, ShuttingDown

Row: TypeAlias = tuple[Any, ...]
MIN_SQLITE = (3, 51, 3)
"""3.7.0 to 3.51.2 have a defect in WAL mode that can lose committed rows."""
STATEMENT_CACHE = 256
"""Prepared statements a connection keeps: every statement memd uses stays prepared."""
BUSY_TIMEOUT_MS = 2_000
"""A directory has one daemon and one writer, so only recovery and checkpoints ever make a reader wait."""
_INCREMENTAL = 2
_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8000",
)


def check_library() -> None:
    """Refuse a SQLite that can lose data."""
    have = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if have < MIN_SQLITE:
        need = ".".join(map(str, MIN_SQLITE))
        raise ConfigError(f"SQLite {apsw.sqlite_lib_version()} can lose committed rows; memd needs {need} or newer")


def connect(path: Path, *, vfs: str | None, writes: bool, disposable: bool = False) -> apsw.Connection:
    """Open with memd's settings. A reader refuses to write; a writer's WAL is checkpointed by the writer thread alone.

    ``disposable``: commits are not synced, only checkpoints are, so a power cut may take the newest commits, in order.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if writes else 0) | apsw.SQLITE_OPEN_NOFOLLOW
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=STATEMENT_CACHE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # else a bound LIMIT is looked at by the planner, and its statement prepared anew for every value
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if writes:
        if connection.pragma("auto_vacuum") != _INCREMENTAL:  # pointer maps: scrub.py needs them
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if disposable else 'FULL'}").fetchall()
    for pragma in _PRAGMAS:
        connection.execute(pragma).fetchall()
    connection.wal_autocheckpoint(0)
    if not writes:
        connection.execute("PRAGMA query_only = ON").fetchall()
    return connection


@contextmanager
def transaction(connection: apsw.Connection, begin: str = "BEGIN") -> Iterator[None]:
    """All statements of the block, or none. SQLite rolls back by itself after an I/O error; then there is nothing to do
    here, and the error of the disk stays the one that is seen (apsw's own ``with connection`` would hide it)."""
    connection.execute(begin).fetchall()
    try:
        yield
        connection.execute("COMMIT").fetchall()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK").fetchall()
        raise


def row(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> Row | None:
    """The only row of a query, or None."""
    found = connection.execute(sql, bindings).fetchall()
    return found[0] if found else None


def rows(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
    return connection.execute(sql, bindings).fetchall()


class Readers:
    """Read connections of one database, one a thread, made on first use and closed together."""

    def __init__(self, path: Path, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._closed = False

    def get(self) -> apsw.Connection:
        """This thread's connection; ShuttingDown after ``close``."""
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._closed:
            connection = self.fresh()
            self._local.connection = connection
        return connection

    def fresh(self) -> apsw.Connection:
        """A connection of its own, for a long snapshot; the caller closes it."""
        if self._closed:
            raise ShuttingDown("the stores are closed")
        with translated():
            connection = connect(self._path, vfs=self._vfs, writes=False)
        with self._lock:
            self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection; no thread may be reading."""
        self._closed = True
        with self._lock:
            for connection in list(self._open):
                connection.close(True)
