"""A SQLite VFS that fails on purpose: kills the process or returns errors at chosen calls, and records every write.

It stands between SQLite and the real file system (VFS "unix"), so that what it does is what a dying machine or disk does:

- ``Fault``: at the nth matching call the process gets SIGKILL (before the call, in the middle of the write, or after it),
  or the call fails with EIO or ENOSPC, once or from then on.
- ``Journal``: every write, truncation, sync and deletion goes to a file, in order, between the marks of the workload.
  From it ``tests.reliability.powercut`` builds what the disk may hold after a power cut at any point.

Shared memory (the ``-shm`` file) is not seen here: it never survives a crash, SQLite rebuilds it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import apsw

NAME = "memd-fault"
BASE = "unix"
FAULT_VARIABLE = "MEMD_TEST_FAULT"
JOURNAL_VARIABLE = "MEMD_TEST_JOURNAL"

Call: TypeAlias = Literal["read", "write", "sync", "truncate", "delete"]
Action: TypeAlias = Literal["kill", "kill_torn", "kill_after", "eio", "enospc"]
CALLS: tuple[Call, ...] = ("read", "write", "sync", "truncate", "delete")
_EIO = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the ``nth`` call (from 1) of one of ``calls``; ``persistent``: and at every such call after it.

    ``file`` narrows it to file names that end so ("-wal", ".db"). ``switch``: the fault holds exactly while a file of
    that name exists, whatever ``nth`` says.
    """

    action: Action
    calls: tuple[Call, ...] = ("write", "sync", "truncate")
    nth: int = 1
    persistent: bool = False
    file: str = ""
    switch: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Fault:
        plain = json.loads(text)
        return Fault(**{**plain, "calls": tuple(plain["calls"])})


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a journal. ``kind`` is a Call or "mark"; ``name`` the file's; ``offset`` or new size; ``data``."""

    kind: str
    name: str
    offset: int
    data: bytes


_KINDS = ("mark", *CALLS)
_HEADER = struct.Struct("<BHQI")


class Journal:
    """Appends records; what was appended survives the process, not the machine."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, kind: str, name: str = "", offset: int = 0, data: bytes = b"") -> None:
        label = name.encode()
        header = _HEADER.pack(_KINDS.index(kind), len(label), offset, len(data))
        os.write(self._file, header + label + data)

    @staticmethod
    def read(path: Path) -> Iterator[Record]:
        """The whole records, in order; a torn last one is left out."""
        data = path.read_bytes()
        at = 0
        while at + _HEADER.size <= len(data):
            kind, label, offset, size = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            end = start + label + size
            if end > len(data):
                return
            yield Record(_KINDS[kind], data[start : start + label].decode(), offset, data[start + label : end])
            at = end


class Faults:
    """Counts the calls of all files and decides which of them fails. Thread-safe."""

    def __init__(self, fault: Fault | None, journal: Journal | None) -> None:
        self.fault = fault
        self.journal = journal
        self.counts: Counter[Call] = Counter()
        self.hits = 0
        """How many calls were made to fail."""
        self._matching = 0
        self._lock = threading.Lock()

    def due(self, call: Call, name: str) -> bool:
        """Count this call; True when it is to fail."""
        with self._lock:
            self.counts[call] += 1
            fault = self.fault
            if fault is None or call not in fault.calls or not name.endswith(fault.file):
                return False
            self._matching += 1
            if fault.switch:
                hit = os.path.exists(fault.switch)
            else:
                hit = self._matching >= fault.nth if fault.persistent else self._matching == fault.nth
            self.hits += hit
            return hit

    def run(self, call: Call, name: str, act: Callable[[], Any], torn: Callable[[], Any]) -> Any:
        """``act``, or what the fault makes of it; ``torn`` does a part of it."""
        if not self.due(call, name):
            return act()
        assert self.fault is not None
        match self.fault.action:
            case "eio":
                raise _error(apsw.IOError("injected I/O error"), _EIO[call])
            case "enospc" if call == "write":
                raise _error(apsw.FullError("injected: no space left"), apsw.SQLITE_FULL)
            case "enospc":  # SQLite reports a full disk as such for writes alone
                raise _error(apsw.IOError("injected: no space left"), _EIO[call])
            case "kill_torn":
                torn()
            case "kill_after":
                act()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable: SIGKILL")

    def note(self, kind: Call, name: str, offset: int = 0, data: bytes = b"") -> None:
        if self.journal is not None:
            self.journal.append(kind, name, offset, data)


def _error(error: apsw.Error, extended: int) -> apsw.Error:
    """With the code SQLite is to see, and memd through it."""
    vars(error).update(result=extended & 0xFF, extendedresult=extended)
    return error


class FaultVFS(apsw.VFS):
    """Registered under NAME by construction."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(NAME, BASE)
        self.faults = faults

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return FaultFile(name, flags, self.faults)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        base = os.path.basename(filename)

        def delete() -> None:
            apsw.VFS.xDelete(self, filename, syncdir)
            self.faults.note("delete", base, int(syncdir))

        self.faults.run("delete", base, delete, delete)


class FaultFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], faults: Faults) -> None:
        super().__init__(BASE, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = os.path.basename(path or "temporary")
        self._faults = faults

    def xRead(self, amount: int, offset: int) -> bytes:
        def read() -> bytes:
            return apsw.VFSFile.xRead(self, amount, offset)

        data: bytes = self._faults.run("read", self._name, read, read)
        return data

    def xWrite(self, data: bytes, offset: int) -> None:
        def write(part: bytes) -> None:
            self._faults.note("write", self._name, offset, part)
            apsw.VFSFile.xWrite(self, part, offset)

        whole = bytes(data)
        self._faults.run("write", self._name, lambda: write(whole), lambda: write(whole[: len(whole) // 2]))

    def xSync(self, flags: int) -> None:
        def sync() -> None:
            apsw.VFSFile.xSync(self, flags)
            self._faults.note("sync", self._name)

        self._faults.run("sync", self._name, sync, sync)

    def xTruncate(self, newsize: int) -> None:
        def truncate() -> None:
            self._faults.note("truncate", self._name, newsize)
            apsw.VFSFile.xTruncate(self, newsize)

        self._faults.run("truncate", self._name, truncate, truncate)


def install(fault: Fault | None = None, journal: Path | None = None) -> FaultVFS:
    """Put the VFS into this process, under NAME. Keep what is returned as long as a database is open."""
    return FaultVFS(Faults(fault, Journal(journal) if journal else None))


_registered: list[FaultVFS] = []


def register() -> str:
    """For ``MEMD_TEST_VFS``: as ``install``, told by FAULT_VARIABLE and JOURNAL_VARIABLE; the VFS's name."""
    fault = os.environ.get(FAULT_VARIABLE)
    journal = os.environ.get(JOURNAL_VARIABLE)
    _registered.append(install(Fault.from_json(fault) if fault else None, Path(journal) if journal else None))
    return NAME
