"""The nouns of memd as frozen values. Unset strings are ``""``; times are integer microseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from memd.domain.learning import Demotion
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings

T = TypeVar("T")
Metadata: TypeAlias = Mapping[str, Any]
"""Flat: string, number, bool, or a list of those."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Namespace and, each possibly unset, user, agent and session. Matching is equality on each part."""

    namespace: str
    user_id: str = ""
    agent_id: str = ""
    session_id: str = ""


class Durability(Enum):
    SYNCED = "synced"
    REPLICATED = "replicated"
    SERVER_MEMORY = "server_memory"
    UNKNOWN = "unknown"


class TierName(Enum):
    WORKING = "working"
    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"


class SourceKind(Enum):
    USER = "user"
    AGENT = "agent"
    TOOL = "tool"
    IMPORT = "import"
    DIGEST = "digest"


class EventKind(Enum):
    TURN = "turn"
    TOOL_CALL = "tool_call"
    DECISION = "decision"
    ERROR = "error"
    SUMMARY = "summary"
    """Made by memd: stands in working memory for what it summarizes. Never observed, never an episode."""


class Outcome(Enum):
    NONE = ""
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What a store is frozen to. ``precision`` is part of ``model_id``; ``digest`` is that of the model file, hex."""

    model_id: str
    digest: str
    dimensions: int
    precision: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Reembedded:
    """A store is of ``model`` now: texts ``embedded`` by this run, and ``resumed``, those that earlier ones had left."""

    model: EmbeddingModel
    embedded: int
    resumed: int


@dataclass(frozen=True, slots=True)
class Memory:
    """One unit of the semantic tier. The scope's session is provenance."""

    memory_id: str
    scope: Scope
    content: str
    metadata: Metadata = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    source: SourceKind = SourceKind.USER
    writer: str = ""
    speaker: str = ""
    event_time: int | None = None
    position: int | None = None
    importance: float = 0.5
    pinned: bool = False
    valid_from: int | None = None
    valid_to: int | None = None
    supersedes: str = ""
    superseded_by: str = ""
    expire_time: int | None = None
    event_ids: tuple[str, ...] = ()
    version: int = 0
    create_time: int = 0
    update_time: int = 0


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to store: ``memory`` without version and server-set times, and the embeddings of its windows.

    ``embeddings`` are float32 little-endian, one ``bytes`` a window. ``expected_version``: what is stored must have it, 0 for
    nothing; None asks nothing.
    """

    memory: Memory
    embeddings: tuple[bytes, ...]
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class RememberedMemory:
    memory_id: str
    version: int
    created: bool
    windows: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a session. ``content`` may be an extract, or (``body_event_id``) what differs from a later event's: then
    ``original_bytes`` and ``original_sha256`` are set. ``kept_whole``: it is to be neither.

    A SUMMARY stands for the episodes from ``summarized_from`` to ``summarized_through``, positions in the session.
    """

    event_id: str
    kind: EventKind
    content: str
    role: str = ""
    tool_name: str = ""
    tool_call_id: str = ""
    outcome: Outcome = Outcome.NONE
    resolves: str = ""
    importance: float = 0.5
    importance_reasons: tuple[str, ...] = ()
    ephemeral: bool = False
    event_time: int = 0
    tokens: int = 0
    count: int = 1
    last_seen: int = 0
    position: int = 0
    original_bytes: int = 0
    original_sha256: bytes = b""
    metadata: Metadata = field(default_factory=dict)
    summarized_from: int = 0
    summarized_through: int = 0
    resolved_by: str = ""
    body_event_id: str = ""
    kept_whole: bool = False


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    event_id: str
    merged: bool
    importance: float
    tokens: int
    position: int
    extracted: bool = False


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """Items oldest first, within the caps, after the summaries of what was there before them; ``seq`` is the session's
    change number. ``create_time``, ``erased`` and the last summary tell whether it was compressed, cleared or forgotten
    since."""

    items: tuple[Event, ...]
    tokens: int
    seq: int
    create_time: int = field(default=0, compare=False)
    erased: int = field(default=0, compare=False)
    """How often a Forget took events out of the session."""
    settings: SessionSettings = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class Session:
    scope: Scope
    create_time: int
    update_time: int
    expire_time: int
    end_time: int | None
    event_count: int
    seq: int
    settings: SessionSettings = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class Offer:
    """Which version of a key is offered, since when, and the demotion that led to it: of the newest version where a former
    one took its place, of the offered one where there was no good one to take it."""

    version: int = 0
    newest: int = 0
    since: int = 0
    demotion: Demotion | None = None


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """What an agent says of one use of a version. ``outcome_id``: the caller's name for that use, or ``""``."""

    outcome: Outcome
    outcome_id: str = ""
    reason: str = ""
    duration_us: int | None = None
    time: int = 0


