"""What goes on behind the replies: compression, consolidation, sweeps, moves, and following the truth."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial

from memd import _core
from memd.adapters.postgres import SearchMoves
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.adapters.summarize.fallback import FallbackSummarizer
from memd.config import Config
from memd.domain.errors import MemdError
from memd.domain.jobs import JobReport
from memd.limits import (
    COMPRESSION_SCAN_INTERVAL_S,
    COMPRESSIONS_AT_ONCE,
    CONSOLIDATE_GRACE_US,
    DIGESTS_ASKED_AT_ONCE,
    RECALLS_INTERVAL_S,
    SEARCH_MOVE_INTERVAL_S,
    SWEEP_INTERVAL_S,
    SWEEP_ROWS,
)
from memd.ports import Clock, Embedder, NamespaceIndex, SummarizerCounts
from memd.rpc.convert_admin import CompressionStats, DigestStats
from memd.service import lifecycle
from memd.service.compaction import Compactor
from memd.service.compression import CompressionService
from memd.service.compression_scan import CompressionScan
from memd.service.consolidation import Consolidator
from memd.service.jobs import JobBoard
from memd.service.lifecycle import ExpirySweeper
from memd.service.merging import NearDuplicates
from memd.service.policy import PolicySource
from memd.service.pruning import CheckpointPruner
from memd.service.relating import EventRelations
from memd.service.remember import RememberService
from memd.service.retention import RetentionService
from memd.stores import Stores
from memd.tasks import Supervisor, survives

HINTS_PAUSE_S = 1.0
"""Before hints are asked for again, after they ended: the poll goes on meanwhile."""
MODEL_WATCH_S = 1.0
"""How soon a daemon sees that the database was re-embedded: until then its writes of memories are refused."""
JOBS_WAIT_S = 1.0
"""Metrics wait so long for a store to say how much is to be done; then they tell what the last runs left."""
LOCAL_HOLDER = "this data directory"
"""Of the leases in it: its lock lets one daemon in, and the next one goes on at once."""


@dataclass(frozen=True, slots=True)
class Compression:
    """``model``: the hosted one, where there is one."""

    service: CompressionService
    scan: CompressionScan
    model: FallbackSummarizer | None
    counter: _core.TokenCounter

    def stats(self) -> CompressionStats:
        return CompressionStats(
            self.service.queue_depth, self.service.counts, self.model.counts if self.model else SummarizerCounts()
        )


def compression(
    config: Config, stores: Stores, model: FallbackSummarizer | None, counter: _core.TokenCounter, clock: Clock
) -> Compression:
    extractive = ExtractiveSummarizer(counter)
    service = CompressionService(stores.sessions, model or extractive, extractive, clock)
    # a source of its own for each step: what is set now, whoever set it
    scan = CompressionScan(service, stores.sessions, lambda: PolicySource(stores.settings, config.defaults), clock)
    return Compression(service, scan, model, counter)


@dataclass(frozen=True, slots=True)
class Consolidation:
    """``model``: what makes the digests where a hosted one is configured."""

    service: Consolidator
    model: FallbackSummarizer | None

    def stats(self) -> DigestStats:
        digests = self.service.digests
        return DigestStats(digests.queue.depth, digests.counts, self.model.counts if self.model else SummarizerCounts())


def consolidation(
    config: Config,
    stores: Stores,
    index: NamespaceIndex,
    embedder: Embedder,
    clock: Clock,
    relations: EventRelations,
    model: FallbackSummarizer | None,
) -> Consolidation | None:
    """None where it is switched off."""
    if not config.consolidation.enabled:
        return None
    stores.marks.spare(CONSOLIDATE_GRACE_US)
    policy = PolicySource(stores.settings, config.defaults)
    digests = model.beside() if model else None
    consolidator = Consolidator(
        stores.marks,
        stores.memories,
        RememberService(stores.memories, embedder, stores.settings, policy, clock),
        index,
        embedder,
        ExtractiveSummarizer(_core.TokenCounter()),
        stores.leases,
        clock,
        secrets.token_hex(8) if stores.postgres else LOCAL_HOLDER,
        stores.sessions,
        relations.settled,
        digests,
    )
    return Consolidation(consolidator, digests)


def sweeper(stores: Stores, consolidator: Consolidator | None) -> ExpirySweeper:
    """Every sweep comes after a drain: what expired while nobody was running is consolidated before it goes."""
    before = None
    if consolidator is not None:
        before = partial(survives, "consolidate expired", consolidator.drain_expired)
    return ExpirySweeper(stores.sessions, stores.memories, stores.tasks, stores.steps, before)


def merging(
    config: Config, stores: Stores, index: NamespaceIndex, embedder: Embedder, clock: Clock
) -> NearDuplicates | None:
    """None where consolidation is switched off. Of the namespaces that are at hand: each is at some daemon's."""
    if not config.consolidation.enabled:
        return None
    holder = secrets.token_hex(8) if stores.postgres else LOCAL_HOLDER
    namespaces = stores.local.memories.namespaces
    return NearDuplicates(stores.memories, index, embedder, namespaces, stores.leases, clock, holder)


