"""What goes into the client and what comes out: frozen dataclasses.

Times are timezone-aware ``datetime`` in UTC, durations ``timedelta``. ``None`` is "not set"; so is an empty string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Generic, TypeAlias, TypeVar

from memd_client.enums import Durability, EventKind, OfferReason, Outcome, SourceKind, StepState, Tier, TierState
from memd_client.explanations import explained

Scalar: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]

T = TypeVar("T")


class Keep(Enum):
    """Marks an argument of ``update`` that was not given (``None`` clears the field)."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class Scope:
    """Who a call is about; matching is equality on each part."""

    namespace: str = ""
    user_id: str = ""
    agent_id: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """``seq``: change number of the log written to. ``replayed``: the stored reply of an earlier, equal call."""

    seq: int
    durability: Durability
    replayed: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next_page_token`` is empty on the last."""

    items: tuple[T, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to store. Without ``memory_id`` its id is a hash of scope and content, so the same text is one memory."""

    content: str
    memory_id: str = ""
    metadata: Metadata = field(default_factory=dict)
    tags: Sequence[str] = ()
    source: SourceKind | str = SourceKind.USER
    speaker: str = ""
    event_time: datetime | None = None
    position: int | None = None
    importance: float | None = None
    pinned: bool = False
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    supersedes: str = ""
    ttl: timedelta | None = None
    event_ids: Sequence[str] = ()
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a namespace's change log. ``epoch`` tells one history of the store from another; 0 is not compared."""

    seq: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A memory was stored or changed, or (``memory`` None) is gone; ``memory_id`` "": all of the namespace are.

    ``position``: everything up to it has been told, this change included.
    """

    memory_id: str
    memory: Memory | None
    seq: int
    position: Position


@dataclass(frozen=True, slots=True)
class Memory:
    """One stored memory. ``receipt`` is set where a write returned it."""

    memory_id: str
    content: str
    metadata: Metadata
    tags: tuple[str, ...]
    scope: Scope
    source: SourceKind
    writer: str
    speaker: str
    event_time: datetime | None
    position: int | None
    importance: float
    pinned: bool
    valid_from: datetime | None
    valid_to: datetime | None
    supersedes: str
    superseded_by: str
    expire_time: datetime | None
    version: int
    create_time: datetime | None
    update_time: datetime | None
    event_ids: tuple[str, ...]
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a session. The fields from ``importance_reasons`` on are set by the daemon."""

    content: str
    kind: EventKind | str = EventKind.TURN
    role: str = ""
    event_id: str = ""
    tool_name: str = ""
    tool_call_id: str = ""
    outcome: Outcome | str | None = None
    resolves: str = ""
    importance: float | None = None
    ephemeral: bool = False
    event_time: datetime | None = None
    metadata: Metadata = field(default_factory=dict)
    importance_reasons: tuple[str, ...] = ()
    tokens: int = 0
    count: int = 0
    last_seen: datetime | None = None
    position: int = 0
    original_bytes: int = 0
    original_sha256: bytes = b""
    summarized_from: int = 0
    """Of a SUMMARY: positions of the first and the last event it stands for."""
    summarized_through: int = 0
    resolved_by: str = ""
    """Of something that failed: what resolved it."""
    body_event_id: str = ""
    """Of a tool output nearly the same as this later one: ``content`` is what differs."""
    kept_whole: bool = False


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """What a score was made of: normalised cosine and words (0..1), raw BM25, matched query terms; and what each cue gave
    or took, by name: ``context_words``, ``phrases`` and ``names`` are within ``words``, ``versions`` within both, ``turn``
    and ``diversity`` were taken."""

    vector: float
    words: float
    bm25: float
    matched_terms: int
    cues: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """``relevance`` is the cosine (-1..1); ``score`` orders the list and means something within one reply only."""

    memory: Memory
    relevance: float
    score: float
    parts: ScoreParts | None


@dataclass(frozen=True, slots=True)
class Demotion:
    """Why a version is no longer trusted: since its fall began it had these outcomes, where the record of
    ``baseline_version`` (0: its own before) made ``expected_rate`` expected."""

    version: int
    baseline_version: int
    baseline_successes: int
    baseline_failures: int
    expected_rate: float
    successes: int
    failures: int
    demote_time: datetime


