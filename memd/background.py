"""What goes on behind the replies: compression, consolidation, sweeps, moves, and following the truth."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial

from memd import _core
from memd.adapters.postgres import SearchMoves
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.adapters.summarize.fallback import FallbackSummarizer
from memd.config import Config
from memd.limits import (
    COMPRESSIONS_AT_ONCE,
    CONSOLIDATE_GRACE_US,
    DIGEST_INTERVAL_S,
    PROMOTE_INTERVAL_S,
    SEARCH_MOVE_INTERVAL_S,
    SWEEP_ROWS,
)
from memd.ports import Clock, Embedder, NamespaceIndex, SummarizerCounts
from memd.rpc.convert_admin import CompressionStats
from memd.service.compression import CompressionService
from memd.service.consolidation import Consolidator
from memd.service.lifecycle import ExpirySweeper
from memd.service.policy import PolicySource
from memd.service.relating import EventRelations
from memd.service.remember import RememberService
from memd.stores import Stores
from memd.tasks import Supervisor, survives

SWEEP_INTERVAL_S = 30.0
HINTS_PAUSE_S = 1.0
"""Before hints are asked for again, after they ended: the poll goes on meanwhile."""
LOCAL_HOLDER = "this data directory"
"""Of the leases in it: its lock lets one daemon in, and the next one goes on at once."""


@dataclass(frozen=True, slots=True)
class Compression:
    """``model``: the hosted one, where there is one."""

    service: CompressionService
    model: FallbackSummarizer | None
    counter: _core.TokenCounter

    def stats(self) -> CompressionStats:
        return CompressionStats(
            self.service.queue_depth, self.service.counts, self.model.counts if self.model else SummarizerCounts()
        )


def compression(
    stores: Stores, model: FallbackSummarizer | None, counter: _core.TokenCounter, clock: Clock
) -> Compression:
    extractive = ExtractiveSummarizer(counter)
    service = CompressionService(stores.sessions, model or extractive, extractive, clock)
    return Compression(service, model, counter)


def consolidator(
    config: Config, stores: Stores, index: NamespaceIndex, embedder: Embedder, clock: Clock, relations: EventRelations
) -> Consolidator | None:
    """None where it is switched off."""
    if not config.consolidation.enabled:
        return None
    stores.marks.spare(CONSOLIDATE_GRACE_US)
    policy = PolicySource(stores.settings, config.defaults)
    return Consolidator(
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
    )


def sweeper(stores: Stores, consolidator: Consolidator | None) -> ExpirySweeper:
    """Every sweep comes after a drain: what expired while nobody was running is consolidated before it goes."""
    before = None
    if consolidator is not None:
        before = partial(survives, "consolidate expired", consolidator.drain_expired)
    return ExpirySweeper(stores.sessions, stores.memories, stores.tasks, stores.steps, before)


def start(
    supervisor: Supervisor,
    config: Config,
    stores: Stores,
    moves: SearchMoves | None,
    compression: Compression,
    relations: EventRelations,
    consolidator: Consolidator | None,
    sweeper: ExpirySweeper,
) -> None:
    """All of it, until the supervisor is closed."""
    supervisor.every("sweep", SWEEP_INTERVAL_S, sweeper.run_once)
    for _ in range(COMPRESSIONS_AT_ONCE):
        supervisor.every("compress", 0.0, compression.service.work)
    supervisor.every("relate events", 0.0, relations.work)
    if consolidator is not None:
        supervisor.every("promote episodes", PROMOTE_INTERVAL_S, consolidator.promote_once)
        supervisor.every("digest sessions", DIGEST_INTERVAL_S, consolidator.digest_once)
    if moves is not None:
        supervisor.every("move search", SEARCH_MOVE_INTERVAL_S, moves.run_once)
    if stores.follower is not None:
        supervisor.every("follow", config.replica.poll_s, stores.follower.poll)
        supervisor.every("hints", HINTS_PAUSE_S, stores.follower.listen)
        supervisor.every("sweep replica", SWEEP_INTERVAL_S, lambda: stores.local.replica.sweep(SWEEP_ROWS))