def jobs(
    config: Config, stores: Stores, consolidator: Consolidator | None, duplicates: NearDuplicates | None, clock: Clock
) -> JobBoard:
    """The jobs that RunLifecycle knows."""
    history = config.defaults.checkpoint_history
    truth = stores.postgres or stores.local
    holder = secrets.token_hex(8) if stores.postgres else LOCAL_HOLDER
    return JobBoard(
        clock,
        (
            *lifecycle.consolidation(consolidator),
            lifecycle.sweep(sweeper(stores, consolidator)),
            lifecycle.retention(RetentionService(truth.retention, truth.leases, holder), stores.settings),
            lifecycle.checkpoints(CheckpointPruner(stores.tasks, stores.settings, history, truth.leases, holder)),
            lifecycle.compact(Compactor(stores.local.compaction)),
            lifecycle.merge(duplicates),
        ),
    )


@dataclass(frozen=True, slots=True)
class Behind:
    """All of it. ``consolidation`` None: switched off."""

    compression: Compression
    consolidation: Consolidation | None
    relations: EventRelations
    board: JobBoard

    @property
    def consolidator(self) -> Consolidator | None:
        return self.consolidation.service if self.consolidation else None

    def digest_stats(self) -> DigestStats:
        return self.consolidation.stats() if self.consolidation else DigestStats()


def behind(
    config: Config,
    stores: Stores,
    index: NamespaceIndex,
    embedder: Embedder,
    model: FallbackSummarizer | None,
    counter: _core.TokenCounter,
    clock: Clock,
) -> Behind:
    """``model``: the hosted one, where there is one."""
    relations = EventRelations(stores.sessions, counter)
    consolidated = consolidation(config, stores, index, embedder, clock, relations, model)
    duplicates = merging(config, stores, index, embedder, clock)
    board = jobs(config, stores, consolidated.service if consolidated else None, duplicates, clock)
    return Behind(compression(config, stores, model, counter, clock), consolidated, relations, board)


def start(supervisor: Supervisor, config: Config, stores: Stores, moves: SearchMoves | None, behind: Behind) -> None:
    """All of it, until the supervisor is closed."""
    compression, consolidation = behind.compression, behind.consolidation
    for job in behind.board.jobs.values():
        if not job.refusal:
            supervisor.every(job.name, job.period_s, partial(behind.board.regular, job))
    for _ in range(COMPRESSIONS_AT_ONCE):
        supervisor.every("compress", 0.0, compression.service.work)
    if consolidation is not None and consolidation.model is not None:
        for _ in range(DIGESTS_ASKED_AT_ONCE):
            supervisor.every("ask for digests", 0.0, consolidation.service.ask_model)
    supervisor.every("look for sessions to compress", COMPRESSION_SCAN_INTERVAL_S, compression.scan.run_once)
    supervisor.every("relate events", 0.0, behind.relations.work)
    supervisor.every("note recalls", RECALLS_INTERVAL_S, stores.local.recalls.flush)
    if moves is not None:
        supervisor.every("move search", SEARCH_MOVE_INTERVAL_S, moves.run_once)
    if stores.follower is not None:
        supervisor.every("follow", config.replica.poll_s, stores.follower.poll)
        supervisor.every("hints", HINTS_PAUSE_S, stores.follower.listen)
        supervisor.every("sweep replica", SWEEP_INTERVAL_S, lambda: stores.local.replica.sweep(SWEEP_ROWS))


def job_reports(board: JobBoard) -> Callable[[], Sequence[JobReport]]:
    """For another thread than the loop's."""
    loop = asyncio.get_running_loop()

    def read() -> Sequence[JobReport]:
        asked = asyncio.run_coroutine_threadsafe(board.reports(), loop)
        try:
            return asked.result(JOBS_WAIT_S)
        except (TimeoutError, CancelledError, MemdError):  # a store that is slow or gone, or a stop
            asked.cancel()
            return board.known

    return read


def watch_model(supervisor: Supervisor, stores: Stores, changed: Callable[[str], None]) -> None:
    """Tell when a database has got another embedding model: a daemon has one."""
    postgres = stores.postgres
    if postgres is None:
        return

    async def look() -> None:
        model = await postgres.changed_model()
        if model is not None:
            changed(model.model_id)

    supervisor.every("watch the model", MODEL_WATCH_S, look)
