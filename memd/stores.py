"""Which stores a daemon runs on: put together from its configuration, opened and closed as one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

from memd.adapters.counted import CountedSettings
from memd.adapters.index import IndexFeed
from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.redis import (
    RedisCheckpoints,
    RedisErasure,
    RedisLink,
    RedisSessionMarks,
    RedisSessions,
    RedisSettings,
)
from memd.adapters.replica import (
    Follower,
    ReplicatedMemories,
    ReplicatedProcedures,
    ReplicatedSettings,
    ReplicatedTransfers,
)
from memd.adapters.sqlite import SqliteStores
from memd.config import Config, RedisConfig
from memd.domain.errors import ModelMismatch, Unavailable
from memd.domain.model import Durability, EmbeddingModel, PortStats, ReplicaStats, TierName
from memd.limits import POSTGRES_START_PAUSE_S, POSTGRES_START_WAIT_S
from memd.ports import (
    Backups,
    ChangeLog,
    Clock,
    Leases,
    MemoryStore,
    ProcedureStore,
    Reembedding,
    SessionMarks,
    SessionStore,
    SettingsStore,
    StepLedger,
    TaskStore,
    Transfers,
)

log = logging.getLogger(__name__)
REPLICA = "replica"
"""Directory below the data directory: the copy never shares a file with what may be the truth of an embedded daemon."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The ports, wherever they are; ``local`` is the SQLite file, the truth or a replica of it (then there is
    ``follower``)."""

    sessions: SessionStore
    marks: SessionMarks
    memories: MemoryStore
    procedures: ProcedureStore
    settings: SettingsStore
    tasks: TaskStore
    steps: StepLedger
    local: SqliteStores
    data_dir: Path
    kinds: Mapping[str, str]
    """What is kept where, by name of the port."""
    postgres: PostgresStores | None = None
    redis: RedisLink | None = None
    follower: Follower | None = None
    erasure: RedisErasure | None = None

    @property
    def leases(self) -> Leases:
        """Where every daemon that shares these stores sees them."""
        return self.postgres.leases if self.postgres else self.local.leases

    @property
    def backups(self) -> Backups | None:
        """None where the truth is on a server, which has backups of its own."""
        return None if self.postgres else self.local.backups

    @property
    def transfers(self) -> Transfers:
        """Where the truth is."""
        if self.postgres is None or self.follower is None:
            return self.local.transfers
        return ReplicatedTransfers(self.postgres.transfers, self.follower)

    @property
    def reembedding(self) -> Reembedding | None:
        """None where the truth is on a server, whose model ``memd reembed`` changes."""
        return None if self.postgres else self.local.reembedding

    @property
    def no_pgvector(self) -> str:
        """Why no namespace can have ``index = "pgvector"``; "" where one can."""
        if self.postgres is None:
            return 'index = "pgvector" needs Postgres: start memd with --postgres URL'
        if not self.postgres.has_pgvector:
            return 'index = "pgvector" needs pgvector, which this Postgres database was made without'
        return ""

    @property
    def in_redis(self) -> tuple[str, ...]:
        """What a backup of the rows does not have."""
        names = {"sessions": "sessions", "tasks": "checkpoints"}
        return tuple(name for port, name in names.items() if self.kinds[port] == "redis")

    @property
    def change_log(self) -> ChangeLog:
        """Where the truth is."""
        return self.postgres.change_log if self.postgres else self.local.change_log

    async def frozen_model(self) -> EmbeddingModel | None:
        """The model the stored embeddings were made with."""
        return await (self.postgres or self.local).frozen_model()

    async def superseded_model(self) -> EmbeddingModel | None:
        """The model the stored embeddings were made with before."""
        return await (self.postgres or self.local).superseded_model()

    async def use_model(self, model: EmbeddingModel) -> None:
        """ModelMismatch when the stores have another. A replica made with another one is thrown away."""
        if self.postgres is None:
            await self.local.use_model(model)
            return
        await self.postgres.use_model(model)
        try:
            await self.local.use_model(model)
        except ModelMismatch:
            log.warning("the replica was made with another embedding model and is made anew")
            await self.local.replica.clear()
            await self.local.use_model(model)

    def ports(self) -> tuple[PortStats, ...]:
        """What is kept where, and what a write there is worth."""
        worth = {"sqlite": Durability.SYNCED}
        if self.postgres is not None:
            worth["postgres"] = self.postgres.facts.durability
        if self.redis is not None:
            worth["redis"] = self.redis.describe().durability
        return tuple(PortStats(port, store, worth[store]) for port, store in self.kinds.items())

    def replica(self, namespace: str) -> ReplicaStats | None:
        """None where the local file is the truth."""
        return None if self.follower is None else self.follower.position(namespace)

    def describe(self) -> Mapping[str, str]:
        """The servers there are and what their commits mean, for an operator."""
        found: dict[str, str] = {}
        if self.postgres is not None:
            facts = self.postgres.facts
            found["postgres"] = f"{facts.release}, {facts.durability.value}"
        if self.redis is not None:
            known = self.redis.describe()
            found["redis"] = f"{known.server or 'not there yet'}, {known.durability.value}"
        return found

    def warnings(self) -> tuple[str, ...]:
        """What can be lost, in words."""
        found = list(self.redis.describe().warnings) if self.redis is not None else []
        if self.postgres is not None and self.postgres.facts.durability is Durability.SERVER_MEMORY:
            found.append("Postgres runs with fsync off: a crash of its machine loses what was acknowledged")
        return tuple(found)


@contextlib.asynccontextmanager
async def opened(
    config: Config,
    clock: Clock,
    feed: IndexFeed,
    *,
    on_fatal: Callable[[BaseException], None],
    vfs: str | None,
) -> AsyncIterator[Stores]:
    """ConfigError for what an operator has to correct. A Redis that is down is not waited for; Postgres is, for
    POSTGRES_START_WAIT_S: without it neither schema nor model can be checked."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await _open_redis(config.redis, stack)
        erasure = _erasure(_kinds(config), redis)
        if erasure is not None:
            stack.push_async_callback(erasure.close)
        postgres = await _open_postgres(config, stack)
        data_dir = config.storage.data_dir / REPLICA if postgres else config.storage.data_dir
        local = await asyncio.to_thread(
            SqliteStores.open,
            data_dir,
            model=None,
            clock=clock,
            sink=feed,
            reset=feed.reset,
            on_fatal=on_fatal,
            vfs=vfs,
            disposable=postgres is not None,
        )
        stack.push_async_callback(asyncio.to_thread, local.close)
        if postgres is None:
            yield replace(_embedded(config, local, redis, data_dir), erasure=erasure)
            return
        follower = Follower(postgres.changes, local.replica, clock, max_stale_s=config.replica.max_stale_s)
        stack.push_async_callback(follower.close)
        postgres.memories.landed = follower.landed
        yield replace(_served(config, local, redis, postgres, follower, data_dir), erasure=erasure)


