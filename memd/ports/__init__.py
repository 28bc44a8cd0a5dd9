"""The small interfaces between what memd decides and how it is stored, searched and embedded.

Contract of every store:
- A write method returns after its commit, and its result says how durable that is. One transaction holds the row, its
  version, its change-log entry, the request's dedupe record and, where named, the audit row.
- A write whose caller is cancelled is kept. A write that raises left nothing behind.
- ``request`` is the caller's RequestKey or None. Seen before with the same body: the first result again, ``replayed``
  set; with another body: RequestIdReused. Dedupe records keep ids and versions, never text.
- What a write stored is seen by every read that starts after the write returned, on any connection.
- Expired rows are invisible from their time on, whether or not they were swept.
- Raises only the tree of ``memd.domain.errors``.

Methods are coroutines to be called on the event loop, unless they say "blocking": those may be called from any thread.
"""

from memd.ports.index import (
    INDEX_KINDS,
    IndexAnswer,
    IndexChange,
    IndexChanges,
    IndexHit,
    IndexRow,
    IndexSink,
    IndexSource,
    IndexState,
    NamespaceIndex,
    SearchedAway,
    SearchOptions,
)
from memd.ports.knowledge import (
    ForgetPlan,
    MemoryChange,
    MemoryStore,
    MemoryTruth,
    PendingForget,
    ProcedureStore,
    ProcedureTruth,
    Recalls,
    Retained,
    Retention,
    SettingsStore,
)
from memd.ports.models import (
    Clock,
    Embedder,
    EmbedderStats,
    Summarizer,
    SummarizerCounts,
    Summary,
    SummaryRequest,
    TokenCounter,
)
from memd.ports.moving import Backups, Compaction, ModelSwitch, Reembedding, Space, Transfers, Unembedded
from memd.ports.recall import (
    LIVE_SEQ,
    ContextPacker,
    ContextSection,
    PackedContext,
    Tier,
    TierAnswer,
    TierAsk,
    TierState,
)
from memd.ports.replicas import (
    ChangeBatch,
    ChangeLog,
    ChangeSource,
    Freshness,
    Head,
    Leases,
    MemoryLine,
    MemoryLines,
    Replica,
    ReplicaMemory,
    ReplicaProcedure,
)
from memd.ports.sessions import (
    Erasure,
    EventRevision,
    LiveSession,
    Mark,
    MarkedPage,
    MarkedSession,
    SessionMarks,
    SessionPolicy,
    SessionStore,
)
from memd.ports.tasks import StepLedger, TaskHistory, TaskStore

__all__ = [
    "INDEX_KINDS",
    "LIVE_SEQ",
    "Backups",
    "ChangeBatch",
    "ChangeLog",
    "ChangeSource",
    "Clock",
    "Compaction",
    "ContextPacker",
    "ContextSection",
    "Embedder",
    "EmbedderStats",
    "Erasure",
    "EventRevision",
    "ForgetPlan",
    "Freshness",
    "Head",
    "IndexAnswer",
    "IndexChange",
    "IndexChanges",
    "IndexHit",
    "IndexRow",
    "IndexSink",
    "IndexSource",
    "IndexState",
    "Leases",
    "LiveSession",
    "Mark",
    "MarkedPage",
    "MarkedSession",
    "MemoryChange",
    "MemoryLine",
    "MemoryLines",
    "MemoryStore",
    "MemoryTruth",
    "ModelSwitch",
    "NamespaceIndex",
    "PackedContext",
    "PendingForget",
    "ProcedureStore",
    "ProcedureTruth",
    "Recalls",
    "Reembedding",
    "Replica",
    "ReplicaMemory",
    "ReplicaProcedure",
    "Retained",
    "Retention",
    "SearchOptions",
    "SearchedAway",
    "SessionMarks",
    "SessionPolicy",
    "SessionStore",
    "SettingsStore",
    "Space",
    "StepLedger",
    "Summarizer",
    "SummarizerCounts",
    "Summary",
    "SummaryRequest",
    "TaskHistory",
    "TaskStore",
    "Tier",
    "TierAnswer",
    "TierAsk",
    "TierState",
    "TokenCounter",
    "Transfers",
    "Unembedded",
]
