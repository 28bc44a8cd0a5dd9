"""Memories, procedures and settings: written where the truth is, read from the replica.

A write returns when the replica has it too, so that the very next recall of this daemon finds it; where the truth went away
in between, the write stands, and reads say that they are behind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from memd.adapters.replica.comparison import Comparison
from memd.adapters.replica.follower import LOADING, Follower
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.adapters.sqlite.memories import SqliteMemories
from memd.adapters.sqlite.procedures import SqliteProcedures
from memd.adapters.sqlite.settings import SqliteSettings
from memd.domain.errors import NotFound, NotReady, Unavailable
from memd.domain.filters import Filter
from memd.domain.model import (
    ForgetReceipt,
    Memory,
    NamespaceSettings,
    NewMemory,
    OutcomeReport,
    Page,
    Procedure,
    RememberedMemory,
    RequestKey,
    Scope,
    Written,
)
from memd.domain.portable import Exported, PortableMemory, TakenIn
from memd.domain.portable_procedures import PortableProcedure
from memd.limits import REPLICA_WAIT_S
from memd.ports import (
    ForgetPlan,
    MemoryChange,
    MemoryTruth,
    PendingForget,
    ProcedureTruth,
    SettingsStore,
    Transfers,
)

T = TypeVar("T")


class _Replicated:
    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def _seen(self, namespace: str, written: Written[T]) -> Written[T]:
        await self._follower.wrote(namespace, written.seq)
        return written

    async def ready(self, namespace: str) -> None:
        found = await self._follower.follow(namespace, 0, REPLICA_WAIT_S)
        if found.reason == LOADING:
            raise NotReady("the namespace is being loaded from Postgres")


class ReplicatedMemories(_Replicated):
    """Implements ``ports.MemoryStore``."""

    def __init__(self, truth: MemoryTruth, local: SqliteMemories, follower: Follower) -> None:
        super().__init__(follower)
        self._truth = truth
        self._local = local

    async def fence(self, namespace: str) -> int:
        return await self._truth.fence(namespace)

    async def remember(
        self, namespace: str, drafts: Sequence[NewMemory], *, fence: int, writer: str, request: RequestKey | None
    ) -> Written[tuple[RememberedMemory, ...]]:
        written = await self._truth.remember(namespace, drafts, fence=fence, writer=writer, request=request)
        return await self._seen(namespace, written)

    async def update(
        self,
        namespace: str,
        memory_id: str,
        visible: Filter,
        change: MemoryChange,
        *,
        expected_version: int,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[Memory]:
        written = await self._truth.update(
            namespace,
            memory_id,
            visible,
            change,
            expected_version=expected_version,
            fence=fence,
            writer=writer,
            request=request,
        )
        return await self._seen(namespace, written)

    async def forget(self, plan: ForgetPlan, *, writer: str, request: RequestKey | None) -> Written[ForgetReceipt]:
        written = await self._truth.forget(plan, writer=writer, request=request)
        return written if plan.dry_run else await self._seen(plan.scope.namespace, written)

    async def finish_forget(self, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        return await self._truth.finish_forget(receipt_id, counts)

    async def pending_forgets(self) -> tuple[PendingForget, ...]:
        return await self._truth.pending_forgets()

    def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        return self._local.fetch(namespace, memory_ids)

    def digests(self, scope: Scope, limit: int) -> list[Memory]:
        return self._local.digests(scope, limit)

    async def page(self, namespace: str, where: Filter, *, size: int, cursor: str) -> Page[Memory]:
        """The token says how far the rows were that a page was taken from: a sidecar that is asked for the next one has
        what those had, or answers NotReady."""
        seq, *after = decode_cursor(cursor, int, int, str) or (0,)
        here = await self._reached(namespace, seq)
        page = await self._local.page(namespace, where, size=size, cursor=encode_cursor(*after) if after else "")
        last = decode_cursor(page.next_cursor, int, str)
        return replace(page, next_cursor=encode_cursor(here, *last)) if last else page

    async def _reached(self, namespace: str, seq: int) -> int:
        """Wait until the rows here are at ``seq``; how far they are."""
        await self.ready(namespace)
        await self._follower.follow(namespace, seq, REPLICA_WAIT_S)
        here = self._follower.position(namespace).seq
        if here < seq:
            raise NotReady(
                "the page before was taken by a daemon that knew of later writes than this one has yet: ask again, or"
                " begin again with the first page"
            )
        return here

    async def revisions(self, namespace: str, memory_id: str, *, size: int, cursor: str) -> Page[Memory]:
        return await self._truth.revisions(namespace, memory_id, size=size, cursor=cursor)

    async def verify(self, namespace: str) -> tuple[int, Mapping[str, int], Sequence[str]]:
        """Of the replica; what differs from the truth is among the problems."""
        return await Comparison(self._truth, self._local, self._follower).run(namespace)

    async def sweep(self, max_rows: int) -> int:
        return await self._truth.sweep(max_rows)


class ReplicatedProcedures(_Replicated):
    """Implements ``ports.ProcedureStore``. The replica has the offered version of each; the others are asked for."""

    def __init__(self, truth: ProcedureTruth, local: SqliteProcedures, follower: Follower) -> None:
        super().__init__(follower)
        self._truth = truth
        self._local = local

    async def put(
        self,
        procedure: Procedure,
        embeddings: tuple[bytes, ...],
        *,
        expected_version: int | None,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[tuple[Procedure, bool]]:
        written = await self._truth.put(
            procedure, embeddings, expected_version=expected_version, fence=fence, writer=writer, request=request
        )
        return await self._seen(procedure.scope.namespace, written)

    async def get(self, namespace: str, procedure_id: str, version: int) -> Procedure:
        await self.ready(namespace)
        try:
            return await self._local.get(namespace, procedure_id, version)
        except NotFound:
            if not version:
                raise
        return await self._truth.get(namespace, procedure_id, version)

    def fetch(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        return self._local.fetch(namespace, procedure_ids)

    async def page(self, scope: Scope, *, key: str, size: int, cursor: str) -> Page[Procedure]:
        if key:
            return await self._truth.page(scope, key=key, size=size, cursor=cursor)
        await self.ready(scope.namespace)
        return await self._local.page(scope, key=key, size=size, cursor=cursor)

    async def delete(
        self, namespace: str, procedure_id: str, *, writer: str, request: RequestKey | None
    ) -> Written[int]:
        written = await self._truth.delete(namespace, procedure_id, writer=writer, request=request)
        return await self._seen(namespace, written)

    async def report(
        self, namespace: str, procedure_id: str, version: int, report: OutcomeReport, request: RequestKey | None
    ) -> Written[Procedure]:
        return await self._seen(namespace, await self._truth.report(namespace, procedure_id, version, report, request))

    async def outcomes(self, namespace: str, procedure_id: str, version: int, limit: int) -> Sequence[OutcomeReport]:
        return await self._truth.outcomes(namespace, procedure_id, version, limit)


class ReplicatedSettings:
    """Implements ``ports.SettingsStore``. Settings cost no trip where the namespace is here."""

    def __init__(self, truth: SettingsStore, local: SqliteSettings, follower: Follower) -> None:
        self._truth = truth
        self._local = local
        self._follower = follower

    async def settings(self, namespace: str) -> NamespaceSettings:
        if self._follower.holds(namespace):
            return await self._local.settings(namespace)
        return await self._truth.settings(namespace)

    async def put_settings(
        self,
        namespace: str,
        settings: NamespaceSettings,
        *,
        expected_version: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[NamespaceSettings]:
        written = await self._truth.put_settings(
            namespace, settings, expected_version=expected_version, writer=writer, request=request
        )
        await self._follower.wrote(namespace, written.seq)
        return written

    async def counts(self, namespace: str) -> Mapping[str, int]:
        """Of the truth; while it is out of reach, of what is here."""
        try:
            return await self._truth.counts(namespace)
        except Unavailable:
            return await self._local.counts(namespace)


class ReplicatedTransfers(_Replicated):
    """Implements ``ports.Transfers``: exported from the truth, and at hand when a batch has been taken in."""

    def __init__(self, truth: Transfers, follower: Follower) -> None:
        super().__init__(follower)
        self._truth = truth

    def export(self, namespace: str) -> AsyncGenerator[Sequence[Exported], None]:
        return self._truth.export(namespace)

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        taken = await self._truth.take_in(namespace, memories, exported_us=exported_us, fence=fence, writer=writer)
        return await self._seen(namespace, taken)

    async def take_in_procedure(
        self, namespace: str, procedure: PortableProcedure, *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        taken = await self._truth.take_in_procedure(
            namespace, procedure, exported_us=exported_us, fence=fence, writer=writer
        )
        return await self._seen(namespace, taken)

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> Written[TakenIn]:
        return await self._seen(namespace, await self._truth.take_in_settings(namespace, settings, writer=writer))
