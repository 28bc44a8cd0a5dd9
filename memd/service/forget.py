"""Forget: memories first, then the other stores, with an intent row between them.

MemoryStore.forget commits the deletion of the memories, a tombstone and a PendingForget; the effects on the other stores
are idempotent per receipt; finish_forget closes it. What a crash leaves open, ``resume`` finishes at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memd.domain.errors import InvalidArgument, PermissionDenied
from memd.domain.filters import Filter
from memd.domain.model import ForgetReceipt, RequestKey, Scope, SessionEvents, Written
from memd.domain.visibility import EVERYTHING, forgettable, owned
from memd.limits import MAX_CHECKPOINT_HISTORY
from memd.ports import (
    Erasure,
    ForgetPlan,
    MemoryStore,
    PendingForget,
    SessionStore,
    SettingsStore,
    StepLedger,
    TaskStore,
)

OUT_OF_REACH = (
    "backups, exports and copies of the data directory made before this receipt",
    "snapshots of the file system or volume, and blocks the storage device has not reused yet",
    "what was already handed out in replies",
)


class ForgetService:
    def __init__(
        self,
        memories: MemoryStore,
        sessions: SessionStore,
        tasks: TaskStore,
        steps: StepLedger,
        counts: SettingsStore,
        erasure: Erasure | None = None,
    ) -> None:
        """``erasure``: of a server that keeps deleted bytes until it is asked to let go of them."""
        self._memories = memories
        self._sessions = sessions
        self._tasks = tasks
        self._steps = steps
        self._counts = counts
        self._erasure = erasure
        self._running: set[asyncio.Future[Written[ForgetReceipt]]] = set()

    async def forget(
        self,
        scope: Scope,
        *,
        memory_ids: Sequence[str] = (),
        event_ids: Sequence[str] = (),
        filter: Filter | None = None,
        everything: bool = False,
        all_users: bool = False,
        task_ids: Sequence[str] = (),
        dry_run: bool = False,
        writer: str,
        request: RequestKey | None = None,
    ) -> Written[ForgetReceipt]:
        """Exactly one of ``memory_ids``, ``event_ids``, ``filter`` and ``everything``. A ``dry_run`` counts and deletes
        nothing. What a memory was made of goes with it: see ``ForgetPlan``.

        ``all_users`` (the right to it is checked by the caller) wants a scope of the namespace alone.
        """
        _check(scope, (bool(memory_ids), bool(event_ids), filter is not None, everything), all_users)
        plan = ForgetPlan(
            scope=scope,
            visible=_reach(scope, everything, all_users),
            memory_ids=tuple(memory_ids),
            event_ids=tuple(event_ids),
            filter=filter,
            everything=everything,
            all_users=all_users,
            task_ids=tuple(task_ids),
            dry_run=dry_run,
        )
        work = self._forget(plan, writer, request)
        return await (work if dry_run else self._to_the_end(work))

    async def _forget(self, plan: ForgetPlan, writer: str, request: RequestKey | None) -> Written[ForgetReceipt]:
        written = await self._memories.forget(plan, writer=writer, request=request)
        receipt = written.value
        if plan.dry_run:
            receipt = replace(receipt, counts={**receipt.counts, **await self._count(plan, receipt.events)})
        elif plan.everything or receipt.events:
            receipt = await self._finish(PendingForget(receipt.receipt_id, plan, receipt.events))
        return replace(written, value=replace(receipt, out_of_reach=(*OUT_OF_REACH, *receipt.out_of_reach)))

    async def _to_the_end(self, work: Coroutine[Any, Any, Written[ForgetReceipt]]) -> Written[ForgetReceipt]:
        """A caller that gives up must not leave it half done: what is then said anew would go with the rest, later."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def resume(self) -> int:
        """Finish what a crash or a failing store left half done; how many there were."""
        pending = await self._memories.pending_forgets()
        for one in pending:
            await self._finish(one)
        return len(pending)

    async def _finish(self, pending: PendingForget) -> ForgetReceipt:
        plan, receipt_id = pending.plan, pending.receipt_id
        counts: dict[str, int] = {}
        if plan.everything:
            counts |= await self._sessions.forget(plan.scope, all_users=plan.all_users, receipt_id=receipt_id)
        if pending.events:
            counts |= await self._sessions.forget_events(plan.scope.namespace, pending.events, receipt_id=receipt_id)
        if plan.task_ids or plan.all_users:
            for store in (self._tasks, self._steps):
                counts |= await store.forget(
                    plan.scope.namespace, plan.task_ids, all_tasks=plan.all_users, receipt_id=receipt_id
                )
        receipt = await self._memories.finish_forget(receipt_id, counts)
        if self._erasure is None:
            return receipt
        return replace(receipt, out_of_reach=(*receipt.out_of_reach, *await self._erasure.erase(counts)))

    async def _count(self, plan: ForgetPlan, events: Sequence[SessionEvents]) -> Mapping[str, int]:
        if events:
            return await self._sessions.forget_events(plan.scope.namespace, events, receipt_id="")
        if not plan.everything:
            return {}
        counts = dict(await self._sessions.count(plan.scope, all_users=plan.all_users))
        namespace = plan.scope.namespace
        if plan.all_users:
            counts["checkpoints"] = (await self._counts.counts(namespace))["checkpoints"]
        elif plan.task_ids:
            pages = [
                await self._tasks.page(namespace, task_id, size=MAX_CHECKPOINT_HISTORY, cursor="")
                for task_id in plan.task_ids
            ]
            counts["checkpoints"] = sum(len(page.items) for page in pages)
        if plan.task_ids or plan.all_users:
            counts |= await self._steps.count(namespace, plan.task_ids, all_tasks=plan.all_users)
        return counts


def _check(scope: Scope, targets: Sequence[bool], all_users: bool) -> None:
    _, by_events, _, everything = targets
    if sum(targets) != 1:
        raise InvalidArgument("say what to forget: ids, events, a filter or everything", field="target")
    if by_events and not scope.session_id:
        raise InvalidArgument("events are named within a session", field="scope.session_id")
    if not all_users:
        return
    if not everything:
        raise InvalidArgument("all_users goes with everything", field="everything.all_users")
    if scope.user_id or scope.agent_id or scope.session_id:
        raise PermissionDenied("all_users wants a scope without user_id, agent_id and session_id")


def _reach(scope: Scope, everything: bool, all_users: bool) -> Filter:
    if all_users:
        return EVERYTHING
    return forgettable(scope) if everything else owned(scope)
