"""What a disk may hold after a power cut: everything that was synced, and any part of what was written since.

The model is that of SQLite's own crash tests: a write since the last sync of its file may be there, be missing, or be there
in some sectors only, whatever the order of the writes; a truncation or deletion likewise; bytes next to a write are never
harmed (SQLITE_IOCAP_POWERSAFE_OVERWRITE). A deletion is final with the next sync of the directory, which SQLite does with
the first sync of a new journal or log, and with a deletion that asks for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faultvfs import Record

SECTOR_BYTES = 512
MODES = ("drop all", "keep all", "keep first", "tear")
"""What becomes of un-synced writes: none, all, the first few, each sector by a coin."""


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)
    new: bool = True
    """Not synced since it was made."""
    deleted: bool = False


class Disk:
    """The files of one run as a journal builds them up, record by record."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def apply(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.kind in ("write", "truncate", "sync", "delete"):
                self._apply(self._files.setdefault(record.name, _File()), record)

    def _apply(self, file: _File, record: Record) -> None:
        if record.kind == "delete":
            file.deleted = True
            if record.offset:
                self._sync_directory()
            return
        if file.deleted:  # made anew under the same name
            file.synced, file.pending, file.deleted, file.new = bytearray(), [], False, True
        if record.kind != "sync":
            file.pending.append(record)
            return
        for pending in file.pending:
            _put(file.synced, pending)
        file.pending.clear()
        if file.new and not record.name.endswith(".db"):
            self._sync_directory()
        file.new = False

    def _sync_directory(self) -> None:
        self._files = {name: file for name, file in self._files.items() if not file.deleted}

    def image(self, directory: Path, rng: random.Random) -> str:
        """Write one possible state into the empty ``directory``; how it was chosen."""
        mode = rng.choice(MODES)
        for name, file in self._files.items():
            if not file.deleted or rng.random() < 0.5:
                (directory / name).write_bytes(_survivor(file, mode, rng))
        return mode


def _survivor(file: _File, mode: str, rng: random.Random) -> bytes:
    content = bytearray(file.synced)
    first = rng.randint(0, len(file.pending))
    for index, record in enumerate(file.pending):
        if mode == "keep all" or (mode == "keep first" and index < first):
            _put(content, record)
        elif mode == "tear":
            for piece in _sectors(record):
                if rng.random() < 0.5:
                    _put(content, piece)
    return bytes(content)


def _sectors(record: Record) -> list[Record]:
    """The write in pieces that end at sector boundaries; a truncation as it is."""
    if record.kind == "truncate":
        return [record]
    pieces = []
    at = 0
    while at < len(record.data):
        size = SECTOR_BYTES - (record.offset + at) % SECTOR_BYTES
        pieces.append(Record("write", record.name, record.offset + at, record.data[at : at + size]))
        at += size
    return pieces


def _put(content: bytearray, record: Record) -> None:
    if len(content) < record.offset:
        content.extend(bytes(record.offset - len(content)))
    if record.kind == "truncate":
        del content[record.offset :]
        return
    content[record.offset : record.offset + len(record.data)] = record.data
