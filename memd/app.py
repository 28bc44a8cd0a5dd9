"""Wiring: the one place that knows concrete adapters. ``serve`` runs the daemon until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from google.protobuf.descriptor import ServiceDescriptor

from memd import __version__, _core, background, log, models, stores, summarizers, testing_hooks
from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_routes import RoutedIndex
from memd.adapters.pack import RustContextPacker
from memd.adapters.postgres import SearchMoves
from memd.config import Config
from memd.domain.errors import ConfigError, MemdError, Unavailable
from memd.domain.model import TierName
from memd.limits import MAX_NAMESPACES_LOADED
from memd.metrics import Metrics, rss_bytes
from memd.ports import Embedder, NamespaceIndex, Tier
from memd.rpc.admin_servicer import AdminServicer, DaemonFacts
from memd.rpc.calls import Authenticate, Calls
from memd.rpc.checkpoint_servicer import CheckpointServicer
from memd.rpc.convert_admin import ProcessStats
from memd.rpc.credentials import TokenFile, as_local_owner
from memd.rpc.memory_servicer import MemoryServicer
from memd.rpc.procedure_servicer import ProcedureServicer
from memd.rpc.server import SERVICES, Health, main_server
from memd.rpc.session_servicer import SessionServicer
from memd.service.admin import AdminService
from memd.service.checkpoints import CheckpointService
from memd.service.forget import ForgetService
from memd.service.lifecycle import LifecycleService
from memd.service.observe import ObserveService
from memd.service.policy import PolicySource
from memd.service.procedures import ProcedureService
from memd.service.recall import RecallService
from memd.service.reembed import ReembedService
from memd.service.remember import RememberService
from memd.service.sessions import SessionService
from memd.service.steps import StepService
from memd.service.transfer import TransferService
from memd.service.watch import Bell, WatchService
from memd.serving import EXIT_FATAL, FATAL_DRAIN_S, Endpoints, Stop, drain
from memd.stores import Stores
from memd.tasks import Supervisor, survives
from memd.tiers.episodic import EpisodicTier
from memd.tiers.procedural import ProceduralTier
from memd.tiers.replicated import ReplicatedTier
from memd.tiers.semantic import SemanticTier
from memd.tiers.shared import QueryOnce, RecentOnce
from memd.tiers.working import WorkingTier

logger = logging.getLogger(__name__)

EXIT_START_FAILED = 1
FINISH_INTERVAL_S = 5.0
"""How soon a Forget goes on that the store stopped half way, for example with a full disk."""
PRELOAD_WAIT_S = 1.0
"""Ready no later than this after the stores, whatever the indexes still have to load: exact scans answer meanwhile."""
CLOSE_TIMEOUT_S = 5.0
"""A daemon whose store has failed is gone after this, whatever hangs."""
SWITCH_INTERVAL_S = 0.0005
"""A worker thread gives the interpreter back to the event loop this soon: five milliseconds, the default, is longer than a
Recall. No difference was measured with one client; 0.1 ms was no better than this."""


def serve(config: Config, environ: Mapping[str, str] | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT; the exit code. A failed start is one plain line on stderr."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its reports of a refused port or a lost client are not ours
    log.configure(config.log.level, config.log.format)
    try:
        return asyncio.run(_run(config, os.environ if environ is None else environ))
    except MemdError as exc:
        print(f"memd: {exc.message}", file=sys.stderr)
    except OSError as exc:
        print(f"memd: cannot start: {exc.strerror or type(exc).__name__}", file=sys.stderr)
    return EXIT_START_FAILED


async def _run(config: Config, environ: Mapping[str, str]) -> int:
    started = perf_counter()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.on_loop_error)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    hooks = testing_hooks.install(environ)
    clock = SystemClock()
    authenticate = _authentication(config, clock)
    stop = Stop(loop)
    async with contextlib.AsyncExitStack() as stack:
        endpoints = Endpoints(config.server)
        stack.callback(endpoints.close)
        counter = _core.TokenCounter()
        model = summarizers.hosted(config.summarizer, environ, counter, clock)
        if model is not None:
            stack.push_async_callback(model.close)
        parts = await stack.enter_async_context(_opened(config, clock, hooks, stop))
        behind = background.behind(config, parts.stores, parts.index, parts.embedder, model, counter, clock)
        health = Health()
        await health.set_serving(False)
        metrics = Metrics()
        servicers = _servicers(config, parts, behind, metrics, started)
        calls = Calls(servicers, authenticate, metrics)
        servers = endpoints.bind(main_server(calls, health, reflect=config.server.reflection), health)
        if endpoints.metrics:
            gauges = _gauges(parts, behind, calls)
            jobs = background.job_reports(behind.board)
            stack.callback(metrics.serve(endpoints.metrics.host, endpoints.metrics.port, gauges, jobs))
        supervisor = Supervisor()
        if behind.consolidator is not None:
            stack.push_async_callback(survives, "give leases back", behind.consolidator.close)
        stack.push_async_callback(supervisor.close)
        await _finish_forgets(parts, supervisor)
        background.start(supervisor, config, parts.stores, parts.moves, behind)
        supervisor.every("reembed", 0.0, parts.reembed.work)
        background.watch_model(supervisor, parts.stores, stop.on_model_changed)
        stop.on_signals(lambda: _reload(authenticate))
        for server in servers:
            await server.start()
        await health.set_serving(True)
        gc.freeze()  # what lives until the end need not be looked at by every collection
        _say_ready(endpoints, config, parts, perf_counter() - started)
        code = await stop.wait()
        if code == EXIT_FATAL:
            _exit_for_sure(code)
        grace_s = FATAL_DRAIN_S if code == EXIT_FATAL else config.server.drain_s
        await drain(servers, health, grace_s, calls.end_streams)
    return code


# -- what is opened, and closed in reverse


@dataclass(frozen=True, slots=True)
class _Parts:
    """The adapters of a running daemon."""

    stores: Stores
    index: NamespaceIndex
    moves: SearchMoves | None
    """Where namespaces can be searched by Postgres."""
    embedder: Embedder
    reembed: ReembedService
    clock: SystemClock
    bell: Bell


@contextlib.asynccontextmanager
async def _opened(config: Config, clock: SystemClock, hooks: testing_hooks.Hooks, stop: Stop) -> AsyncIterator[_Parts]:
    """Stores first: they say which model. Then that and the indexes, side by side. What fails closes what was opened."""
    async with contextlib.AsyncExitStack() as stack:
        feed, bell = IndexFeed(), Bell()
        feed.changed = bell.ring
        opening = stores.opened(config, clock, feed, on_fatal=stop.on_fatal, vfs=hooks.vfs)
        opened = await stack.enter_async_context(opening)
        form = await models.served_form(config.embedding, opened)
        await opened.use_model(form.model)
        files = await asyncio.to_thread(models.index_files, opened, form.model)
        index = feed.index = models.open_index(config, opened, form.model, files)
        stack.push_async_callback(asyncio.to_thread, models.close_indexes, feed)
        loading = asyncio.ensure_future(asyncio.to_thread(models.load_embedder, config.embedding, form.precision))
        stack.push_async_callback(_close_when_loaded, loading)
        if opened.follower is not None:
            await opened.follower.start()
        routed, moves = _routed(opened, index)
        if moves is not None:
            stack.push_async_callback(moves.close)
            await moves.run_once()
        await _preload(opened, index, moves)
        serving = models.serving(config, opened, feed, await loading, index)
        yield _Parts(opened, routed or serving.index, moves, serving.embedder, serving.reembed, clock, bell)


def _routed(stores: Stores, local: RustNamespaceIndex) -> tuple[NamespaceIndex | None, SearchMoves | None]:
    """What searches where Postgres can: the index in memory, and Postgres for the namespaces that are moved there."""
    if stores.postgres is None or stores.no_pgvector:
        return None, None
    remote = stores.postgres.pgvector()
    moves = stores.postgres.moves(remote, local)
    return RoutedIndex(local, remote, asyncio.get_running_loop(), moves.moved), moves


async def _close_when_loaded(loading: asyncio.Future[Embedder]) -> None:
    await asyncio.to_thread((await loading).close)


def _authentication(config: Config, clock: SystemClock) -> Authenticate:
    return TokenFile(Path(config.server.token_file), clock) if config.server.token_file else as_local_owner


def _reload(authenticate: Authenticate) -> None:
    if not isinstance(authenticate, TokenFile):
        return
    try:
        count = authenticate.reload()
    except ConfigError as exc:
        logger.error("the old tokens stay in force: %s", exc.message)
    else:
        logger.info("tokens reloaded", extra={"fields": {"tokens": count}})


# -- what is built on them


def _servicers(
    config: Config, parts: _Parts, behind: background.Behind, metrics: Metrics, started: float
) -> Mapping[ServiceDescriptor, object]:
    stores, embedder, clock = parts.stores, parts.embedder, parts.clock
    policy = PolicySource(stores.settings, config.defaults)
    if stores.follower is not None:
        stores.follower.settings_changed = policy.invalidate
    counter, compression = behind.compression.counter, behind.compression.service
    recall = RecallService(_tiers(config, parts, counter), RustContextPacker(counter), policy, clock)
    observe = ObserveService(stores.sessions, counter, policy, clock, compression.observed, behind.relations.observed)
    sessions = SessionService(stores.sessions, policy, compression.observed)
    remember = RememberService(stores.memories, embedder, stores.settings, policy, clock)
    watch = WatchService(stores.change_log, parts.bell, stores.follower)
    procedures = ProcedureService(stores.procedures, stores.memories, embedder, stores.settings, policy)
    facts = DaemonFacts(
        version=__version__,
        model=lambda: embedder.model,
        tiers=config.defaults.tiers,
        uptime_us=lambda: int((perf_counter() - started) * 1e6),
        process=lambda: _process_stats(parts, behind),
        ports=stores.ports,
        replica=stores.replica,
    )
    admin = AdminService(
        stores.memories,
        stores.settings,
        parts.index,
        policy,
        stores.backups,
        not_in_backups=stores.in_redis,
        no_pgvector=stores.no_pgvector,
        retention=(stores.postgres or stores.local).retention,
    )
    return {
        SERVICES["MemoryService"]: MemoryServicer(recall, observe, remember, _forget(parts), watch, metrics),
        SERVICES["SessionService"]: SessionServicer(sessions),
        SERVICES["ProcedureService"]: ProcedureServicer(procedures),
        SERVICES["CheckpointService"]: CheckpointServicer(
            CheckpointService(stores.tasks, policy), StepService(stores.steps, config.defaults.step_ttl_us)
        ),
        SERVICES["AdminService"]: AdminServicer(
            admin,
            LifecycleService(behind.board),
            _transfers(parts, policy),
            parts.reembed,
            facts,
        ),
    }


def _transfers(parts: _Parts, policy: PolicySource) -> TransferService:
    stores = parts.stores
    return TransferService(
        stores.transfers,
        stores.memories,
        stores.procedures,
        stores.settings,
        parts.embedder,
        policy,
        parts.clock,
        no_pgvector=stores.no_pgvector,
        retention=(stores.postgres or stores.local).retention,
    )


def _tiers(config: Config, parts: _Parts, counter: _core.TokenCounter) -> tuple[Tier, ...]:
    stores, rows = parts.stores, config.defaults.tiers
    recent, query = RecentOnce(stores.sessions), QueryOnce(parts.embedder)
    elsewhere = parts.index if isinstance(parts.index, RoutedIndex) else None
    recalls = stores.local.recalls
    semantic = SemanticTier(query, parts.index, stores.memories, recalls, rows[TierName.SEMANTIC], counter, elsewhere)
    procedural = ProceduralTier(query, parts.index, stores.procedures, rows[TierName.PROCEDURAL], counter)
    return (
        WorkingTier(recent, rows[TierName.WORKING]),
        EpisodicTier(recent, stores.memories, rows[TierName.EPISODIC], counter),
        *(_followed(tier, stores) for tier in (semantic, procedural)),
    )


def _followed(tier: Tier, stores: Stores) -> Tier:
    return tier if stores.follower is None else ReplicatedTier(tier, stores.follower)


def _forget(parts: _Parts) -> ForgetService:
    stores = parts.stores
    return ForgetService(stores.memories, stores.sessions, stores.tasks, stores.steps, stores.settings, stores.erasure)


async def _finish_forgets(parts: _Parts, supervisor: Supervisor) -> None:
    """What a crash left of a Forget is done before the first answer; behind it, where the disk refuses for now or then."""
    forget = _forget(parts)
    try:
        await forget.resume()
    except Unavailable:
        logger.warning("an interrupted Forget could not be finished yet")
    supervisor.every("finish forgets", FINISH_INTERVAL_S, forget.resume)


async def _preload(stores: Stores, index: RustNamespaceIndex, moves: SearchMoves | None) -> None:
    """Load the indexes, for at most PRELOAD_WAIT_S; the rest goes on behind the first answers."""
    namespaces = await stores.local.memories.namespaces()
    await asyncio.to_thread(index.reconcile, namespaces)
    here = [one for one in namespaces if moves is None or not moves.moved(one)]
    loading = asyncio.ensure_future(asyncio.to_thread(index.preload, here[:MAX_NAMESPACES_LOADED]))
    await asyncio.wait([loading], timeout=PRELOAD_WAIT_S)


# -- what is told about it


def _process_stats(parts: _Parts, behind: background.Behind) -> ProcessStats:
    embed, stores = parts.embedder.stats(), parts.stores.local.stats()
    return ProcessStats(
        rss_bytes=rss_bytes(),
        data_bytes=stores.data_bytes,
        write_queue_depth=stores.queue_depth,
        embed_queue_depth=embed.queue_depth,
        embed_threads=embed.threads,
        query_cache_hits=embed.cache_hits,
        query_cache_misses=embed.cache_misses,
        namespaces_loaded=parts.index.loaded(),
        simd=_core.simd_level(),
        compression=behind.compression.stats(),
        digests=behind.digest_stats(),
    )


def _gauges(parts: _Parts, behind: background.Behind, calls: Calls) -> Callable[[], Mapping[str, float]]:
    loop = asyncio.get_running_loop()

    def read() -> Mapping[str, float]:
        stats = _process_stats(parts, behind)
        return {
            "calls_in_flight": calls.in_flight,
            "tasks": len(asyncio.all_tasks(loop)),
            "resident_bytes": stats.rss_bytes,
            "data_bytes": stats.data_bytes,
            "write_queue_depth": stats.write_queue_depth,
            "embed_queue_depth": stats.embed_queue_depth,
            "query_cache_hits": stats.query_cache_hits,
            "query_cache_misses": stats.query_cache_misses,
            "query_cache_entries": parts.embedder.stats().cache_entries,
            "namespaces_loaded": stats.namespaces_loaded,
            **{f"compression_{name}": value for name, value in stats.compression.figures().items()},
            **{f"digests_{name}": value for name, value in stats.digests.figures().items()},
        }

    return read


def _say_ready(endpoints: Endpoints, config: Config, parts: _Parts, seconds: float) -> None:
    for warning in parts.stores.warnings():
        logger.warning("what can be lost: %s", warning)
    fields = {
        "address": endpoints.described,
        "data_dir": str(config.storage.data_dir),
        "model": parts.embedder.model.model_id if parts.embedder.model else "none",
        **parts.stores.describe(),
        "ready_s": round(seconds, 3),
    }
    logger.info("memd %s is ready", __version__, extra={"fields": fields})


def _exit_for_sure(code: int) -> None:
    """A store that failed may never close; the exit must not wait for it."""
    timer = threading.Timer(CLOSE_TIMEOUT_S, os._exit, (code,))
    timer.daemon = True
    timer.start()
