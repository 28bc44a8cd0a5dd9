"""MemoryService: check, convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from memd_client._proto.v1 import memory_service_pb2 as ms

from memd.domain.errors import InvalidArgument
from memd.domain.identity import Right
from memd.domain.model import ForgetReceipt, Scope, Written
from memd.limits import (
    MAX_EPOCH,
    MAX_EVENTS_PER_OBSERVE,
    MAX_IDS_PER_FORGET,
    MAX_MEMORIES_PER_REMEMBER,
    MAX_SEQ,
    MAX_TASKS_PER_FORGET,
)
from memd.ports import Head
from memd.rpc import checks, convert_memory, convert_recall, convert_session, filters, pages
from memd.rpc.calls import Call, CallMetrics
from memd.rpc.convert_common import receipt
from memd.service.forget import ForgetService
from memd.service.observe import ObserveService
from memd.service.recall import RecallService
from memd.service.remember import RememberService
from memd.service.watch import Interest, WatchService


class MemoryServicer:
    def __init__(
        self,
        recall: RecallService,
        observe: ObserveService,
        remember: RememberService,
        forget: ForgetService,
        watch: WatchService,
        metrics: CallMetrics,
    ) -> None:
        self._metrics = metrics
        self._recall = recall
        self._observe = observe
        self._remember = remember
        self._forget = forget
        self._watch = watch

    async def Recall(self, request: ms.RecallRequest, call: Call) -> bytes:
        asked = convert_recall.recall_request(request, call.scope(request.scope))
        show = convert_recall.found_and_explained if request.explain else convert_recall.found
        reply = await self._recall.recall(asked, call.remaining_s(), show)
        self._metrics.recalled(reply.answers)
        return convert_recall.recall_response(reply)

    async def Observe(self, request: ms.ObserveRequest, call: Call) -> ms.ObserveResponse:
        scope = call.session(request.scope)
        checks.count(request.events, "events", 1, MAX_EVENTS_PER_OBSERVE)
        whole = request.keep_whole
        extract = checks.choice(request.overflow, "overflow", convert_session.EXTRACT)
        if extract is None and whole:
            extract = False
        events = [
            convert_session.new_event(event, f"events[{index}]", extract=extract)
            for index, event in enumerate(request.events)
        ]
        key = call.request_key(request, scope)
        written = await self._observe.observe(scope, events, extract=bool(extract), keep_whole=whole, request=key)
        return convert_session.observed(written)

    async def Remember(self, request: ms.RememberRequest, call: Call) -> ms.RememberResponse:
        scope = call.scope(request.scope)
        checks.count(request.memories, "memories", 1, MAX_MEMORIES_PER_REMEMBER)
        if request.agent_private and not scope.agent_id:
            raise InvalidArgument("agent_private needs scope.agent_id", field="agent_private")
        drafts = [
            convert_memory.draft(memory, scope, f"memories[{index}]") for index, memory in enumerate(request.memories)
        ]
        ids = [draft.memory.memory_id for draft in drafts if draft.memory.memory_id]
        if len(set(ids)) != len(ids):
            raise InvalidArgument("one memory_id stands twice in memories", field="memories")
        written = await self._remember.remember(
            scope,
            drafts,
            agent_private=request.agent_private,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        return convert_memory.remembered(written)

    async def Forget(self, request: ms.ForgetRequest, call: Call) -> ms.ForgetResponse:
        scope = call.scope(request.scope)
        match request.WhichOneof("target"):
            case "ids":
                written = await self._forget_ids(request, scope, call)
            case "events":
                written = await self._forget_events(request, scope, call)
            case "filter":
                written = await self._forget.forget(
                    scope,
                    filter=filters.parse(request.filter),
                    dry_run=request.dry_run,
                    writer=call.caller.writer,
                    request=call.request_key(request, scope),
                )
            case "everything":
                written = await self._forget_everything(request, scope, call)
            case _:
                raise InvalidArgument("one of ids, events, filter and everything is required", field="target")
        return convert_memory.forgotten(written)

    async def _forget_events(self, request: ms.ForgetRequest, scope: Scope, call: Call) -> Written[ForgetReceipt]:
        ids = request.events.event_ids
        checks.count(ids, "events.event_ids", 1, MAX_IDS_PER_FORGET)
        checked = (checks.identifier(value, f"events.event_ids[{index}]") for index, value in enumerate(ids))
        return await self._forget.forget(
            scope,
            event_ids=tuple(dict.fromkeys(checked)),
            dry_run=request.dry_run,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )

    async def _forget_ids(self, request: ms.ForgetRequest, scope: Scope, call: Call) -> Written[ForgetReceipt]:
        ids = request.ids.memory_ids
        checks.count(ids, "ids.memory_ids", 1, MAX_IDS_PER_FORGET)
        checked = (checks.identifier(value, f"ids.memory_ids[{index}]") for index, value in enumerate(ids))
        return await self._forget.forget(
            scope,
            memory_ids=tuple(dict.fromkeys(checked)),
            dry_run=request.dry_run,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )

    async def _forget_everything(self, request: ms.ForgetRequest, scope: Scope, call: Call) -> Written[ForgetReceipt]:
        asked = request.everything
        checks.count(asked.task_ids, "everything.task_ids", 0, MAX_TASKS_PER_FORGET)
        tasks = (checks.identifier(t, f"everything.task_ids[{i}]") for i, t in enumerate(asked.task_ids))
        if asked.all_users:
            call.require(Right.ADMIN)
            why = "all_users is about the whole namespace"
            checks.unset(scope.user_id, "scope.user_id", why)
            checks.unset(scope.agent_id, "scope.agent_id", why)
            checks.unset(scope.session_id, "scope.session_id", why)
        return await self._forget.forget(
            scope,
            everything=True,
            all_users=asked.all_users,
            task_ids=tuple(dict.fromkeys(tasks)),
            dry_run=request.dry_run,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )

    async def GetMemory(self, request: ms.GetMemoryRequest, call: Call) -> ms.GetMemoryResponse:
        scope = call.scope(request.scope)
        as_of_us = checks.time(request.as_of, "as_of") if request.HasField("as_of") else None
        memory_id = checks.identifier(request.memory_id, "memory_id")
        memory = await self._remember.get(scope, memory_id, as_of_us=as_of_us)
        return ms.GetMemoryResponse(memory=convert_memory.memory(memory))

    async def ListMemories(self, request: ms.ListMemoriesRequest, call: Call) -> ms.ListMemoriesResponse:
        scope = call.scope(request.scope)
        where = filters.parse(request.filter) if request.HasField("filter") else None
        as_of_us = checks.time(request.as_of, "as_of") if request.HasField("as_of") else None
        pager = call.pager(request, scope)

        async def fetch(size: int) -> ms.ListMemoriesResponse:
            page = await self._remember.list(
                scope,
                where,
                as_of_us=as_of_us,
                include_invalid=request.include_invalid,
                size=size,
                cursor=pager.cursor,
            )
            memories = map(convert_memory.memory, page.items)
            return ms.ListMemoriesResponse(memories=memories, next_page_token=pager.token(page.next_cursor))

        return await pages.fitting(checks.page_size(request.page_size), fetch)

    async def UpdateMemory(self, request: ms.UpdateMemoryRequest, call: Call) -> ms.UpdateMemoryResponse:
        scope = call.scope(request.scope)
        memory_id = checks.identifier(request.memory.memory_id, "memory.memory_id")
        written = await self._remember.update(
            scope,
            memory_id,
            convert_memory.updates(request),
            expected_version=request.expected_version,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        return ms.UpdateMemoryResponse(memory=convert_memory.memory(written.value), receipt=receipt(written))

    async def ListMemoryRevisions(
        self, request: ms.ListMemoryRevisionsRequest, call: Call
    ) -> ms.ListMemoryRevisionsResponse:
        scope = call.scope(request.scope)
        memory_id = checks.identifier(request.memory_id, "memory_id")
        pager = call.pager(request, scope)

        async def fetch(size: int) -> ms.ListMemoryRevisionsResponse:
            page = await self._remember.revisions(scope, memory_id, size=size, cursor=pager.cursor)
            revisions = map(convert_memory.memory, page.items)
            return ms.ListMemoryRevisionsResponse(revisions=revisions, next_page_token=pager.token(page.next_cursor))

        return await pages.fitting(checks.page_size(request.page_size), fetch)

    async def RestoreMemoryRevision(
        self, request: ms.RestoreMemoryRevisionRequest, call: Call
    ) -> ms.RestoreMemoryRevisionResponse:
        scope = call.scope(request.scope)
        if not request.version:
            raise InvalidArgument("version is required", field="version")
        written = await self._remember.restore(
            scope,
            checks.identifier(request.memory_id, "memory_id"),
            request.version,
            expected_version=request.expected_version,
            writer=call.caller.writer,
            request=call.request_key(request, scope),
        )
        return ms.RestoreMemoryRevisionResponse(memory=convert_memory.memory(written.value), receipt=receipt(written))

    async def WatchMemories(
        self, request: ms.WatchMemoriesRequest, call: Call
    ) -> AsyncGenerator[ms.WatchMemoriesResponse, None]:
        scope = call.scope(request.scope)
        where = filters.parse(request.filter) if request.HasField("filter") else None
        if request.all_users:
            call.require(Right.ADMIN)
            why = "all_users is about the whole namespace"
            checks.unset(scope.user_id, "scope.user_id", why)
            checks.unset(scope.agent_id, "scope.agent_id", why)
        checks.whole(request.after_seq, "after_seq", 0, MAX_SEQ)
        checks.whole(request.after_epoch, "after_epoch", 0, MAX_EPOCH)
        after = Head(request.after_seq, request.after_epoch) if request.HasField("after_seq") else None
        async with aclosing(self._watch.watch(Interest(scope, where, request.all_users), after)) as changes:
            async for change in changes:
                yield convert_memory.watched(change)
