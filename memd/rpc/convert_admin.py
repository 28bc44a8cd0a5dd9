"""Settings, statistics and verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from memd_client._proto.v1 import admin_service_pb2 as ads

from memd.domain.errors import InvalidArgument
from memd.domain.jobs import JobReport
from memd.domain.model import (
    IndexPlace,
    NamespaceSettings,
    NamespaceStats,
    PortStats,
    ReplicaStats,
    TierName,
    VerifyReport,
)
from memd.domain.settings import TierSettings
from memd.limits import MAX_CHECKPOINT_HISTORY, MAX_RETENTION_COUNT, MAX_TIER_ITEMS
from memd.ports import SummarizerCounts
from memd.rpc import checks
from memd.rpc.convert_common import TO_DURABILITY, TO_TIER, duration, timestamp
from memd.rpc.convert_session import settings_change
from memd.service.compression import CompressionCounts
from memd.service.digest_queue import DigestCounts
from memd.service.reembed import Reembed

_BOUNDS: Mapping[str, int] = {
    "episodic_max_items": MAX_TIER_ITEMS,
    "checkpoint_history": MAX_CHECKPOINT_HISTORY,
    "retention_max_count": MAX_RETENTION_COUNT,
}
_TTLS = ("episodic_ttl", "retention_max_age")


@dataclass(frozen=True, slots=True)
class CompressionStats:
    queue_depth: int
    counts: CompressionCounts
    model: SummarizerCounts

    def figures(self) -> Mapping[str, int]:
        """By the names of the wire."""
        return {"queue_depth": self.queue_depth, **asdict(self.counts), **_model_figures(self.model)}


@dataclass(frozen=True, slots=True)
class DigestStats:
    """Of the digests of sessions. ``queue_depth``: sessions that wait for the model, or that it is asked for."""

    queue_depth: int = 0
    counts: DigestCounts = field(default_factory=DigestCounts)
    model: SummarizerCounts = field(default_factory=SummarizerCounts)

    def figures(self) -> Mapping[str, int]:
        """By the names of the wire."""
        return {"queue_depth": self.queue_depth, **asdict(self.counts), **_model_figures(self.model)}


def _model_figures(model: SummarizerCounts) -> Mapping[str, int]:
    return {
        "model_summaries": model.made,
        "model_failures": model.failed,
        "model_skipped": model.skipped,
        "model_tokens_in": model.tokens_in,
        "model_tokens_out": model.tokens_out,
    }


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """Figures of the whole daemon, gathered by ``app``."""

    rss_bytes: int
    data_bytes: int
    write_queue_depth: int
    embed_queue_depth: int
    embed_threads: int
    query_cache_hits: int
    query_cache_misses: int
    namespaces_loaded: int
    simd: str
    compression: CompressionStats
    digests: DigestStats


def new_settings(message: ads.NamespaceSettings) -> tuple[NamespaceSettings, frozenset[str]]:
    """The settings that are set, and the names of those to reset (given as 0 or an empty duration)."""
    working = settings_change(message)
    given: dict[str, Any] = {name: value for name, value in working.items() if value is not None}
    reset = {name for name, value in working.items() if value is None}
    for name, most in _BOUNDS.items():
        if not message.HasField(name):  # type: ignore[arg-type]
            continue
        value = getattr(message, name)
        if value:
            given[name] = checks.whole(value, f"settings.{name}", 1, most)
        else:
            reset.add(name)
    if message.HasField("retention_keep_if_pinned"):
        given["retention_keep_if_pinned"] = message.retention_keep_if_pinned
    for name in _TTLS:
        if message.HasField(name):  # type: ignore[arg-type]
            ttl = getattr(message, name)
            if ttl.seconds or ttl.nanos:
                given[f"{name}_us"] = checks.ttl(ttl, f"settings.{name}")
            else:
                reset.add(f"{name}_us")
    if message.HasField("index"):
        if message.index:
            given["index"] = _index_place(message.index)
        else:
            reset.add("index")
    return NamespaceSettings(**given), frozenset(reset)


def _index_place(value: str) -> str:
    if value not in get_args(IndexPlace):
        raise InvalidArgument('index must be "memory" or "pgvector"', field="settings.index")
    return value


def settings(value: NamespaceSettings) -> ads.NamespaceSettings:
    return ads.NamespaceSettings(
        working_max_items=value.working_max_items,
        working_max_tokens=value.working_max_tokens,
        episodic_max_items=value.episodic_max_items,
        episodic_ttl=None if value.episodic_ttl_us is None else duration(value.episodic_ttl_us),
        checkpoint_history=value.checkpoint_history,
        compress=value.compress,
        compress_at=value.compress_at,
        compress_keep=value.compress_keep,
        compress_to=value.compress_to,
        summary_share=value.summary_share,
        version=value.version,
        index=value.index,
        retention_max_age=None if value.retention_max_age_us is None else duration(value.retention_max_age_us),
        retention_max_count=value.retention_max_count,
        retention_keep_if_pinned=value.retention_keep_if_pinned,
    )


def what_if(message: ads.NamespaceSettings) -> tuple[NamespaceSettings, frozenset[str]]:
    """As ``new_settings``, of retention alone."""
    named = {field.name for field, _ in message.ListFields()}
    if not all(name.startswith("retention_") for name in named):
        raise InvalidArgument("settings of a dry run may be those of retention alone", field="settings")
    return new_settings(message)


def job(value: JobReport) -> ads.JobStats:
    return ads.JobStats(
        job=value.job,
        runs=value.runs,
        failures=value.failures,
        done=value.done,
        waiting=value.waiting,
        last_time=None if value.last_us is None else timestamp(value.last_us),
        last_duration=duration(value.last_duration_us),
        last_error=value.last_error,
        next_time=None if value.next_us is None else timestamp(value.next_us),
    )


def tier(name: TierName, value: TierSettings) -> ads.TierSettings:
    return ads.TierSettings(
        tier=TO_TIER[name],
        store=value.store,
        max_items=value.max_items,
        max_tokens=value.max_tokens,
        ttl=None if value.ttl_us is None else duration(value.ttl_us),
        retrieval=value.retrieval,
    )


def port(value: PortStats) -> ads.PortStats:
    return ads.PortStats(port=value.port, store=value.store, durability=TO_DURABILITY[value.durability])


def replica(value: ReplicaStats | None) -> ads.ReplicaStats | None:
    if value is None:
        return None
    return ads.ReplicaStats(seq=value.seq, staleness=duration(value.staleness_us), reachable=value.reachable)


def reembed(value: Reembed) -> ads.ReembedResponse:
    return ads.ReembedResponse(
        done=value.done, total=value.total, phase=value.phase.value, embedding_model=value.model.model_id
    )


def namespace_stats(value: NamespaceStats) -> ads.NamespaceStats:
    return ads.NamespaceStats(
        memories=value.memories,
        procedures=value.procedures,
        sessions=value.sessions,
        events=value.events,
        checkpoints=value.checkpoints,
        seq=value.seq,
        index_entries=value.index_entries,
        index_bytes=value.index_bytes,
    )


def process_stats(value: ProcessStats) -> ads.ProcessStats:
    return ads.ProcessStats(
        rss_bytes=value.rss_bytes,
        data_bytes=value.data_bytes,
        write_queue_depth=value.write_queue_depth,
        embed_queue_depth=value.embed_queue_depth,
        embed_threads=value.embed_threads,
        query_cache_hits=value.query_cache_hits,
        query_cache_misses=value.query_cache_misses,
        namespaces_loaded=value.namespaces_loaded,
        simd=value.simd,
        compression=ads.CompressionStats(**value.compression.figures()),
        digests=ads.DigestStats(**value.digests.figures()),
    )


def verification(value: VerifyReport) -> ads.VerifyResponse:
    return ads.VerifyResponse(
        ok=value.ok,
        rows=value.rows,
        index_entries=value.index_entries,
        seq=value.seq,
        index_seq=value.index_seq,
        missing=value.missing,
        phantom=value.phantom,
        stale=value.stale,
        problems=value.problems,
    )