@dataclass(frozen=True, slots=True)
class Procedure:
    """One version of a how-to. ``procedure_id`` names the key within its scope (all versions share it). ``demotion`` is this
    version's own; ``offer`` is of the key."""

    procedure_id: str
    scope: Scope
    key: str
    version: int
    trigger: str
    content: str
    metadata: Metadata = field(default_factory=dict)
    successes: int = 0
    failures: int = 0
    create_time: int = 0
    last_outcome_time: int | None = None
    demotion: Demotion | None = None
    offer: Offer = field(default=Offer(), compare=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``state`` is empty where only the description was asked for; ``size_bytes`` always tells."""

    namespace: str
    task_id: str
    version: int
    state: bytes
    size_bytes: int
    sha256: bytes
    create_time: int
    expire_time: int


IndexPlace: TypeAlias = Literal["memory", "pgvector"]


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """Overrides of the daemon's settings; None means not overridden."""

    working_max_items: int | None = None
    working_max_tokens: int | None = None
    episodic_max_items: int | None = None
    episodic_ttl_us: int | None = None
    checkpoint_history: int | None = None
    compress: bool | None = None
    compress_at: float | None = None
    compress_keep: int | None = None
    compress_to: float | None = None
    summary_share: float | None = None
    version: int = 0
    index: IndexPlace | None = None
    """Where memories are searched; None is "memory"."""
    retention_max_age_us: int | None = None
    retention_max_count: int | None = None
    retention_keep_if_pinned: bool | None = None
    """See ``memd.domain.retention``; None is no bound, and True."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A caller's ``request_id`` with the digest of the request it came with (method and body, without the id)."""

    namespace: str
    request_id: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a write returns: ``value``, the change number it got, how safe it is, and whether it is a stored reply."""

    value: T
    seq: int
    durability: Durability
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Appended(Written[tuple[ObservedEvent, ...]]):
    """What an append returns: what became of each event, and the settings of the session. A stored reply has none."""

    settings: SessionSettings = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``next_cursor`` is ``""`` on the last page."""

    items: tuple[T, ...]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """Some events of a session; where the scope names no agent, of every agent's session of that id."""

    scope: Scope
    event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """``events``: what the forgotten memories were made of, to be taken out of the sessions."""

    receipt_id: str
    counts: Mapping[str, int]
    forget_time: int
    out_of_reach: tuple[str, ...]
    dry_run: bool
    events: tuple[SessionEvents, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupMade:
    name: str
    bytes: int
    backup_time_us: int
    not_included: tuple[str, ...] = ()
    """What is kept in another store."""


@dataclass(frozen=True, slots=True)
class PortStats:
    """Which store holds what, and what a write there is worth."""

    port: str
    store: str
    durability: Durability


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """How far the copy of a namespace is; ``seq`` 0: none of it is here."""

    seq: int
    staleness_us: int
    reachable: bool


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    memories: int = 0
    procedures: int = 0
    sessions: int = 0
    events: int = 0
    checkpoints: int = 0
    seq: int = 0
    index_entries: int = 0
    index_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    rows: int
    index_entries: int
    seq: int
    index_seq: int
    missing: int
    phantom: int
    stale: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        in_step = self.seq == self.index_seq and not (self.missing or self.phantom or self.stale)
        return in_step and not self.problems
