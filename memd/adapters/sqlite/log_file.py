"""Keeps the write-ahead log's file at its full size, so that commits overwrite it instead of making it longer.

An fsync after a write that lengthens a file also waits for the file system's own journal: 0.9 to 4.4 ms in place of 0.2
to 0.7 ms for the same bytes (docs/adr/0005-sqlite-group-commit.md). SQLite overwrites the log from its beginning after a
checkpoint, but starts with an empty one, and after a delete it is emptied. Zeros behind its last frame are no frames:
SQLite stops reading there, as it does at the remains of an earlier round. On a full disk the reserve also leaves room to
delete.
"""

from __future__ import annotations

import os
from pathlib import Path

from memd.adapters.sqlite.scrub import FRAME_HEADER, PAGE_BYTES, WAL_HEADER
from memd.limits import WAL_RESERVE_PAGES

RESERVE_BYTES = WAL_HEADER + WAL_RESERVE_PAGES * (FRAME_HEADER + PAGE_BYTES)
_SHARE = 16
"""The reserve may take this part of what is free at most: a small disk is for data."""
_CHUNK = bytes(1 << 20)


class LogFile:
    """Used by whoever holds the write connection, between transactions."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self.short = True
        """Whether ``extend`` may have something to do."""

    def emptied(self) -> None:
        """SQLite has cut it off."""
        self.short = True

    def extend(self) -> None:
        """Bring the file to RESERVE_BYTES where there is room; raises OSError when the disk does not take it."""
        if not self.short:
            return
        self.short = False
        with open(self._path, "r+b", buffering=0) as file:
            free = os.fstatvfs(file.fileno())
            if free.f_bavail * free.f_frsize < _SHARE * RESERVE_BYTES:
                return
            at = file.seek(0, os.SEEK_END)
            while at < RESERVE_BYTES:
                at += file.write(_CHUNK[: RESERVE_BYTES - at])
            os.fsync(file.fileno())
