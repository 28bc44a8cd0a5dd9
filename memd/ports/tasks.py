"""Checkpoints and the step ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from memd.domain.model import (
    Checkpoint,
    Page,
    RequestKey,
    Written,
)
from memd.domain.steps import Step, StepIntent


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """How many versions of its checkpoint a task has."""

    namespace: str
    task_id: str
    versions: int


class TaskStore(Protocol):
    async def save(
        self,
        namespace: str,
        task_id: str,
        state: bytes,
        *,
        expected_version: int | None,
        ttl_us: int,
        keep: int,
        request: RequestKey | None,
    ) -> Written[Checkpoint]:
        """Compare-and-set on the newest version (0: none is stored and none ever was, or it expired or was deleted: then
        versions go on from the old number and VersionConflict tells it). Keeps the newest ``keep``; refreshes the TTL of
        them all. The result has no state."""

    async def load(self, namespace: str, task_id: str, version: int) -> Checkpoint:
        """``version`` 0 is the newest. NotFound when gone or expired."""

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Checkpoint]:
        """Versions of one task, newest first, or the newest of every task; without state."""

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        """How many versions went; the number stays reserved so that a stale save is still refused."""

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        """As SessionStore.forget, count ``checkpoints``."""

    async def histories(self, *, size: int, cursor: str) -> Page[TaskHistory]:
        """Tasks of all namespaces, about ``size`` of them: a page may have fewer, or none, and not be the last. What is
        stored throughout is on one of the pages at least."""

    async def prune(self, namespace: str, task_id: str, keep: int) -> int:
        """Delete the versions older than the newest ``keep``; how many went."""

    async def sweep(self, max_rows: int) -> int: ...


class StepLedger(Protocol):
    """Steps of tasks, by the rules of ``memd.domain.steps``. A task's steps expire together, ``ttl_us`` after the last
    change of any of them. Writes return the step as it stands, with ``seq`` its fencing token."""

    async def begin(
        self, namespace: str, intent: StepIntent, *, ttl_us: int, request: RequestKey | None
    ) -> Written[Step]:
        """State RUN: the lease is the caller's. A repeated request whose lease nobody has taken since gets the step again.
        LimitExceeded over MAX_STEPS_PER_TASK."""

    async def renew(
        self, namespace: str, task_id: str, step_id: str, *, token: int, lease_us: int, ttl_us: int
    ) -> Written[Step]:
        """``lease_us`` 0 gives the lease up. This and the next two: StepTaken, NotFound."""

    async def complete(
        self, namespace: str, task_id: str, step_id: str, *, token: int, result: bytes, ttl_us: int
    ) -> Written[Step]: ...

    async def fail(
        self, namespace: str, task_id: str, step_id: str, *, token: int, reason: str, retryable: bool, ttl_us: int
    ) -> Written[Step]: ...

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Step]:
        """In the order they were first begun, without fencing tokens; a page may end early by STEP_PAGE_BYTES."""

    async def count(self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool) -> Mapping[str, int]:
        """Count ``steps``, as ``forget`` would."""

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        """As SessionStore.forget, count ``steps``."""

    async def sweep(self, max_rows: int) -> int: ...
