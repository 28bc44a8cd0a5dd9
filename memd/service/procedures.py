"""Procedures: versioned how-tos by key. An agent's own comes before the one all agents of the user share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from memd.domain.errors import LimitExceeded, NotFound
from memd.domain.ids import procedure_id
from memd.domain.model import Metadata, OutcomeReport, Page, Procedure, RequestKey, Scope, TierName, Written
from memd.ports import Embedder, MemoryStore, ProcedureStore, SettingsStore
from memd.service.embedding import embedded
from memd.service.policy import PolicySource

T = TypeVar("T")


class ProcedureService:
    def __init__(
        self,
        procedures: ProcedureStore,
        memories: MemoryStore,
        embedder: Embedder,
        counts: SettingsStore,
        settings: PolicySource,
    ) -> None:
        self._procedures = procedures
        self._memories = memories
        self._embedder = embedder
        self._counts = counts
        self._settings = settings
        self._admission = asyncio.Lock()

    async def put(
        self,
        scope: Scope,
        key: str,
        trigger: str,
        content: str,
        metadata: Metadata,
        *,
        expected_version: int | None = None,
        agent_private: bool = False,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[tuple[Procedure, bool]]:
        """Store as the next version; False when the newest already is just this. VersionConflict unless
        ``expected_version`` is None or current (0: must not exist). LimitExceeded when the namespace has too many keys."""
        owner = Scope(scope.namespace, scope.user_id, scope.agent_id if agent_private else "")
        procedure = Procedure(procedure_id(owner, key), owner, key, 0, trigger, content, metadata)
        fence = await self._memories.fence(scope.namespace)
        text, field = (trigger, "trigger") if trigger else (key, "key")
        (embeddings,) = await embedded(self._embedder, [text], [field])
        async with self._admission:
            await self._admit(procedure)
            return await self._procedures.put(
                procedure,
                embeddings,
                expected_version=expected_version,
                fence=fence,
                writer=writer,
                request=request,
            )

    async def get(self, scope: Scope, key: str, version: int = 0) -> Procedure:
        """``version`` 0 is the offered one. NotFound."""
        return await _own_first(scope, key, lambda id_: self._procedures.get(scope.namespace, id_, version))

    async def list(self, scope: Scope, key: str = "", *, size: int, cursor: str = "") -> Page[Procedure]:
        """Offered versions by key; with ``key`` all versions of it, newest first."""
        return await self._procedures.page(scope, key=key, size=size, cursor=cursor)

    async def delete(self, scope: Scope, key: str, *, writer: str, request: RequestKey | None = None) -> Written[int]:
        """All versions of the key the scope sees first; how many went. NotFound."""
        return await _own_first(
            scope, key, lambda id_: self._procedures.delete(scope.namespace, id_, writer=writer, request=request)
        )

    async def report(
        self, scope: Scope, key: str, version: int, report: OutcomeReport, request: RequestKey | None = None
    ) -> Written[Procedure]:
        """Count one outcome of one version, and demote it where its record says so. NotFound."""
        return await _own_first(
            scope, key, lambda id_: self._procedures.report(scope.namespace, id_, version, report, request)
        )

    async def outcomes(self, one: Procedure, limit: int) -> Sequence[OutcomeReport]:
        """The newest kept reports of a version, newest first."""
        return await self._procedures.outcomes(one.scope.namespace, one.procedure_id, one.version, limit)

    async def _admit(self, procedure: Procedure) -> None:
        """LimitExceeded when ``procedure`` has a new key and the tier has no room for one more."""
        most = self._settings.tier(TierName.PROCEDURAL).max_items
        if not most:
            return
        namespace = procedure.scope.namespace
        await self._memories.ready(namespace)
        if await asyncio.to_thread(self._procedures.fetch, namespace, [procedure.procedure_id]):
            return
        if (await self._counts.counts(namespace))["procedures"] >= most:
            raise LimitExceeded(f"the namespace already holds {most:,} procedures (tiers.procedural.max_items)")


async def _own_first(scope: Scope, key: str, act: Callable[[str], Awaitable[T]]) -> T:
    """``act`` on the agent's own procedure of this key, else on the shared one."""
    shared = procedure_id(Scope(scope.namespace, scope.user_id), key)
    if not scope.agent_id:
        return await act(shared)
    try:
        return await act(procedure_id(Scope(scope.namespace, scope.user_id, scope.agent_id), key))
    except NotFound:
        return await act(shared)
