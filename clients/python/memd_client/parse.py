"""From protobuf replies to the dataclasses of ``types``. Pure; one function a message."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from memd_client import types as t
from memd_client import words
from memd_client._proto.v1 import admin_service_pb2 as admin_pb
from memd_client._proto.v1 import checkpoint_service_pb2 as checkpoint_pb
from memd_client._proto.v1 import common_pb2 as common_pb
from memd_client._proto.v1 import memory_service_pb2 as memory_pb
from memd_client._proto.v1 import procedure_service_pb2 as procedure_pb
from memd_client._proto.v1 import session_service_pb2 as session_pb
from memd_client.wire import moment, plain, span


def scope(m: common_pb.Scope) -> t.Scope:
    """Scope of origin."""
    return t.Scope(m.namespace, m.user_id, m.agent_id, m.session_id)


def receipt(m: common_pb.WriteReceipt) -> t.WriteReceipt:
    """Receipt of a write."""
    return t.WriteReceipt(m.seq, words.DURABILITY.word(m.durability), m.replayed)


def memory(m: common_pb.Memory, written: t.WriteReceipt | None = None) -> t.Memory:
    """A stored memory."""

    def when(field: str) -> datetime | None:
        return moment(getattr(m, field)) if m.HasField(field) else None  # type: ignore[arg-type]

    return t.Memory(
        memory_id=m.memory_id,
        content=m.content,
        metadata=plain(m.metadata) if m.HasField("metadata") else {},
        tags=tuple(m.tags),
        scope=scope(m.scope),
        source=words.SOURCE_KIND.word(m.source),
        writer=m.writer,
        speaker=m.speaker,
        event_time=when("event_time"),
        position=m.position if m.HasField("position") else None,
        importance=m.importance,
        pinned=m.pinned,
        valid_from=when("valid_from"),
        valid_to=when("valid_to"),
        supersedes=m.supersedes,
        superseded_by=m.superseded_by,
        expire_time=when("expire_time"),
        version=m.version,
        create_time=when("create_time"),
        update_time=when("update_time"),
        event_ids=tuple(m.event_ids),
        receipt=written,
    )


def event(m: common_pb.Event) -> t.Event:
    """An event as stored."""
    return t.Event(
        content=m.content,
        kind=words.EVENT_KIND.word(m.kind),
        role=m.role,
        event_id=m.event_id,
        tool_name=m.tool_name,
        tool_call_id=m.tool_call_id,
        outcome=words.OUTCOME.word(m.outcome) if m.outcome else None,
        resolves=m.resolves,
        importance=m.importance if m.HasField("importance") else None,
        ephemeral=m.ephemeral,
        event_time=moment(m.event_time) if m.HasField("event_time") else None,
        metadata=plain(m.metadata) if m.HasField("metadata") else {},
        importance_reasons=tuple(m.importance_reasons),
        tokens=m.tokens,
        count=m.count,
        last_seen=moment(m.last_seen) if m.HasField("last_seen") else None,
        position=m.position,
        original_bytes=m.original_bytes,
        original_sha256=m.original_sha256,
        summarized_from=m.summarized_from,
        summarized_through=m.summarized_through,
        resolved_by=m.resolved_by,
        body_event_id=m.body_event_id,
        kept_whole=m.kept_whole,
    )


def procedure(m: procedure_pb.Procedure, written: t.WriteReceipt | None = None) -> t.Procedure:
    """One version of a how-to."""
    return t.Procedure(
        key=m.key,
        version=m.version,
        trigger=m.trigger,
        content=m.content,
        metadata=plain(m.metadata) if m.HasField("metadata") else {},
        scope=scope(m.scope),
        successes=m.successes,
        failures=m.failures,
        success_lower_bound=m.success_lower_bound,
        create_time=moment(m.create_time) if m.HasField("create_time") else None,
        last_outcome_time=moment(m.last_outcome_time) if m.HasField("last_outcome_time") else None,
        relevance=m.relevance,
        offer=_offer(m.offer) if m.HasField("offer") else None,
        demotion=_demotion(m.demotion) if m.HasField("demotion") else None,
        receipt=written,
    )


def procedure_with_outcomes(m: procedure_pb.GetProcedureResponse) -> t.Procedure:
    """One version of a how-to, and its newest outcomes."""
    return replace(procedure(m.procedure), outcomes=tuple(map(_outcome_report, m.outcomes)))


def _offer(m: procedure_pb.Offer) -> t.Offer:
    return t.Offer(
        version=m.version,
        newest_version=m.newest_version,
        reason=words.OFFER_REASON.word(m.reason),
        since=moment(m.since) if m.HasField("since") else None,
        demotion=_demotion(m.demotion) if m.HasField("demotion") else None,
    )


def _demotion(m: procedure_pb.Demotion) -> t.Demotion:
    return t.Demotion(
        version=m.version,
        baseline_version=m.baseline_version,
        baseline_successes=m.baseline_successes,
        baseline_failures=m.baseline_failures,
        expected_rate=m.expected_rate,
        successes=m.successes,
        failures=m.failures,
        demote_time=moment(m.demote_time),
    )


def _outcome_report(m: procedure_pb.OutcomeReport) -> t.OutcomeReport:
    return t.OutcomeReport(
        outcome=words.OUTCOME.word(m.outcome) if m.outcome else None,
        outcome_id=m.outcome_id,
        reason=m.reason,
        duration=span(m.duration) if m.HasField("duration") else None,
        report_time=moment(m.report_time),
    )


def _hit(m: memory_pb.MemoryHit) -> t.MemoryHit:
    parts = None
    if m.HasField("parts"):
        cues = {field.name: float(getattr(m.parts.cues, field.name)) for field in m.parts.cues.DESCRIPTOR.fields}
        parts = t.ScoreParts(m.parts.vector, m.parts.words, m.parts.bm25, m.parts.matched_terms, cues)
    return t.MemoryHit(memory(m.memory), m.relevance, m.score, parts)


def _tier_status(m: memory_pb.TierStatus) -> t.TierStatus:
    return t.TierStatus(
        words.TIER.word(m.tier), words.TIER_STATE.word(m.state), span(m.latency), span(m.staleness), m.reason
    )


def recall(m: memory_pb.RecallResponse) -> t.Recall:
    """The reply to Recall."""
    return t.Recall(
        context=m.context,
        tokens=m.tokens,
        working=tuple(map(event, m.working)),
        episodes=tuple(map(event, m.episodes)),
        memories=tuple(map(_hit, m.memories)),
        procedures=tuple(map(procedure, m.procedures)),
        nothing_relevant=m.nothing_relevant,
        tier_status=tuple(map(_tier_status, m.tier_status)),
        seq=m.seq,
        elapsed=span(m.elapsed),
        omitted=m.omitted,
    )


def observed(m: memory_pb.ObserveResponse) -> t.Observed:
    """The reply to Observe."""
    events = tuple(
        t.ObservedEvent(e.event_id, e.merged, e.importance, e.tokens, e.position, e.extracted) for e in m.events
    )
    return t.Observed(events, receipt(m.receipt))


def remembered(m: memory_pb.RememberResponse) -> t.Remembered:
    """The reply to Remember."""
    memories = tuple(t.RememberedMemory(r.memory_id, r.version, r.created, r.windows) for r in m.memories)
    return t.Remembered(memories, receipt(m.receipt))


def forgotten(m: memory_pb.ForgetResponse) -> t.ForgetReceipt:
    """The reply to Forget."""
    return t.ForgetReceipt(
        receipt_id=m.receipt_id,
        counts={c.what: c.count for c in m.counts},
        forget_time=moment(m.forget_time) if m.HasField("forget_time") else None,
        out_of_reach=tuple(m.out_of_reach),
        receipt=receipt(m.receipt),
        dry_run=m.dry_run,
    )


def working_memory(m: session_pb.GetWorkingMemoryResponse) -> t.WorkingMemory:
    """A session's working memory."""
    return t.WorkingMemory(tuple(map(event, m.items)), m.tokens, m.seq, session_settings(m.settings))