@dataclass(frozen=True, slots=True)
class Offer:
    """Which version of a key is offered, why and since when; with the evidence unless it is the newest and good."""

    version: int
    newest_version: int
    reason: OfferReason
    since: datetime | None
    demotion: Demotion | None


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """One use of a version, as it was reported."""

    outcome: Outcome | None
    outcome_id: str
    reason: str
    duration: timedelta | None
    report_time: datetime


@dataclass(frozen=True, slots=True)
class Procedure:
    """One version of a how-to with the record of its outcomes. ``relevance`` is set by ``recall`` only, ``outcomes`` by
    ``get_procedure`` where they were asked for; ``demotion`` is this version's own."""

    key: str
    version: int
    trigger: str
    content: str
    metadata: Metadata
    scope: Scope
    successes: int
    failures: int
    success_lower_bound: float
    create_time: datetime | None
    last_outcome_time: datetime | None
    relevance: float
    offer: Offer | None = None
    demotion: Demotion | None = None
    outcomes: tuple[OutcomeReport, ...] = ()
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TierStatus:
    """How one tier did; ``reason`` is a fixed upper-case word, empty when OK. ``staleness``: how old the answer may be; of a
    skipped tier, for how long its store has been out of reach, where that is known."""

    tier: Tier
    state: TierState
    latency: timedelta
    staleness: timedelta
    reason: str

    @property
    def explanation(self) -> str:
        """For people: what is missing, since when, and what to do; "" when OK. Programs go by ``state`` and ``reason``."""
        return explained(self.tier, self.state, self.reason, self.staleness)


@dataclass(frozen=True, slots=True)
class Recall:
    """The ready-to-inject ``context`` (Markdown, ``tokens`` long) and the parts it was made of."""

    context: str
    tokens: int
    working: tuple[Event, ...]
    episodes: tuple[Event, ...]
    memories: tuple[MemoryHit, ...]
    procedures: tuple[Procedure, ...]
    nothing_relevant: bool
    tier_status: tuple[TierStatus, ...]
    seq: int
    elapsed: timedelta
    omitted: int


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """How one event was stored; ``extracted``: not the whole of it."""

    event_id: str
    merged: bool
    importance: float
    tokens: int
    position: int
    extracted: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """The reply to ``observe``: one entry a given event, in order."""

    events: tuple[ObservedEvent, ...]
    receipt: WriteReceipt


@dataclass(frozen=True, slots=True)
class RememberedMemory:
    """How one memory was stored; ``windows`` is the number of its embeddings."""

    memory_id: str
    version: int
    created: bool
    windows: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """The reply to ``remember``: one entry a given memory, in order."""

    memories: tuple[RememberedMemory, ...]
    receipt: WriteReceipt


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What was deleted (``counts`` by kind) and what memd cannot reach. Nothing was deleted when ``dry_run``."""

    receipt_id: str
    counts: Mapping[str, int]
    forget_time: datetime | None
    out_of_reach: tuple[str, ...]
    receipt: WriteReceipt
    dry_run: bool


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Settings of a session that override its namespace's; None is the namespace's."""

    working_max_items: int | None = None
    working_max_tokens: int | None = None
    compress: bool | None = None
    compress_at: float | None = None
    compress_keep: int | None = None
    compress_to: float | None = None
    summary_share: float | None = None


@dataclass(frozen=True, slots=True)
class WorkingMemory:
    """What a session works with now, oldest first."""

    items: tuple[Event, ...]
    tokens: int
    seq: int
    settings: SessionSettings = SessionSettings()


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation or task run. ``update_time`` is the time of its last event."""

    scope: Scope
    create_time: datetime | None
    update_time: datetime | None
    expire_time: datetime | None
    end_time: datetime | None
    event_count: int
    seq: int
    settings: SessionSettings = SessionSettings()
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StoredProcedure:
    """The reply to ``put_procedure``; ``created`` is False when the newest version already was just this."""

    procedure: Procedure
    created: bool
    receipt: WriteReceipt


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved version of a task's state; ``state`` is empty in lists and in the reply to a save."""

    task_id: str
    version: int
    state: bytes = field(repr=False)
    size_bytes: int
    sha256: bytes
    create_time: datetime | None
    expire_time: datetime | None
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a task: ``result`` where it is completed, ``error_reason`` where it failed; ``fencing_token`` 0 in lists
    and where the lease is somebody else's."""

    task_id: str
    step_id: str
    idempotency_key: str
    state: StepState
    result: bytes = field(repr=False)
    fencing_token: int
    lease_expire_time: datetime | None
    begin_time: datetime | None
    complete_time: datetime | None
    error_reason: str
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Removed:
    """How many items a clear or delete removed."""

    count: int
    receipt: WriteReceipt


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    """Rows and sizes of the caller's namespace."""

    memories: int
    procedures: int
    sessions: int
    events: int
    checkpoints: int
    seq: int
    index_entries: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """Figures of the whole daemon."""

    rss_bytes: int
    data_bytes: int
    write_queue_depth: int
    embed_queue_depth: int
    embed_threads: int
    query_cache_hits: int
    query_cache_misses: int
    namespaces_loaded: int
    simd: str
    compression: Mapping[str, int] = field(default_factory=dict)
    """Counters since the start, by the names of ``CompressionStats`` in the contract."""
    digests: Mapping[str, int] = field(default_factory=dict)
    """The same of ``DigestStats``."""


