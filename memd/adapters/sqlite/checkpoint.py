"""Moves committed pages from the write-ahead log into the database file, behind the replies.

Small steps keep the log short. After a delete the log is emptied to its last byte as soon as no reader needs it, so that
deleted text leaves the files within seconds: secure_delete zeroes it in the pages, the log would keep the old ones.
"""

from __future__ import annotations

import apsw

from memd.adapters.sqlite.connection import BUSY_TIMEOUT_MS
from memd.limits import ERASE_RETRY_S, WAL_CHECKPOINT_PAGES
from memd.ports import Clock


class Checkpointer:
    """Used by the writer thread alone, between batches."""

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._pages = 0
        self._erase_at_s: float | None = None
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    @property
    def clean(self) -> bool:
        """Nothing that was deleted is left in the log."""
        return self._erase_at_s is None

    def erase(self, within_s: float) -> None:
        """After a commit that deleted content: have the old bytes gone in about this time."""
        due = self._clock.monotonic_s() + within_s
        self._erase_at_s = due if self._erase_at_s is None else min(due, self._erase_at_s)

    def wait_s(self) -> float | None:
        """How long the writer may sleep; None for as long as it likes."""
        if self._erase_at_s is None:
            return None
        return max(0.0, self._erase_at_s - self._clock.monotonic_s())

    def step(self) -> None:
        """Do what is due; raises apsw.Error, after which the log is as good as before."""
        if self._erase_at_s is not None and self._clock.monotonic_s() >= self._erase_at_s:
            self._erase_at_s = self._clock.monotonic_s() + ERASE_RETRY_S
            if self._run(apsw.SQLITE_CHECKPOINT_TRUNCATE):
                self._erase_at_s = None
        elif self._pages >= WAL_CHECKPOINT_PAGES:
            self._pages = 0
            self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _run(self, mode: int) -> bool:
        """True when everything was moved; a reader that holds an old snapshot makes it False."""
        self._connection.set_busy_timeout(0)  # waiting here would hold up every writer
        try:
            pages, moved = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return pages == moved
