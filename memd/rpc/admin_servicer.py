"""AdminService: check, convert, call, convert."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from memd_client._proto.v1 import admin_service_pb2 as ads

from memd.domain.errors import InvalidArgument, PermissionDenied, WrongState
from memd.domain.identity import Right
from memd.domain.jobs import JobReport
from memd.domain.model import EmbeddingModel, PortStats, ReplicaStats, Scope, TierName
from memd.domain.settings import TierSettings
from memd.rpc import convert_admin
from memd.rpc.calls import Call
from memd.rpc.convert_admin import ProcessStats
from memd.rpc.convert_common import duration, receipt, timestamp
from memd.service.admin import AdminService
from memd.service.jobs import WhatIf
from memd.service.lifecycle import LifecycleService
from memd.service.reembed import ReembedService
from memd.service.transfer import TransferService


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """What GetStats tells of the daemon itself. ``uptime_us`` and ``process`` are asked at each call."""

    version: str
    model: Callable[[], EmbeddingModel | None]
    tiers: Mapping[TierName, TierSettings]
    uptime_us: Callable[[], int]
    process: Callable[[], ProcessStats]
    ports: Callable[[], tuple[PortStats, ...]]
    replica: Callable[[str], ReplicaStats | None]


class AdminServicer:
    def __init__(
        self,
        admin: AdminService,
        lifecycle: LifecycleService,
        transfers: TransferService,
        reembed: ReembedService,
        facts: DaemonFacts,
    ) -> None:
        self._admin = admin
        self._lifecycle = lifecycle
        self._transfers = transfers
        self._reembed = reembed
        self._facts = facts

    async def GetStats(self, request: ads.GetStatsRequest, call: Call) -> ads.GetStatsResponse:
        scope = call.scope(request.scope)
        facts = self._facts
        model = facts.model()
        stats = await self._admin.stats(scope.namespace)
        process, jobs = None, tuple[JobReport, ...]()
        if Right.ADMIN in call.caller.rights:
            jobs = await self._lifecycle.reports()
            process = convert_admin.process_stats(facts.process())
        return ads.GetStatsResponse(
            version=facts.version,
            uptime=duration(facts.uptime_us()),
            embedding_model=model.model_id if model else "",
            embedding_model_digest=model.digest if model else "",
            namespace=convert_admin.namespace_stats(stats),
            process=process,
            tiers=[convert_admin.tier(name, facts.tiers[name]) for name in TierName],
            ports=map(convert_admin.port, facts.ports()),
            replica=convert_admin.replica(facts.replica(scope.namespace)),
            jobs=map(convert_admin.job, jobs),
            reembedding=None if self._reembed.running is None else convert_admin.reembed(self._reembed.running),
        )

    async def GetNamespaceSettings(
        self, request: ads.GetNamespaceSettingsRequest, call: Call
    ) -> ads.GetNamespaceSettingsResponse:
        scope = call.scope(request.scope)
        settings = await self._admin.settings(scope.namespace)
        return ads.GetNamespaceSettingsResponse(settings=convert_admin.settings(settings))

    async def UpdateNamespaceSettings(
        self, request: ads.UpdateNamespaceSettingsRequest, call: Call
    ) -> ads.UpdateNamespaceSettingsResponse:
        scope = call.scope(request.scope)
        settings, reset = convert_admin.new_settings(request.settings)
        written = await self._admin.update_settings(
            scope.namespace,
            settings,
            reset,
            expected_version=request.expected_version,
            confirmed=request.confirm_retention,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        return ads.UpdateNamespaceSettingsResponse(
            settings=convert_admin.settings(written.value), receipt=receipt(written)
        )

    async def Verify(self, request: ads.VerifyRequest, call: Call) -> ads.VerifyResponse:
        scope = call.scope(request.scope)
        return convert_admin.verification(await self._admin.verify(scope.namespace))

    async def RunLifecycle(self, request: ads.RunLifecycleRequest, call: Call) -> ads.RunLifecycleResponse:
        scope = call.scope(request.scope)
        what_if = WhatIf(*convert_admin.what_if(request.settings)) if request.HasField("settings") else None
        ran = await self._lifecycle.run(
            request.job, dry_run=request.dry_run, namespace=scope.namespace, what_if=what_if
        )
        one_of_them = call.caller.user_id or call.caller.agent_id  # ids are the namespace's, whosever
        return ads.RunLifecycleResponse(
            examined=ran.examined, changed=ran.changed, memory_ids=() if one_of_them else ran.ids
        )

    async def Backup(self, request: ads.BackupRequest, call: Call) -> ads.BackupResponse:
        call.scope(request.scope)
        made = await self._admin.backup(request.name)
        return ads.BackupResponse(
            bytes=made.bytes, backup_time=timestamp(made.backup_time_us), not_included=made.not_included
        )

    async def Reembed(self, request: ads.ReembedRequest, call: Call) -> AsyncGenerator[ads.ReembedResponse, None]:
        call.scope(request.scope)
        if request.cancel:
            if not await self._reembed.cancel():
                raise WrongState("nothing is being re-embedded")
            return
        async with contextlib.aclosing(self._reembed.follow(request.embedding_model)) as progress:
            async for run in progress:
                yield convert_admin.reembed(run)

    async def ExportNamespace(
        self, request: ads.ExportNamespaceRequest, call: Call
    ) -> AsyncGenerator[ads.ExportNamespaceResponse, None]:
        scope = _whole_namespace(call.scope(request.scope))
        async with contextlib.aclosing(self._transfers.export(scope.namespace)) as chunks:
            async for chunk in chunks:
                yield ads.ExportNamespaceResponse(chunk=chunk)

    async def ImportNamespace(
        self, requests: AsyncIterator[ads.ImportNamespaceRequest], call: Call
    ) -> ads.ImportNamespaceResponse:
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgument("the first message must have the scope", field="scope")
        scope = _whole_namespace(call.scope(first.scope))

        async def chunks() -> AsyncIterator[bytes]:
            yield first.chunk
            async for request in requests:
                yield request.chunk

        taken = await self._transfers.import_(scope.namespace, chunks(), into=first.into, writer=call.caller.writer)
        return ads.ImportNamespaceResponse(imported=taken.imported, skipped=taken.skipped, forgotten=taken.forgotten)


def _whole_namespace(scope: Scope) -> Scope:
    """PermissionDenied for a credential that is fixed to a user or an agent: a transfer is of everybody's."""
    if scope.user_id or scope.agent_id or scope.session_id:
        raise PermissionDenied("export and import are of a whole namespace: the scope must name nothing else")
    return scope
