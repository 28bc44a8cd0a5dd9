"""Zeroes what SQLite leaves behind inside its own pages.

``secure_delete`` zeroes a deleted cell, but not the copies that balancing a b-tree left before: when cells move to a
sibling page, their old bytes stay in the gap between the cell pointers and the cells of the page they came from, and
nobody ever zeroes them (3 of 1,500 forgotten memories were found that way). So after every complete checkpoint the gaps
of the pages it wrote are zeroed in the database file.

This writes behind SQLite's back, and may: the gap holds no data by the file format (https://sqlite.org/fileformat.html,
"B-tree Pages"), a torn write leaves zeros or old bytes in it, and readers never look at it. Which pages are b-trees
comes from the pointer map ("Pointer Map or Ptrmap Pages"), so the database is made with ``auto_vacuum = INCREMENTAL``.
Only the writer thread scrubs, between transactions, when the database file is complete.
"""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = 4096
WAL_HEADER = 32
FRAME_HEADER = 24
_MAP_ENTRY = 5
_MAPPED = PAGE_BYTES // _MAP_ENTRY
"""Pages one pointer-map page describes."""
_BTREE = (1, 5)
"""Pointer-map types: root page, other b-tree page."""
_CELL_POINTERS_AT = {2: 12, 5: 12, 10: 8, 13: 8}
"""Size of a b-tree page's header by its type: interior and leaf pages of indexes and tables."""
_ZEROS = bytes(PAGE_BYTES)


class Scrubber:
    """Keeps its file open until ``close``, which must come after SQLite's own: closing it drops SQLite's file locks."""

    def __init__(self, database: Path) -> None:
        self._wal = database.with_name(database.name + "-wal")
        self._file = os.open(database, os.O_RDWR | os.O_CLOEXEC)
        self._pages: set[int] = set()

    def note_everything(self) -> None:
        """After a crash nobody knows which pages were scrubbed."""
        self._pages.update(range(3, os.fstat(self._file).st_size // PAGE_BYTES + 1))

    def note_log(self, start: int, stop: int) -> None:
        """Before a checkpoint: remember the pages of the frames from ``start`` to before ``stop`` of the log."""
        if start >= stop:
            return
        with open(self._wal, "rb", buffering=0) as wal:
            for frame in range(start, stop):
                at = WAL_HEADER + frame * (FRAME_HEADER + PAGE_BYTES)
                self._pages.add(int.from_bytes(os.pread(wal.fileno(), 4, at), "big"))

    def scrub(self, *, sync: bool) -> int:
        """After a checkpoint that moved everything: zero the gaps of the remembered pages; how many had to be."""
        scrubbed = sum(self._scrub_page(page) for page in sorted(self._pages) if self._is_btree(page))
        self._pages.clear()
        if scrubbed and sync:
            os.fdatasync(self._file)
        return scrubbed

    def close(self) -> None:
        os.close(self._file)

    def _is_btree(self, page: int) -> bool:
        if page < 3:
            return False
        pointer_map = (page - 2) // (_MAPPED + 1) * (_MAPPED + 1) + 2
        if page == pointer_map:
            return False
        entry = os.pread(self._file, 1, (pointer_map - 1) * PAGE_BYTES + (page - pointer_map - 1) * _MAP_ENTRY)
        return entry != b"" and entry[0] in _BTREE

    def _scrub_page(self, page: int) -> bool:
        offset = (page - 1) * PAGE_BYTES
        data = os.pread(self._file, PAGE_BYTES, offset)
        gap = _gap(data)
        if gap is None or data[gap] == _ZEROS[gap]:
            return False
        os.pwrite(self._file, _ZEROS[gap], offset + gap.start)
        return True


def _gap(page: bytes) -> slice | None:
    """The unallocated region of a b-tree page; None when it does not look like one."""
    if len(page) != PAGE_BYTES or page[0] not in _CELL_POINTERS_AT:
        return None
    cells = int.from_bytes(page[3:5], "big")
    start = _CELL_POINTERS_AT[page[0]] + 2 * cells
    end = int.from_bytes(page[5:7], "big") or 65_536
    return slice(start, end) if start <= end <= PAGE_BYTES else None