@dataclass(frozen=True, slots=True)
class TierSettings:
    """One row of the tier table; 0 is unbounded, ``ttl`` None never expires."""

    tier: Tier
    store: str
    max_items: int
    max_tokens: int
    ttl: timedelta | None
    retrieval: str


@dataclass(frozen=True, slots=True)
class PortStats:
    """Which store holds what, and what a write there is worth."""

    port: str
    store: str
    durability: Durability


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """How far the daemon's copy of the namespace is; ``seq`` 0: none of it is here."""

    seq: int
    staleness: timedelta
    reachable: bool


@dataclass(frozen=True, slots=True)
class JobStats:
    """A background job since the daemon's start. ``done``: sessions it went on in, or rows that went; ``waiting``: what its
    last run left. ``last_error`` is the reason of a failed last run, else ""; ``next_time`` is None while it runs."""

    job: str
    runs: int
    failures: int
    done: int
    waiting: int
    last_time: datetime | None
    last_duration: timedelta
    last_error: str
    next_time: datetime | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What the daemon holds and how it is doing; ``process`` only with the admin right."""

    version: str
    uptime: timedelta
    embedding_model: str
    embedding_model_digest: str
    namespace: NamespaceStats
    process: ProcessStats | None
    tiers: tuple[TierSettings, ...]
    ports: tuple[PortStats, ...] = ()
    replica: ReplicaStats | None = None
    """None where the daemon itself holds the truth."""
    jobs: tuple[JobStats, ...] = ()
    """Background jobs; only with the admin right."""
    reembedding: ReembedProgress | None = None
    """None when the store is not on its way to another model."""


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """Settings of a namespace that override the daemon's; None is the daemon's."""

    working_max_items: int | None
    working_max_tokens: int | None
    episodic_max_items: int | None
    episodic_ttl: timedelta | None
    checkpoint_history: int | None
    version: int
    index: str | None = None
    compress: bool | None = None
    compress_at: float | None = None
    compress_keep: int | None = None
    compress_to: float | None = None
    summary_share: float | None = None
    retention_max_age: timedelta | None = None
    retention_max_count: int | None = None
    retention_keep_if_pinned: bool | None = None
    receipt: WriteReceipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the memories, procedures and settings of an export. ``skipped``: there as they are in the file, or
    expired; ``forgotten``: since the export was made."""

    imported: int
    skipped: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of the store, as it was at ``backup_time``."""

    name: str
    bytes: int
    backup_time: datetime
    # What the daemon keeps in another store: "sessions", "checkpoints".
    not_included: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReembedProgress:
    """On the way to another embedding model: ``done`` of ``total`` texts have their embedding. ``phase``: "embedding",
    "indexing", "switching", and at the end "done" or "cancelled"."""

    embedding_model: str
    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class LifecycleRun:
    """``examined``: sessions that were due, and rows that were to go; ``changed``: those of them that were gone on in;
    ``memory_ids``: the first that a dry run of retention would delete, oldest first."""

    examined: int
    changed: int
    memory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """How index and rows compare: rows the index lacks, entries without a row, entries of another version."""

    ok: bool
    rows: int
    index_entries: int
    seq: int
    index_seq: int
    missing: int
    phantom: int
    stale: int
    problems: tuple[str, ...]
