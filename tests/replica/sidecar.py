"""A sidecar without its socket and its model: Postgres, the local replica, its follower and its index, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.replica import Follower, ReplicatedMemories, ReplicatedProcedures, ReplicatedSettings
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Scope, VerifyReport
from memd.domain.settings import DaemonDefaults
from memd.ports import Clock, IndexSink
from memd.service.admin import AdminService
from memd.service.policy import PolicySource
from tests.contract.builders import MODEL, draft

MAX_STALE_S = 60.0


@dataclass
class Sidecar:
    """Nothing polls and nothing listens by itself: a test says when, with ``poll``."""

    postgres: PostgresStores
    local: SqliteStores
    index: RustNamespaceIndex
    follower: Follower
    memories: ReplicatedMemories
    procedures: ReplicatedProcedures
    settings: ReplicatedSettings
    policy: PolicySource

    @classmethod
    async def open(cls, url: str, data_dir: Path, *, clock: Clock | None = None, **options: Any) -> Sidecar:
        """``options``: of PostgresSettings, and ``sink`` (told what the index is), ``most`` namespaces followed."""
        clock = clock or SystemClock()
        sink: IndexSink | None = options.pop("sink", None)
        most = {"most": options.pop("most")} if "most" in options else {}
        feed = IndexFeed()

        def told(changes: Any) -> None:
            feed(changes)
            if sink is not None:
                sink(changes)

        server_clock = options.pop("server_clock", None)
        postgres = await PostgresStores.open(PostgresSettings(url, **options), model=MODEL, clock=server_clock)
        local = SqliteStores.open(data_dir, model=MODEL, clock=clock, sink=told, reset=feed.reset)
        files = IndexFiles(data_dir, MODEL.model_id, MODEL.dimensions)
        index = feed.index = RustNamespaceIndex(local.memories, MODEL.dimensions, files=files)
        follower = Follower(postgres.changes, local.replica, clock, max_stale_s=MAX_STALE_S, **most)
        postgres.memories.landed = follower.landed
        settings = ReplicatedSettings(postgres.settings, local.settings, follower)
        policy = PolicySource(settings, DaemonDefaults())
        follower.settings_changed = policy.invalidate
        await follower.start()
        return cls(
            postgres,
            local,
            index,
            follower,
            ReplicatedMemories(postgres.memories, local.memories, follower),
            ReplicatedProcedures(postgres.procedures, local.procedures, follower),
            settings,
            policy,
        )

    async def close(self) -> None:
        await self.follower.close()
        self.index.close()
        self.local.close()
        await self.postgres.close()

    async def poll(self) -> None:
        """One poll, and everything it set off."""
        await self.follower.poll()
        await self.follower.settled()

    async def remember(self, namespace: str, *ids: str, content: str = "") -> int:
        """The change number."""
        fence = await self.memories.fence(namespace)
        drafts = [draft(one, content, scope=Scope(namespace, "u")) for one in ids]
        return (await self.memories.remember(namespace, drafts, fence=fence, writer="w", request=None)).seq

    def found(self, namespace: str) -> tuple[set[str], int]:
        """Ids of what the index has and whose rows are here, and the index's change number."""
        state = self.index.state(namespace, "memory")
        rows = self.memories.fetch(namespace, list(state.entries))
        return {row.memory_id for row in rows}, state.seq

    async def verified(self, namespace: str) -> VerifyReport:
        return await AdminService(self.memories, self.settings, self.index, self.policy).verify(namespace)