async def _open_redis(config: RedisConfig, stack: contextlib.AsyncExitStack) -> RedisLink | None:
    if not config.url:
        return None
    link = await RedisLink.open(RedisSettings(**asdict(config)))
    stack.push_async_callback(link.close)
    return link


async def _open_postgres(config: Config, stack: contextlib.AsyncExitStack) -> PostgresStores | None:
    if not config.postgres.url:
        return None
    settings = PostgresSettings(**asdict(config.postgres))
    until_s, said = monotonic() + POSTGRES_START_WAIT_S, False
    while True:
        try:
            stores = await PostgresStores.open(settings)
            break
        except Unavailable as error:
            if monotonic() > until_s:
                raise
            if not said:
                log.warning("waiting: %s", error.message)
            said = True
        await asyncio.sleep(POSTGRES_START_PAUSE_S)
    stack.push_async_callback(stores.close)
    return stores


def _embedded(config: Config, local: SqliteStores, redis: RedisLink | None, data_dir: Path) -> Stores:
    kinds = _kinds(config)
    sessions, marks, tasks = _in_redis(kinds, redis, local.sessions, local.marks, local.tasks)
    return Stores(
        sessions,
        marks,
        local.memories,
        local.procedures,
        _counting(kinds, local.settings, sessions),
        tasks,
        local.steps,
        local,
        data_dir,
        kinds,
        redis=redis,
    )


def _served(
    config: Config,
    local: SqliteStores,
    redis: RedisLink | None,
    postgres: PostgresStores,
    follower: Follower,
    data_dir: Path,
) -> Stores:
    kinds = _kinds(config)
    sessions, marks, tasks = _in_redis(kinds, redis, postgres.sessions, postgres.marks, postgres.tasks)
    settings = ReplicatedSettings(postgres.settings, local.settings, follower)
    return Stores(
        sessions,
        marks,
        ReplicatedMemories(postgres.memories, local.memories, follower),
        ReplicatedProcedures(postgres.procedures, local.procedures, follower),
        _counting(kinds, settings, sessions),
        tasks,
        postgres.steps,
        local,
        data_dir,
        kinds,
        postgres,
        redis,
        follower,
    )


def _kinds(config: Config) -> Mapping[str, str]:
    tiers = config.defaults.tiers
    return {
        "sessions": tiers[TierName.WORKING].store,
        "memories": tiers[TierName.SEMANTIC].store,
        "tasks": config.checkpoints_store,
    }


def _in_redis(
    kinds: Mapping[str, str], redis: RedisLink | None, sessions: SessionStore, marks: SessionMarks, tasks: TaskStore
) -> tuple[SessionStore, SessionMarks, TaskStore]:
    """Those in Redis where they are said to be there."""
    if redis is None:
        return sessions, marks, tasks
    if kinds["sessions"] == "redis":
        in_redis = RedisSessions(redis)
        sessions, marks = in_redis, RedisSessionMarks(in_redis)
    return sessions, marks, RedisCheckpoints(redis) if kinds["tasks"] == "redis" else tasks


def _erasure(kinds: Mapping[str, str], redis: RedisLink | None) -> RedisErasure | None:
    if redis is None:
        return None
    counts = {"sessions": ("sessions", "events"), "tasks": ("checkpoints",)}
    return RedisErasure(redis, [name for port, names in counts.items() if kinds[port] == "redis" for name in names])


def _counting(kinds: Mapping[str, str], settings: SettingsStore, sessions: SessionStore) -> SettingsStore:
    """Counts of sessions in Redis come from there."""
    return CountedSettings(settings, sessions) if kinds["sessions"] == "redis" else settings
