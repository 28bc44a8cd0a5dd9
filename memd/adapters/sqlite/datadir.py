"""The data directory: private, and owned by one daemon at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from memd.domain.errors import ConfigError, WrongState

DATABASE = "memd.db"
LOCK = "memd.lock"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class DataDir:
    """An open data directory, locked until ``close``; raises ConfigError or WrongState in one plain line."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self.database = path / DATABASE
        if create:
            _prepare(path, self.database)
        elif not self.database.is_file():
            raise ConfigError(f"{path} holds no memd database")
        self._lock = _lock(path)
        self.was_closed = not self._size(f"{DATABASE}-wal")
        """Whether the daemon before stopped in peace: closing empties and removes the write-ahead log."""
        try:
            _private_file(self.database, create=create)
        except OSError as error:
            self.close()
            raise _unusable(self.path, error) from error

    def bytes_used(self) -> int:
        """Size of the database and its write-ahead log."""
        return self._size(DATABASE) + self._size(f"{DATABASE}-wal")

    def _size(self, name: str) -> int:
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _prepare(path: Path, database: Path) -> None:
    try:
        fresh = not path.exists()
        _make(path)
        # Somebody else's directory keeps its mode: memd's files in it are private by themselves.
        if fresh or database.exists() or not any(path.iterdir()):
            _tighten(path)
    except OSError as error:
        raise _unusable(path, error) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"the data directory {path} is not writable")


def _make(path: Path) -> None:
    """The directory with its parents, safe from a power cut: SQLite syncs what it puts into it, nobody else its name."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    for made in missing:
        with contextlib.suppress(PermissionError):  # one may make names in a directory that one may not open
            parent = os.open(made.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)


def _tighten(path: Path) -> None:
    status = path.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        path.chmod(stat.S_IMODE(status.st_mode) & DIRECTORY_MODE)  # what was read-only stays so, and is refused


def _lock(path: Path) -> int:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise WrongState(f"the data directory {path} is in use by another memd") from error
    return lock


def _private_file(path: Path, *, create: bool) -> None:
    """SQLite gives its side files the mode of the database, so that one is made private before SQLite sees it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    database = os.open(path, flags, FILE_MODE)
    try:
        if os.fstat(database).st_mode & 0o077:
            os.fchmod(database, FILE_MODE)
    finally:
        os.close(database)


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"the data directory {path} cannot be used: {os.strerror(error.errno or 0)}")
