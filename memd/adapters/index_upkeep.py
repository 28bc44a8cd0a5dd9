"""What is done to indexes behind the answers: linking, repairing, saving, and staying within the memory limit.

One thread for all of them, so that it never takes more than its own share of the machine. An index comes here after a
change; nothing here changes what a search finds, only how fast.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from memd.adapters.index_slot import IndexSlot
from memd.limits import (
    INDEX_SAVE_INTERVAL_S,
    INDEX_SAVE_MIN_ROWS,
    INDEX_SAVE_SHARE,
    INDEX_UPKEEP_ENTRIES,
    INDEX_UPKEEP_INTERVAL_S,
)
from memd.ports import IndexSource

log = logging.getLogger(__name__)
_JOIN_TIMEOUT_S = 10.0


class IndexUpkeep:
    """``threads``: how many link entries into a graph. ``after_round`` is called on the thread after each round of work."""

    def __init__(self, source: IndexSource, threads: int, after_round: Callable[[], None]) -> None:
        self._source = source
        self._threads = threads
        self._after_round = after_round
        self._changed: set[IndexSlot] = set()
        self._unsaved: set[IndexSlot] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="memd-index-upkeep", daemon=True)
        self._thread.start()

    def note(self, slot: IndexSlot) -> None:
        """Something about the slot changed. Any thread; cheap."""
        with self._lock:
            self._changed.add(slot)

    def dropped(self, slot: IndexSlot) -> None:
        """The slot is not in use any more."""
        slot.retired = True
        with self._lock:
            self._changed.discard(slot)
            self._unsaved.discard(slot)

    def close(self) -> None:
        """End the thread, then save what is worth it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._thread.join(_JOIN_TIMEOUT_S)
        for slot in self._unsaved | self._changed:
            self.save_if_worth(slot)

    def save_if_worth(self, slot: IndexSlot) -> None:
        """Blocking; before the slot goes. A small or unchanged one is loaded from what there is."""
        if slot.ready and not slot.retired and slot.unsaved and _large(slot):
            slot.save(self._source)

    def _run(self) -> None:
        while not self._wake.wait(INDEX_UPKEEP_INTERVAL_S):
            with self._lock:
                slots, self._changed = self._changed, set()
                self._unsaved |= {slot for slot in slots if _large(slot)}
            for slot in slots:
                self._maintain(slot)
            with self._lock:
                due = [slot for slot in self._unsaved if slot.ready and _due(slot)]
                self._unsaved.difference_update(due)
            for slot in due:
                if self._closed:
                    return
                slot.save(self._source)
            if slots:
                self._after_round()

    def _maintain(self, slot: IndexSlot) -> None:
        """Until nothing is left to do. Each step is short, so that a stop need not wait for the whole."""
        if not slot.ready:
            self.note(slot)
            return
        core = slot.current()[1]
        try:
            while not self._closed and core.maintain(INDEX_UPKEEP_ENTRIES, self._threads):
                pass
            slot.memory_bytes = core.memory_bytes
        except RuntimeError:
            log.error("the upkeep of an index failed; its next search will tell")


def _large(slot: IndexSlot) -> bool:
    """A smaller one is built from its rows as fast as it is read from a file."""
    return len(slot.current()[1]) >= INDEX_SAVE_MIN_ROWS


def _due(slot: IndexSlot) -> bool:
    """Enough has changed that reading the changes again would take long, and not just now."""
    enough = slot.unsaved >= len(slot.current()[1]) * INDEX_SAVE_SHARE
    return _large(slot) and enough and slot.saved_ago_s() >= INDEX_SAVE_INTERVAL_S