def session_settings(m: session_pb.SessionSettings) -> t.SessionSettings:
    """What a session has of its own."""
    return t.SessionSettings(**{field.name: value for field, value in m.ListFields()})


def session(m: session_pb.Session, written: t.WriteReceipt | None = None) -> t.Session:
    """A session."""
    return t.Session(
        scope=scope(m.scope),
        create_time=moment(m.create_time) if m.HasField("create_time") else None,
        update_time=moment(m.update_time) if m.HasField("update_time") else None,
        expire_time=moment(m.expire_time) if m.HasField("expire_time") else None,
        end_time=moment(m.end_time) if m.HasField("end_time") else None,
        event_count=m.event_count,
        seq=m.seq,
        settings=session_settings(m.settings),
        receipt=written,
    )


def checkpoint(m: checkpoint_pb.Checkpoint, written: t.WriteReceipt | None = None) -> t.Checkpoint:
    """One version of a task's state."""
    return t.Checkpoint(
        task_id=m.task_id,
        version=m.version,
        state=m.state,
        size_bytes=m.size_bytes,
        sha256=m.sha256,
        create_time=moment(m.create_time) if m.HasField("create_time") else None,
        expire_time=moment(m.expire_time) if m.HasField("expire_time") else None,
        receipt=written,
    )


def step(m: checkpoint_pb.Step, written: t.WriteReceipt | None = None) -> t.Step:
    """One step of a task."""
    return t.Step(
        task_id=m.task_id,
        step_id=m.step_id,
        idempotency_key=m.idempotency_key,
        state=words.STEP_STATE.word(m.state),
        result=m.result,
        fencing_token=m.fencing_token,
        lease_expire_time=moment(m.lease_expire_time) if m.HasField("lease_expire_time") else None,
        begin_time=moment(m.begin_time) if m.HasField("begin_time") else None,
        complete_time=moment(m.complete_time) if m.HasField("complete_time") else None,
        error_reason=m.error_reason,
        receipt=written,
    )


