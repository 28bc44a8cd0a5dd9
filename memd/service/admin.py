"""Looking after a namespace: what it holds, its settings, and whether index and rows agree."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from memd.domain.errors import InvalidArgument
from memd.domain.model import NamespaceSettings, NamespaceStats, RequestKey, VerifyReport, Written
from memd.limits import (
    MAX_CHECKPOINT_HISTORY,
    MAX_TIER_ITEMS,
    MAX_TIER_TOKENS,
    MAX_TTL_US,
    MAX_WORKING_ITEMS,
    MIN_TTL_US,
)
from memd.ports import IndexState, MemoryStore, NamespaceIndex, SettingsStore
from memd.service.policy import PolicySource

_VERIFY_ATTEMPTS = 5
"""Rows and index are read one after the other: with writes between them they are read again."""
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "working_max_items": (1, MAX_WORKING_ITEMS),
    "working_max_tokens": (1, MAX_TIER_TOKENS),
    "episodic_max_items": (1, MAX_TIER_ITEMS),
    "episodic_ttl_us": (MIN_TTL_US, MAX_TTL_US),
    "checkpoint_history": (1, MAX_CHECKPOINT_HISTORY),
}


class AdminService:
    def __init__(
        self, memories: MemoryStore, store: SettingsStore, index: NamespaceIndex, settings: PolicySource
    ) -> None:
        self._memories = memories
        self._store = store
        self._index = index
        self._settings = settings
        self._updating = asyncio.Lock()
        """Read, merge, write: one at a time, or a change between would be lost."""

    async def stats(self, namespace: str) -> NamespaceStats:
        counts = await self._store.counts(namespace)
        states = [await asyncio.to_thread(self._index.state, namespace, kind) for kind in ("memory", "procedure")]
        return NamespaceStats(
            memories=counts["memories"],
            procedures=counts["procedures"],
            sessions=counts["sessions"],
            events=counts["events"],
            checkpoints=counts["checkpoints"],
            seq=counts["seq"],
            index_entries=sum(len(state.entries) for state in states),
            index_bytes=sum(state.memory_bytes for state in states),
        )

    async def settings(self, namespace: str) -> NamespaceSettings:
        return await self._store.settings(namespace)

    async def update_settings(
        self,
        namespace: str,
        changes: NamespaceSettings,
        reset: frozenset[str] = frozenset(),
        *,
        expected_version: int = 0,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[NamespaceSettings]:
        """What ``changes`` sets replaces the stored value, the fields named in ``reset`` go back to the daemon's.

        VersionConflict unless ``expected_version`` is 0 or current.
        """
        _check(changes)
        async with self._updating:
            try:
                return await self._store.put_settings(
                    namespace,
                    _merged(await self._store.settings(namespace), changes, reset),
                    expected_version=expected_version,
                    writer=writer,
                    request=request,
                )
            finally:
                self._settings.invalidate(namespace)

    async def verify(self, namespace: str) -> VerifyReport:
        """Compare every memory row with its index entry: ids, versions, change number."""
        for _ in range(_VERIFY_ATTEMPTS):
            before = await asyncio.to_thread(self._index.state, namespace, "memory")
            seq, rows, problems = await self._memories.verify(namespace)
            if before.seq == seq:
                break
        return _compared(seq, rows, problems, before)


def _check(settings: NamespaceSettings) -> None:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"{name} must be between {least:,} and {most:,}", field=f"settings.{name}")


def _merged(stored: NamespaceSettings, changes: NamespaceSettings, reset: frozenset[str]) -> NamespaceSettings:
    values: dict[str, Any] = dict.fromkeys(reset & _BOUNDS.keys())
    names = [f.name for f in fields(NamespaceSettings) if f.name in _BOUNDS]
    values |= {name: getattr(changes, name) for name in names if getattr(changes, name) is not None}
    return replace(stored, **values)


def _compared(seq: int, rows: Mapping[str, int], problems: Sequence[str], index: IndexState) -> VerifyReport:
    both = rows.keys() & index.entries.keys()
    return VerifyReport(
        rows=len(rows),
        index_entries=len(index.entries),
        seq=seq,
        index_seq=index.seq,
        missing=len(rows) - len(both),
        phantom=len(index.entries) - len(both),
        stale=sum(1 for id_ in both if rows[id_] != index.entries[id_]),
        problems=tuple(problems),
    )
