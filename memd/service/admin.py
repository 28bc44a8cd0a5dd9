"""Looking after a namespace: what it holds, its settings, and whether index and rows agree."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from memd.domain.errors import InvalidArgument, WrongState
from memd.domain.model import BackupMade, NamespaceSettings, NamespaceStats, RequestKey, VerifyReport, Written
from memd.domain.retention import RetentionPolicy, policy_of
from memd.domain.settings import COMPRESSION_BOUNDS
from memd.limits import (
    MAX_CHECKPOINT_HISTORY,
    MAX_RETENTION_COUNT,
    MAX_TIER_ITEMS,
    MAX_TIER_TOKENS,
    MAX_TTL_US,
    MAX_WORKING_ITEMS,
    MIN_TTL_US,
)
from memd.ports import INDEX_KINDS, Backups, IndexState, MemoryStore, NamespaceIndex, Retention, SettingsStore
from memd.service.policy import PolicySource
from memd.service.retention import check_surplus

_VERIFY_ATTEMPTS = 3
_INDEX_PAUSES_S = (0.0, 0.01, 0.1, 0.4, 0.0)
_ON_SERVERS = (
    "memories, procedures and steps are on Postgres: back it up with pg_dump, or pg_basebackup and its log"
    " (docs/moving-data.md says what to do after a restore); nothing was written"
)
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "working_max_items": (1, MAX_WORKING_ITEMS),
    "working_max_tokens": (1, MAX_TIER_TOKENS),
    "episodic_max_items": (1, MAX_TIER_ITEMS),
    "episodic_ttl_us": (MIN_TTL_US, MAX_TTL_US),
    "checkpoint_history": (1, MAX_CHECKPOINT_HISTORY),
    "compress": (False, True),
    "retention_max_age_us": (MIN_TTL_US, MAX_TTL_US),
    "retention_max_count": (1, MAX_RETENTION_COUNT),
    "retention_keep_if_pinned": (False, True),
    "compress_keep": COMPRESSION_BOUNDS["keep"],
    "compress_at": COMPRESSION_BOUNDS["at"],
    "compress_to": COMPRESSION_BOUNDS["to"],
    "summary_share": COMPRESSION_BOUNDS["summary_share"],
}


class AdminService:
    def __init__(
        self,
        memories: MemoryStore,
        store: SettingsStore,
        index: NamespaceIndex,
        settings: PolicySource,
        backups: Backups | None = None,
        *,
        not_in_backups: tuple[str, ...] = (),
        no_pgvector: str = "",
        retention: Retention | None = None,
    ) -> None:
        """``backups`` None: the rows are on a server, which has backups of its own. ``no_pgvector``: why no namespace can be
        searched by pgvector; "" where one can. ``retention``: what new policies are measured by."""
        self._memories = memories
        self._store = store
        self._index = index
        self._settings = settings
        self._backups = backups
        self._not_in_backups = not_in_backups
        self._no_pgvector = no_pgvector
        self._retention = retention
        self._updating = asyncio.Lock()
        """Read, merge, write: one at a time, or a change between would be lost."""

    async def stats(self, namespace: str) -> NamespaceStats:
        counts = await self._store.counts(namespace)
        states = [await asyncio.to_thread(self._index.state, namespace, kind) for kind in INDEX_KINDS]
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

    async def backup(self, name: str) -> BackupMade:
        """A copy of all namespaces, under a name of the caller's."""
        if self._backups is None:
            raise WrongState(_ON_SERVERS)
        return replace(await self._backups.backup(name), not_included=self._not_in_backups)

    async def settings(self, namespace: str) -> NamespaceSettings:
        return await self._store.settings(namespace)

    async def update_settings(
        self,
        namespace: str,
        changes: NamespaceSettings,
        reset: frozenset[str] = frozenset(),
        *,
        expected_version: int = 0,
        confirmed: bool = False,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[NamespaceSettings]:
        """What ``changes`` sets replaces the stored value, the fields named in ``reset`` go back to the daemon's.

        VersionConflict unless ``expected_version`` is 0 or current; WrongState for an index that cannot be had;
        ConfirmationNeeded for a retention policy that takes too much, unless ``confirmed``.
        """
        check_settings(changes)
        if changes.index == "pgvector" and self._no_pgvector:
            raise WrongState(self._no_pgvector)
        async with self._updating:
            try:
                stored = await self._store.settings(namespace)
                wanted = merged(stored, changes, reset)
                if not confirmed:
                    await self._check_retention(namespace, policy_of(stored), policy_of(wanted))
                return await self._store.put_settings(
                    namespace,
                    wanted,
                    expected_version=expected_version,
                    writer=writer,
                    request=request,
                )
            finally:
                self._settings.invalidate(namespace)

    async def _check_retention(self, namespace: str, stored: RetentionPolicy, wanted: RetentionPolicy) -> None:
        if self._retention is None or wanted == stored or not wanted.bounds:
            return
        await check_surplus(self._retention, self._store, namespace, wanted, "set confirm_retention if it is meant to")

    async def verify(self, namespace: str) -> VerifyReport:
        """Compare every memory row with its index entry: ids, versions, change number.

        Writes go on meanwhile: the index is read before and after the rows, and what lies between the two is no
        difference. Only what differs at every attempt is one.
        """
        suspects: frozenset[str] | None = None
        for _ in range(_VERIFY_ATTEMPTS):
            before = await asyncio.to_thread(self._index.state, namespace, "memory")
            seq, rows, problems = await self._memories.verify(namespace)
            after = await self._index_at(namespace, seq)
            differing = await asyncio.to_thread(_differing, rows, before.entries, after.entries)
            suspects = differing if suspects is None else suspects & differing
            index_seq = seq if _between(seq, before.seq, after.seq) else after.seq
            if not suspects and index_seq == seq:
                break
        missing = sum(1 for id_ in suspects or () if id_ in rows and id_ not in after.entries)
        phantom = sum(1 for id_ in suspects or () if id_ not in rows)
        return VerifyReport(
            rows=len(rows),
            index_entries=len(after.entries),
            seq=seq,
            index_seq=index_seq,
            missing=missing,
            phantom=phantom,
            stale=len(suspects or ()) - missing - phantom,
            problems=tuple(problems),
        )

    async def _index_at(self, namespace: str, seq: int) -> IndexState:
        """Once it has what the rows had, which it is told right after their commit; else as it is in the end."""
        for pause_s in _INDEX_PAUSES_S:
            state = await asyncio.to_thread(self._index.state, namespace, "memory")
            if state.seq >= seq:
                break
            await asyncio.sleep(pause_s)
        return state


def check_settings(settings: NamespaceSettings) -> None:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"{name} must be between {least:,} and {most:,}", field=f"settings.{name}")


def merged(stored: NamespaceSettings, changes: NamespaceSettings, reset: frozenset[str]) -> NamespaceSettings:
    """``stored`` with what ``changes`` sets; the fields named in ``reset`` are unset."""
    names = {f.name for f in fields(NamespaceSettings)} - {"version"}
    values: dict[str, Any] = dict.fromkeys(reset & names)
    values |= {name: getattr(changes, name) for name in names if getattr(changes, name) is not None}
    return replace(stored, **values)


def _differing(rows: Mapping[str, int], before: Mapping[str, int], after: Mapping[str, int]) -> frozenset[str]:
    """Ids whose version in the rows is not one the index can have had between the two looks at it; 0 is absent."""
    ids = rows.keys() | before.keys() | after.keys()
    return frozenset(i for i in ids if not _between(rows.get(i, 0), before.get(i, 0), after.get(i, 0)))


def _between(value: int, one: int, other: int) -> bool:
    return min(one, other) <= value <= max(one, other)