def _namespace_stats(m: admin_pb.NamespaceStats) -> t.NamespaceStats:
    return t.NamespaceStats(
        memories=m.memories,
        procedures=m.procedures,
        sessions=m.sessions,
        events=m.events,
        checkpoints=m.checkpoints,
        seq=m.seq,
        index_entries=m.index_entries,
        index_bytes=m.index_bytes,
    )


def _process_stats(m: admin_pb.ProcessStats) -> t.ProcessStats:
    return t.ProcessStats(
        rss_bytes=m.rss_bytes,
        data_bytes=m.data_bytes,
        write_queue_depth=m.write_queue_depth,
        embed_queue_depth=m.embed_queue_depth,
        embed_threads=m.embed_threads,
        query_cache_hits=m.query_cache_hits,
        query_cache_misses=m.query_cache_misses,
        namespaces_loaded=m.namespaces_loaded,
        simd=m.simd,
        compression={field.name: value for field, value in m.compression.ListFields()},
        digests={field.name: value for field, value in m.digests.ListFields()},
    )


def _tier_settings(m: admin_pb.TierSettings) -> t.TierSettings:
    return t.TierSettings(
        tier=words.TIER.word(m.tier),
        store=m.store,
        max_items=m.max_items,
        max_tokens=m.max_tokens,
        ttl=span(m.ttl) if m.HasField("ttl") else None,
        retrieval=m.retrieval,
    )


def stats(m: admin_pb.GetStatsResponse) -> t.Stats:
    """The reply to GetStats."""
    return t.Stats(
        version=m.version,
        uptime=span(m.uptime),
        embedding_model=m.embedding_model,
        embedding_model_digest=m.embedding_model_digest,
        namespace=_namespace_stats(m.namespace),
        process=_process_stats(m.process) if m.HasField("process") else None,
        tiers=tuple(map(_tier_settings, m.tiers)),
        ports=tuple(t.PortStats(one.port, one.store, words.DURABILITY.word(one.durability)) for one in m.ports),
        replica=_replica(m.replica) if m.HasField("replica") else None,
        reembedding=reembedding(m.reembedding) if m.HasField("reembedding") else None,
        jobs=tuple(map(_job, m.jobs)),
    )


def _job(m: admin_pb.JobStats) -> t.JobStats:
    return t.JobStats(
        job=m.job,
        runs=m.runs,
        failures=m.failures,
        done=m.done,
        waiting=m.waiting,
        last_time=moment(m.last_time) if m.HasField("last_time") else None,
        last_duration=span(m.last_duration),
        last_error=m.last_error,
        next_time=moment(m.next_time) if m.HasField("next_time") else None,
    )


def reembedding(m: admin_pb.ReembedResponse) -> t.ReembedProgress:
    """One message of Reembed."""
    return t.ReembedProgress(m.embedding_model, m.phase, m.done, m.total)


def _replica(m: admin_pb.ReplicaStats) -> t.ReplicaStats:
    return t.ReplicaStats(m.seq, span(m.staleness), m.reachable)


def settings(m: admin_pb.NamespaceSettings, written: t.WriteReceipt | None = None) -> t.NamespaceSettings:
    """Settings of a namespace."""

    def count(field: str) -> int | None:
        return int(getattr(m, field)) if m.HasField(field) else None  # type: ignore[arg-type]

    ttl: timedelta | None = span(m.episodic_ttl) if m.HasField("episodic_ttl") else None
    return t.NamespaceSettings(
        working_max_items=count("working_max_items"),
        working_max_tokens=count("working_max_tokens"),
        episodic_max_items=count("episodic_max_items"),
        episodic_ttl=ttl,
        checkpoint_history=count("checkpoint_history"),
        version=m.version,
        index=m.index if m.HasField("index") else None,
        compress=m.compress if m.HasField("compress") else None,
        compress_at=m.compress_at if m.HasField("compress_at") else None,
        compress_keep=count("compress_keep"),
        compress_to=m.compress_to if m.HasField("compress_to") else None,
        summary_share=m.summary_share if m.HasField("summary_share") else None,
        retention_max_age=span(m.retention_max_age) if m.HasField("retention_max_age") else None,
        retention_max_count=count("retention_max_count"),
        retention_keep_if_pinned=m.retention_keep_if_pinned if m.HasField("retention_keep_if_pinned") else None,
        receipt=written,
    )


def verification(m: admin_pb.VerifyResponse) -> t.Verification:
    """The reply to Verify."""
    return t.Verification(
        ok=m.ok,
        rows=m.rows,
        index_entries=m.index_entries,
        seq=m.seq,
        index_seq=m.index_seq,
        missing=m.missing,
        phantom=m.phantom,
        stale=m.stale,
        problems=tuple(m.problems),
    )
