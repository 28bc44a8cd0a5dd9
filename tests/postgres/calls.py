"""Short calls of the stores, for tests."""

from __future__ import annotations

import dataclasses

from memd.adapters.postgres import PostgresStores
from memd.domain.model import Memory, RememberedMemory, RequestKey, Scope, Written
from memd.domain.visibility import EVERYTHING, forgettable
from memd.ports import ChangeBatch, ForgetPlan, Head, ReplicaMemory
from tests.contract.builders import USER, draft

Remembered = Written[tuple[RememberedMemory, ...]]


async def remember(
    stores: PostgresStores, *ids: str, content: str = "", namespace: str = "n", request: RequestKey | None = None
) -> Remembered:
    drafts = [draft(one, content, scope=Scope(namespace, "u")) for one in ids]
    fence = await stores.memories.fence(namespace)
    return await stores.memories.remember(namespace, drafts, fence=fence, writer="w", request=request)


async def forget(stores: PostgresStores, *ids: str) -> int:
    plan = ForgetPlan(USER, forgettable(USER), memory_ids=ids)
    return (await stores.memories.forget(plan, writer="w", request=None)).seq


async def forget_all(stores: PostgresStores, namespace: str = "n") -> int:
    plan = ForgetPlan(Scope(namespace), EVERYTHING, everything=True, all_users=True)
    return (await stores.memories.forget(plan, writer="w", request=None)).seq


async def page(stores: PostgresStores, namespace: str = "n") -> list[Memory]:
    return list((await stores.memories.page(namespace, EVERYTHING, size=1_000, cursor="")).items)


BEGINNING = Head(0, 0)


@dataclasses.dataclass
class Follower:
    """The least a replica does: rows by id, and where it stands."""

    namespace: str = "n"
    at: Head = BEGINNING
    memories: dict[str, ReplicaMemory] = dataclasses.field(default_factory=dict)
    batches: list[ChangeBatch] = dataclasses.field(default_factory=list)

    async def step(self, stores: PostgresStores) -> bool:
        """One batch; False when it must reload."""
        batch = await stores.changes.changes(self.namespace, self.at)
        if batch is None:
            return False
        self.apply(batch)
        return True

    async def catch_up(self, stores: PostgresStores) -> bool:
        """To the head as it is now; False when it must reload."""
        target = (await stores.changes.heads([self.namespace]))[self.namespace]
        while self.at.seq < target.seq:
            if not await self.step(stores):
                return False
        return True

    async def reload(self, stores: PostgresStores) -> None:
        async for batch in stores.changes.snapshot(self.namespace):
            self.apply(batch)

    def apply(self, batch: ChangeBatch) -> None:
        self.batches.append(batch)
        if "memory" in batch.cleared:
            self.memories.clear()
        for kind, entry_id in batch.deleted:
            if kind == "memory":
                self.memories.pop(entry_id, None)
        self.memories.update({one.memory_id: one for one in batch.memories})
        self.at = batch.reached
