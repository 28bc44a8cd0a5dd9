"""Moves committed pages from the write-ahead log into the database file, behind the replies.

Small steps keep the log short. After a delete the log is emptied to its last byte as soon as no reader needs it, so that
deleted text leaves the files within seconds: ``secure_delete`` zeroes it in the pages, ``scrub.py`` what is left there,
and the log would keep the pages of before.
"""

from __future__ import annotations

import logging

import apsw

from memd.adapters.sqlite.connection import BUSY_TIMEOUT_MS
from memd.adapters.sqlite.log_file import LogFile
from memd.adapters.sqlite.scrub import Scrubber
from memd.limits import ERASE_ERROR_RETRY_S, ERASE_RETRY_S, WAL_CHECKPOINT_PAGES
from memd.ports import Clock

_log = logging.getLogger(__name__)


class Checkpointer:
    """Used by the writer thread alone, between batches; ``clean`` may be read anywhere."""

    def __init__(self, connection: apsw.Connection, clock: Clock, scrubber: Scrubber, log_file: LogFile) -> None:
        self._connection = connection
        self._clock = clock
        self._scrubber = scrubber
        self._log_file = log_file
        self._frames = 0
        self._noted = 0
        self._tried_at = 0
        self._erase_at_s: float | None = None
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, frames: int) -> int:
        if frames <= self._frames:  # the log started again
            self._tried_at = 0
        self._frames = frames
        return apsw.SQLITE_OK

    @property
    def clean(self) -> bool:
        """Everything that was deleted has left the files."""
        return self._erase_at_s is None

    def erase(self, within_s: float) -> None:
        """After a commit that deleted content: have the old bytes gone in about this time."""
        due = self._clock.monotonic_s() + within_s
        self._erase_at_s = due if self._erase_at_s is None else min(due, self._erase_at_s)

    def wait_s(self) -> float | None:
        """How long the writer may sleep; None for as long as it likes."""
        if self._erase_at_s is None:
            return 0.0 if self._log_file.short else None
        return max(0.0, self._erase_at_s - self._clock.monotonic_s())

    def step(self, *, idle: bool) -> bool:
        """Do what is due, True when something was; when nobody waits, also what is merely good for later. Raises
        apsw.Error or OSError, after which the log is as good as before."""
        if self._erase_at_s is not None and self._clock.monotonic_s() >= self._erase_at_s:
            self._erase_at_s = self._clock.monotonic_s() + ERASE_ERROR_RETRY_S
            self._erase_at_s = None if self.empty() else self._clock.monotonic_s() + ERASE_RETRY_S
            return True
        if self._frames - self._tried_at >= WAL_CHECKPOINT_PAGES:
            self._tried_at = self._frames
            if self._run(apsw.SQLITE_CHECKPOINT_PASSIVE):
                self._scrubber.scrub(sync=False)
            return True
        if idle and self.clean:
            self._log_file.extend()
        return False

    def finish(self) -> None:
        """Before the connection is closed: leave nothing for its own checkpoint, which nobody would scrub after."""
        try:
            self.empty()
        except (apsw.Error, OSError) as error:
            _log.warning("the log could not be emptied: %s", type(error).__name__)

    def empty(self) -> bool:
        """Empty the log and scrub; False when a reader holds an old snapshot."""
        if not self._run(apsw.SQLITE_CHECKPOINT_TRUNCATE):
            return False
        # Pages in memory still have the bytes that are scrubbed now, and would bring them back with their next change.
        self._connection.release_memory()
        self._scrubber.scrub(sync=True)
        return True

    def _run(self, mode: int) -> bool:
        """True when everything was moved."""
        self._scrubber.note_log(self._noted, self._frames)
        self._noted = self._frames
        self._connection.set_busy_timeout(0)  # waiting here would hold up every writer
        try:
            pages, moved = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if pages != moved:
            return False
        self._noted = 0
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self._frames = self._tried_at = 0
            self._log_file.emptied()
        return True
