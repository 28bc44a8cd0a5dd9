"""Postgres's errors as memd's, by one table over SQLSTATE: a full code, or a class of two characters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from memd.domain.errors import Corruption, InvalidArgument, LimitExceeded, MemdError, StoreBusy, StoreFull, WrongState

_TABLE: dict[str, tuple[type[MemdError], str]] = {
    "08": (StoreBusy, "the connection to Postgres was lost"),
    "0A000": (StoreBusy, "the schema changed meanwhile"),
    "22021": (InvalidArgument, "a name holds a character that Postgres cannot store"),
    "22P05": (InvalidArgument, "a name holds a character that Postgres cannot store"),
    "25006": (StoreBusy, "Postgres is read-only, as a standby is"),
    "25P03": (StoreBusy, "Postgres ended a transaction that was idle"),
    "25P04": (StoreBusy, "Postgres ended a transaction that took too long"),
    "28": (StoreBusy, "Postgres no longer lets memd in"),
    "3D000": (StoreBusy, "the Postgres database is gone"),
    "40": (StoreBusy, "other writers were in the way"),
    "42501": (WrongState, "Postgres no longer allows memd what it needs; see the grants in the documentation"),
    "42P01": (WrongState, "a table of memd is gone from Postgres"),
    "53100": (StoreFull, "the disk of Postgres is full: nothing was written"),
    "53": (StoreBusy, "Postgres has no room for another connection, or no memory"),
    "54": (LimitExceeded, "a value is too big for Postgres"),
    "55P03": (StoreBusy, "other writers hold what this one needs"),
    "57014": (StoreBusy, "Postgres took too long and was told to stop"),
    "57": (StoreBusy, "Postgres is starting or shutting down"),
    "58": (StoreBusy, "Postgres reported an I/O error"),
    "XX001": (Corruption, "Postgres reports damaged data"),
    "XX002": (Corruption, "Postgres reports a damaged index"),
}
_LOST_CODES = ("08", "57P")
_REPEATABLE_CODES = ("40001", "40P01", "23505", "0A000")
CONNECTION_ERRORS = (asyncpg.InterfaceError, OSError, asyncio.TimeoutError)
"""What asyncpg raises when the connection, not the statement, is at fault."""


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone: what had been sent may or may not have been done."""
    if isinstance(error, asyncpg.PostgresError):
        return _code(error).startswith(_LOST_CODES)
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError)


def is_repeatable(error: BaseException) -> bool:
    """Whether the transaction only lost to another one, and may go through when it is run again."""
    return isinstance(error, asyncpg.PostgresError) and _code(error) in _REPEATABLE_CODES


def translate(error: BaseException) -> MemdError | None:
    """None for what means a bug of memd (bad SQL, a broken constraint): let it pass as it is."""
    if isinstance(error, asyncpg.PostgresError):
        code = _code(error)
        found = _TABLE.get(code) or _TABLE.get(code[:2])
        return found[0](found[1], metadata={"sqlstate": code}) if found else None
    if isinstance(error, asyncpg.DataError | ValueError):  # asyncpg refuses to send it
        return InvalidArgument("a value has a form that Postgres cannot store")
    if isinstance(error, asyncio.TimeoutError):
        return StoreBusy("Postgres did not answer in time")
    if isinstance(error, OSError | asyncpg.InterfaceError):
        return StoreBusy("the connection to Postgres was lost", metadata={"error": type(error).__name__})
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of Postgres inside the block into memd's."""
    try:
        yield
    except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error


def _code(error: asyncpg.PostgresError) -> str:
    return str(error.sqlstate or "")
