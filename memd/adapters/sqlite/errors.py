"""SQLite's errors as memd's, by one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from memd.domain.errors import Corruption, LimitExceeded, MemdError, StoreBusy, StoreFull

_TABLE: tuple[tuple[type[apsw.Error], type[MemdError], str], ...] = (
    (apsw.FullError, StoreFull, "the disk is full: nothing was written"),
    (apsw.BusyError, StoreBusy, "the database is busy"),
    (apsw.LockedError, StoreBusy, "the database is locked"),
    (apsw.IOError, StoreBusy, "the disk reported an I/O error"),
    (apsw.CantOpenError, StoreBusy, "a database file could not be opened"),
    (apsw.ReadOnlyError, StoreBusy, "the database has become read-only"),
    (apsw.NoMemError, StoreBusy, "the database is out of memory"),
    (apsw.CorruptError, Corruption, "the database is damaged; run `memd verify --offline`"),
    (apsw.NotADBError, Corruption, "the file is not a memd database"),
    (apsw.TooBigError, LimitExceeded, "a value is too big for the database"),
)


def translate(error: apsw.Error) -> MemdError | None:
    """None for an error that means a bug of memd (bad SQL, a broken constraint): let it pass as it is."""
    for foreign, ours, message in _TABLE:
        if isinstance(error, foreign):
            return ours(message, metadata={"sqlite_error": type(error).__name__})
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of SQLite inside the block into memd's."""
    try:
        yield
    except apsw.Error as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
