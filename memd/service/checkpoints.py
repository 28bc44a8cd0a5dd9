"""Checkpoints: opaque agent state by task, by compare-and-set."""

from __future__ import annotations

from memd.domain.model import Checkpoint, Page, RequestKey, Written
from memd.ports import TaskStore
from memd.service.policy import PolicySource


class CheckpointService:
    def __init__(self, tasks: TaskStore, settings: PolicySource) -> None:
        self._tasks = tasks
        self._settings = settings

    async def save(
        self,
        namespace: str,
        task_id: str,
        state: bytes,
        *,
        expected_version: int | None = None,
        ttl_us: int | None = None,
        request: RequestKey | None = None,
    ) -> Written[Checkpoint]:
        """Store the next version; VersionConflict unless ``expected_version`` is None or current. ``ttl_us`` None is the
        daemon's default. The result has no state."""
        return await self._tasks.save(
            namespace,
            task_id,
            state,
            expected_version=expected_version,
            ttl_us=self._settings.defaults.checkpoint_ttl_us if ttl_us is None else ttl_us,
            keep=await self._settings.checkpoint_history(namespace),
            request=request,
        )

    async def load(self, namespace: str, task_id: str, version: int = 0) -> Checkpoint:
        """``version`` 0 is the newest. NotFound when gone or expired."""
        return await self._tasks.load(namespace, task_id, version)

    async def list(self, namespace: str, task_id: str = "", *, size: int, cursor: str = "") -> Page[Checkpoint]:
        """Versions of one task, newest first, or the newest of every task; without state."""
        return await self._tasks.page(namespace, task_id, size=size, cursor=cursor)

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None = None) -> Written[int]:
        """How many versions went."""
        return await self._tasks.delete(namespace, task_id, request)
