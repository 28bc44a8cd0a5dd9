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

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from memd.domain.compression import CompressionPolicy
from memd.domain.decay import Decay
from memd.domain.filters import Filter
from memd.domain.model import (
    BackupMade,
    Checkpoint,
    EmbeddingModel,
    Event,
    EventKind,
    ForgetReceipt,
    Memory,
    NamespaceSettings,
    NewMemory,
    ObservedEvent,
    OutcomeReport,
    Page,
    Procedure,
    RememberedMemory,
    RequestKey,
    Scope,
    Session,
    SessionEvents,
    TierName,
    WorkingSet,
    Written,
)
from memd.domain.portable import Exported, PortableMemory, TakenIn
from memd.domain.portable_procedures import PortableProcedure
from memd.domain.retention import Outdated, RetentionPolicy, Surplus
from memd.domain.steps import Step, StepIntent

T = TypeVar("T")


class Clock(Protocol):
    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch. Stored times come from here alone."""

    def monotonic_s(self) -> float: ...


class TokenCounter(Protocol):
    """``memd._core.TokenCounter``: exact, thread-safe."""

    @property
    def encoding(self) -> str: ...
    def count(self, text: str) -> int: ...
    def count_batch(self, texts: Sequence[str]) -> list[int]: ...


# -- sessions


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Caps of one session, from settings. Counts are items, ``working_max_tokens`` tokens."""

    working_max_items: int
    working_max_tokens: int
    episodic_max_items: int
    ttl_us: int
    compression: CompressionPolicy | None = None
    """None: what is over the working caps leaves working memory as it is. Else the caps leave room for it to wait."""


@dataclass(frozen=True, slots=True)
class EventRevision:
    """An event as it was read and as it is to be. They differ in importance and its reasons, ``resolves``, ``resolved_by``,
    ``body_event_id``, and, but for the newest event of a session, in the content with its tokens, size and digest."""

    was: Event
    becomes: Event


class Erasure(Protocol):
    """What a server keeps of deleted rows in its files, where it must be asked to let go of it."""

    async def erase(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        """After a Forget that removed ``counts``: ask, without waiting for it to be done. What is out of reach until then and
        afterwards, in words true to what was asked; a server that refuses or is away is no error."""


class SessionStore(Protocol):
    """Working sets, episodes and sessions. All parts of the scope select by equality; ``session_id`` is set."""

    async def append(
        self, scope: Scope, events: Sequence[Event], policy: SessionPolicy, request: RequestKey | None
    ) -> Written[tuple[ObservedEvent, ...]]:
        """Append in order, all or none; open or reopen the session, refresh its TTL, trim to the caps.

        An ``event_id`` the session already holds is not stored again. An event equal to the one directly before it in
        kind, role, tool_call_id and content is merged: count and last_seen grow. Each result tells which.
        """

    async def working(self, scope: Scope, policy: SessionPolicy) -> WorkingSet:
        """The summaries and the newest items within the caps, oldest first; empty for an unknown session."""

    async def compress(self, scope: Scope, seen: WorkingSet, summaries: Sequence[Event], through: int) -> bool:
        """Put ``summaries`` (all there are to be from now on) in the place of the items up to position ``through`` and of
        the summaries of ``seen``; ephemeral ones of the items are deleted, the others stay episodes. The newest item
        stays in any case. The session's TTL is not refreshed.

        False and nothing changed where the session has been compressed, cleared, ended or forgotten since ``seen``."""

    async def revise(self, scope: Scope, revisions: Sequence[EventRevision]) -> int:
        """Change what was found out about events after their reply; one commit. Passed over is an event that is no longer
        as it was read (count and last_seen aside), and one whose ``body_event_id`` is new and no episode of the session.
        The session's TTL is not refreshed. How many were changed."""

    async def clear_working(self, scope: Scope, request: RequestKey | None) -> Written[int]:
        """How many items left working memory, summaries among them. Summaries and ephemeral events are deleted, the
        others stay episodes."""

    async def episodes(
        self, scope: Scope, policy: SessionPolicy, *, kinds: frozenset[EventKind], size: int, cursor: str
    ) -> Page[Event]:
        """Newest first; empty ``kinds`` is all."""

    async def recent(self, scope: Scope, policy: SessionPolicy, limit: int) -> tuple[WorkingSet, tuple[Event, ...]]:
        """Working set, and the newest ``limit`` episodes not in it, oldest first: one snapshot, for Recall."""

    async def sessions(self, scope: Scope, *, size: int, cursor: str) -> Page[Session]:
        """Sessions of namespace, user and agent, most recently active first."""

    async def live(self, size: int, cursor: str) -> Page[Scope]:
        """Sessions of every namespace, for background work: those that may have more than one item in working memory. About
        ``size``, in an order of the store's own, some perhaps twice; what is there from the first page to the last is on
        one."""

    async def end(self, scope: Scope, request: RequestKey | None) -> Written[Session]:
        """NotFound for an unknown session; ending twice changes nothing."""

    async def forget(self, scope: Scope, *, all_users: bool, receipt_id: str) -> Mapping[str, int]:
        """Delete every session in scope (unset session_id: all, unset agent_id: every agent's; ``all_users``: the whole
        namespace). Idempotent per receipt: the counts ``events`` and ``sessions`` of the first run again."""

    async def count(self, scope: Scope, *, all_users: bool) -> Mapping[str, int]:
        """The same counts without deleting; the namespace's for ``all_users``."""

    async def forget_events(
        self, namespace: str, events: Sequence[SessionEvents], *, receipt_id: str
    ) -> Mapping[str, int]:
        """Delete the events, live or expired, and of a session whose summaries tell one of them all summaries. Its digest
        is due anew, from its beginning, and a ``compress`` on its way changes nothing. Idempotent per receipt: the counts
        ``events`` and ``summaries`` of the first run again. ``receipt_id`` "" only counts."""

    async def sweep(self, max_rows: int) -> int:
        """Delete up to ``max_rows`` expired rows, return how many; bounded time."""


@dataclass(frozen=True, slots=True)
class MarkedSession:
    """A session as background work knows it, live or not. ``key`` is the store's own name of this life of it: a session that
    expired and was opened again has another. ``promoted``, ``digested``: positions up to which that work is done."""

    key: str
    scope: Scope
    create_time: int
    promoted: int
    digested: int
    last_position: int


@dataclass(frozen=True, slots=True)
class MarkedPage:
    """``after``: where to go on; "" at the end. A store looks at a bounded number of sessions for one page, so it may be
    short, or empty, with more behind it."""

    sessions: tuple[MarkedSession, ...]
    after: str


@dataclass(frozen=True, slots=True)
class Mark:
    """``session`` as it was read when the work began, and the position it has come to."""

    session: MarkedSession
    position: int


class SessionMarks(Protocol):
    """How far background work has come in each session. A session that expired is here until the sweep takes it. Pages are in
    the store's own order and go on after ``after``; "" begins."""

    async def unpromoted(self, limit: int, after: str = "") -> MarkedPage:
        """Sessions with events past ``promoted``."""

    async def undigested(
        self, limit: int, *, events: int, idle_us: int, expires_us: int, after: str = ""
    ) -> MarkedPage:
        """Sessions with events past ``digested`` that have at least ``events`` of them, or were ended, or were idle for
        ``idle_us``, or expire within ``expires_us`` or did."""

    async def expired(self, limit: int, after: str = "") -> MarkedPage:
        """Expired sessions with events past ``promoted`` or ``digested``."""

    async def since(self, session: MarkedSession, position: int, limit: int) -> tuple[Event, ...]:
        """The first ``limit`` events after ``position`` up to its ``last_position``, oldest first, ephemeral ones too, also
        of an expired session; those that were deleted are missing."""

    async def mark(self, promoted: Sequence[Mark] = (), digested: Sequence[Mark] = ()) -> int:
        """How many were set. Each is a compare-and-set: nothing happens where another has marked that work of the session
        since it was read, or where it is gone."""

    def spare(self, grace_us: int) -> None:
        """From now on the sweep leaves expired sessions for so long that are here as ``expired``. Counted from when they
        expired, but not before the sweeps came regularly: see ``domain.grace``."""


# -- memories


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """New values for the fields of ``Memory`` named in ``values``. ``embeddings`` when content changes, else None."""

    values: Mapping[str, Any]
    embeddings: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """What a Forget is to remove. Exactly one of ``memory_ids``, ``event_ids``, ``filter`` and ``everything``.

    ``event_ids``: of the session of the scope; every memory that was made of one of them goes. With any memory but a digest
    go the events it was made of, and the digests that tell them.

    ``everything``: every memory ``visible`` lets through, procedures of the user (of the agent where set; none where a
    session is set), all of the namespace for ``all_users``.
    """

    scope: Scope
    visible: Filter
    """Visibility of the scope, including what is superseded; a memory outside it is never touched."""
    memory_ids: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    filter: Filter | None = None
    everything: bool = False
    all_users: bool = False
    task_ids: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PendingForget:
    """A Forget whose memories are gone and whose other stores are not known to be done. ``events``: see ForgetReceipt."""

    receipt_id: str
    plan: ForgetPlan
    events: tuple[SessionEvents, ...] = ()


INDEX_KINDS = ("memory", "procedure")
"""What has an index, and so a watermark to keep in step with the namespace's change number."""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What the index needs of one row. ``embeddings`` are concatenated float32; ``fields`` is the JSON of _core."""

    entry_id: str
    version: int
    text: str
    embeddings: bytes
    fields: bytes


@dataclass(frozen=True, slots=True)
class IndexChange:
    """One committed change, in commit order. ``kind`` is "memory" or "procedure"."""

    namespace: str
    kind: str
    seq: int
    put: tuple[IndexRow, ...] = ()
    delete: tuple[str, ...] = ()
    delete_all: bool = False


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """What an index needs to be as the rows are at change number ``seq``: first ``removed`` taken out, then ``rows`` put."""

    seq: int
    removed: tuple[str, ...]
    rows: Iterator[Sequence[IndexRow]]


IndexSink: TypeAlias = Callable[[Sequence[IndexChange]], None]
"""Called by a store on its writer thread after each commit and before the replies; must not raise."""


class IndexSource(Protocol):
    """Where an index gets its rows from. Every method blocks."""

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        """The namespace's change number and batches of all rows of ``kind``, one snapshot."""

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> IndexChanges | None:
        """What changed since ``since``, where the change log had ``mark``; None when that cannot be told: all
        rows must be loaded."""

    def mark(self, namespace: str, seq: int) -> str:
        """Identifies the change log up to ``seq``: another history has another mark."""

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        """Whether something was deleted since ``seq``: an index saved then still holds words of it."""


class MemoryTruth(Protocol):
    """Semantic rows with revisions, change log, tombstones and audit: where they are true, be it far away."""

    async def fence(self, namespace: str) -> int:
        """A mark to take before work on a write begins: ``remember`` raises Forgotten when something it touches was
        forgotten after its ``fence``."""

    async def remember(
        self, namespace: str, drafts: Sequence[NewMemory], *, fence: int, writer: str, request: RequestKey | None
    ) -> Written[tuple[RememberedMemory, ...]]:
        """Upsert all or none. Replacing keeps create_time, adds a revision and grows the version; a draft equal to what
        is stored changes nothing. An id held by another scope is AlreadyExists. ``supersedes`` closes the old memory
        (valid_to, superseded_by), NotFound when it is not visible to the draft's scope. VersionConflict where a draft that
        would change something expected another version."""

    async def update(
        self,
        namespace: str,
        memory_id: str,
        visible: Filter,
        change: MemoryChange,
        *,
        expected_version: int,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[Memory]:
        """NotFound unless ``visible`` lets it through; VersionConflict unless ``expected_version`` is 0 or current."""

    async def forget(self, plan: ForgetPlan, *, writer: str, request: RequestKey | None) -> Written[ForgetReceipt]:
        """One commit: rows, revisions, embeddings, procedures where everything goes, a content-free tombstone, the audit
        row with the receipt. ``everything``, and events to be taken out of sessions, leave a PendingForget until
        ``finish_forget``."""

    async def finish_forget(self, receipt_id: str, counts: Mapping[str, int]) -> ForgetReceipt:
        """Add the other stores' counts and mark the receipt done. Idempotent."""

    async def pending_forgets(self) -> tuple[PendingForget, ...]: ...

    async def page(self, namespace: str, where: Filter, *, size: int, cursor: str) -> Page[Memory]:
        """Memories that match, newest create_time first, those of one create_time by descending id: an order that every
        copy of the rows has, so that one copy may be asked for the page after another's."""

    async def revisions(self, namespace: str, memory_id: str, *, size: int, cursor: str) -> Page[Memory]:
        """Newest first, the current state included."""

    async def verify(self, namespace: str) -> tuple[int, Mapping[str, int], Sequence[str]]:
        """Change number, entry id to version of every memory row, and problems the store's own check found."""

    async def sweep(self, max_rows: int) -> int:
        """Delete up to ``max_rows`` expired memories as changes of their namespaces, return how many; bounded time."""


@dataclass(frozen=True, slots=True)
class Retained:
    """A namespace with a retention policy, as it stood at change number ``seq``."""

    namespace: str
    policy: RetentionPolicy
    seq: int


class Retention(Protocol):
    """What retention policies let go of, where memories are true."""

    async def policies(self, after: str, limit: int) -> tuple[Retained, ...]:
        """Namespaces whose policy bounds something, in the order of their names, those after ``after``."""

    async def surplus(self, namespace: str, policy: RetentionPolicy, limit: int) -> Surplus:
        """Of one snapshot, by the store's clock; at most ``limit`` of the oldest."""

    async def retire(self, namespace: str, outdated: Sequence[Outdated], *, writer: str) -> int:
        """Delete what is still as it was found, in one commit; how many went. As a Forget of their ids for every reader,
        index, replica and watcher; but no tombstone keeps a restore or a late writer from storing them anew."""


class MemoryStore(MemoryTruth, Protocol):
    """What the tiers and use cases work with: the truth, and its rows at hand."""

    async def ready(self, namespace: str) -> None:
        """Wait until ``fetch`` has the rows of the namespace; at once where they are the truth itself. NotReady or
        ReplicaStale where they cannot be had."""

    def fetch(self, namespace: str, memory_ids: Sequence[str]) -> list[Memory]:
        """Blocking. The rows that exist, in the order asked; no visibility rule is applied."""

    def digests(self, scope: Scope, limit: int) -> list[Memory]:
        """Blocking, an indexed read. The digests that were begun last, newest first, of the scope's user and agent, other
        sessions than its own."""


class Recalls(Protocol):
    """When memories were last recalled by this daemon, roughly: kept apart from the rows, and lost with a crash or a load."""

    def note(self, namespace: str, memory_ids: Sequence[str], now_us: int) -> None:
        """From any thread, at once: nothing is written before ``flush``."""

    def last(self, namespace: str, memory_ids: Sequence[str]) -> Mapping[str, int]:
        """Blocking. The last written recall of those that have one."""

    async def flush(self) -> int:
        """Write what was noted, one commit; how many memories. What is gone is passed over."""


class ProcedureTruth(Protocol):
    """As MemoryTruth, for procedures."""

    async def put(
        self,
        procedure: Procedure,
        embeddings: tuple[bytes, ...],
        *,
        expected_version: int | None,
        fence: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[tuple[Procedure, bool]]:
        """Store as the next version; False and nothing stored when the newest already has this body."""

    async def get(self, namespace: str, procedure_id: str, version: int) -> Procedure:
        """``version`` 0 is the offered one. NotFound."""

    async def page(self, scope: Scope, *, key: str, size: int, cursor: str) -> Page[Procedure]:
        """Offered versions by key; with ``key`` all its versions, newest first. Visibility of the scope applies."""

    async def delete(
        self, namespace: str, procedure_id: str, *, writer: str, request: RequestKey | None
    ) -> Written[int]:
        """How many versions went; NotFound when none was there."""

    async def report(
        self, namespace: str, procedure_id: str, version: int, report: OutcomeReport, request: RequestKey | None
    ) -> Written[Procedure]:
        """Count one outcome, once for an ``outcome_id``, and demote the version when ``domain.learning`` says so: then the
        newest earlier version that is not demoted is offered, in the same commit. NotFound; RequestIdReused."""

    async def outcomes(self, namespace: str, procedure_id: str, version: int, limit: int) -> Sequence[OutcomeReport]:
        """The newest kept reports of a version, newest first."""


class ProcedureStore(ProcedureTruth, Protocol):
    def fetch(self, namespace: str, procedure_ids: Sequence[str]) -> list[Procedure]:
        """Blocking. Offered versions of those that exist, in the order asked."""


class SettingsStore(Protocol):
    async def settings(self, namespace: str) -> NamespaceSettings: ...

    async def put_settings(
        self,
        namespace: str,
        settings: NamespaceSettings,
        *,
        expected_version: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[NamespaceSettings]: ...

    async def counts(self, namespace: str) -> Mapping[str, int]:
        """Rows by kind: memories, procedures, sessions, events, checkpoints; and ``seq``."""


class Backups(Protocol):
    """Copies of everything a store holds."""

    async def backup(self, name: str) -> BackupMade:
        """One snapshot, while writes go on; whole and synced when it returns. AlreadyExists, StoreFull; InvalidArgument for a
        name that is more than a name."""


@dataclass(frozen=True, slots=True)
class Space:
    """Of a file of rows: its size, and how much of it is free."""

    bytes: int
    free_bytes: int


class Compaction(Protocol):
    """A file of rows that keeps the space of what was deleted for what comes next."""

    async def space(self) -> Space: ...

    async def give_back(self, max_bytes: int) -> int:
        """One commit that makes the file shorter by about so much, where that is free; by how much. Other writers wait for
        it."""


class Transfers(Protocol):
    """A namespace as the format of ``domain.portable`` has it."""

    def export(self, namespace: str) -> AsyncGenerator[Sequence[Exported], None]:
        """All of one moment, a few at a time: the header, the settings where the namespace has its own, memories, procedures.
        Every Forget that it does not know has the time of its header or a later one. Until it is closed the log of the store
        keeps growing, and what is deleted stays in the files."""

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        """One commit, as every write: memories that are not here are stored as they are, with their earlier states. One that
        is here as it is, or has expired, is skipped; another state, or another owner of its id, is a conflict and left
        alone; one that was forgotten here at ``exported_us`` or later stays so. ``fence``: a mark taken before it was known
        which model the embeddings are of; StoreBusy when the store's has changed since."""

    async def take_in_procedure(
        self, namespace: str, procedure: PortableProcedure, *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        """The same, for a procedure with its versions, their records, and the reports that are kept."""

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> Written[TakenIn]:
        """The same, for the settings."""


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """How many versions of its checkpoint a task has."""

    namespace: str
    task_id: str
    versions: int


class TaskStore(Protocol):
    async def save(
        self,
        namespace: str,
        task_id: str,
        state: bytes,
        *,
        expected_version: int | None,
        ttl_us: int,
        keep: int,
        request: RequestKey | None,
    ) -> Written[Checkpoint]:
        """Compare-and-set on the newest version (0: none is stored and none ever was, or it expired or was deleted: then
        versions go on from the old number and VersionConflict tells it). Keeps the newest ``keep``; refreshes the TTL of
        them all. The result has no state."""

    async def load(self, namespace: str, task_id: str, version: int) -> Checkpoint:
        """``version`` 0 is the newest. NotFound when gone or expired."""

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Checkpoint]:
        """Versions of one task, newest first, or the newest of every task; without state."""

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        """How many versions went; the number stays reserved so that a stale save is still refused."""

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        """As SessionStore.forget, count ``checkpoints``."""

    async def histories(self, *, size: int, cursor: str) -> Page[TaskHistory]:
        """Tasks of all namespaces, about ``size`` of them: a page may have fewer, or none, and not be the last. What is
        stored throughout is on one of the pages at least."""

    async def prune(self, namespace: str, task_id: str, keep: int) -> int:
        """Delete the versions older than the newest ``keep``; how many went."""

    async def sweep(self, max_rows: int) -> int: ...


class StepLedger(Protocol):
    """Steps of tasks, by the rules of ``memd.domain.steps``. A task's steps expire together, ``ttl_us`` after the last
    change of any of them. Writes return the step as it stands, with ``seq`` its fencing token."""

    async def begin(
        self, namespace: str, intent: StepIntent, *, ttl_us: int, request: RequestKey | None
    ) -> Written[Step]:
        """State RUN: the lease is the caller's. A repeated request whose lease nobody has taken since gets the step again.
        LimitExceeded over MAX_STEPS_PER_TASK."""

    async def renew(
        self, namespace: str, task_id: str, step_id: str, *, token: int, lease_us: int, ttl_us: int
    ) -> Written[Step]:
        """``lease_us`` 0 gives the lease up. This and the next two: StepTaken, NotFound."""

    async def complete(
        self, namespace: str, task_id: str, step_id: str, *, token: int, result: bytes, ttl_us: int
    ) -> Written[Step]: ...

    async def fail(
        self, namespace: str, task_id: str, step_id: str, *, token: int, reason: str, retryable: bool, ttl_us: int
    ) -> Written[Step]: ...

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Step]:
        """In the order they were first begun, without fencing tokens; a page may end early by STEP_PAGE_BYTES."""

    async def count(self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool) -> Mapping[str, int]:
        """Count ``steps``, as ``forget`` would."""

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        """As SessionStore.forget, count ``steps``."""

    async def sweep(self, max_rows: int) -> int: ...


# -- replicas of memories, procedures and settings


@dataclass(frozen=True, slots=True)
class Head:
    """Where a namespace's change log stands. Numbers count on through a restore or a failover that lost writes, and are
    then given out a second time: ``epoch`` tells the two histories apart. It changes with the first write after the
    server was started, which alone loses nothing: ``ChangeSource.changes`` knows whether a replica must reload."""

    seq: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """``embeddings``: float32 little-endian, one bytes a window."""

    memory: Memory
    embeddings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReplicaProcedure:
    """The offered version, and the embeddings of its trigger."""

    procedure: Procedure
    embeddings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """What a replica at ``since`` needs to be at ``reached``: first the ``cleared`` kinds are emptied, then ``deleted``
    removed, then rows put. Rows are as they are now, so one may already be newer than ``reached``: applying is idempotent.
    """

    namespace: str
    since: int
    reached: Head
    cleared: tuple[str, ...] = ()
    """"memory", "procedure": everything of the kind was deleted."""
    deleted: tuple[tuple[str, str], ...] = ()
    """(kind, entry_id)."""
    memories: tuple[ReplicaMemory, ...] = ()
    procedures: tuple[ReplicaProcedure, ...] = ()
    settings: NamespaceSettings | None = None
    """Set when they changed."""


class ChangeSource(Protocol):
    """What replicas follow. Correctness needs ``heads`` and ``changes`` alone."""

    async def heads(self, namespaces: Sequence[str]) -> Mapping[str, Head]:
        """Of those that have changed ever; one round trip."""

    async def changes(self, namespace: str, since: Head) -> ChangeBatch | None:
        """The next at most MAX_CHANGE_BATCH lines of the log after ``since``, whole change numbers, at least one where there
        is one. None when the replica must reload: the log no longer reaches back, or the replica holds changes that the
        log does not (any more)."""

    def snapshot(self, namespace: str) -> AsyncIterator[ChangeBatch]:
        """The whole namespace in batches of one snapshot: every one carries the same ``reached``; the first clears both
        kinds and has the settings. One batch at least, also for a namespace without any change."""

    async def hints(self) -> AsyncIterator[Sequence[str]]:
        """Namespaces that may have changed, from the moment this returns; ends without an error where hints cannot be had
        (any more)."""

    async def announce(self, namespaces: Sequence[str]) -> None:
        """Make ``hints`` of the others say these, soon; returns at once and never raises."""


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """A line of the change log about a memory, or (``memory_id`` "") about all of the namespace."""

    seq: int
    memory_id: str
    memory: Memory | None = None
    """As it is now: maybe later than ``seq``. None: it is gone."""
    forgotten_for: tuple[Scope, ...] = ()
    """Whose Forget deleted it under this number; () where it expired, or was put."""


@dataclass(frozen=True, slots=True)
class MemoryLines:
    """Lines after a position, whole change numbers, in order; ``reached`` is the position after them."""

    reached: Head
    lines: tuple[MemoryLine, ...] = ()


class ChangeLog(Protocol):
    """What watchers follow."""

    async def head(self, namespace: str) -> Head:
        """Where the log stands; Head(0, 0) before the first change."""

    async def memory_lines(self, namespace: str, since: Head) -> MemoryLines | None:
        """The next lines after ``since``, about MAX_CHANGE_BATCH. None when the log does not reach back to it or has
        another history; an epoch of 0 is not compared. What was put and is gone again has no line of its own."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the rows at hand are behind the truth. ``reason``: a fixed upper-case word when they are, else "";
    ``staleness_us``: then, how long ago they were last known not to be."""

    reason: str = ""
    staleness_us: int = 0


class Replica(Protocol):
    """Namespaces kept at hand of what is true elsewhere. On the event loop alone."""

    async def follow(self, namespace: str, min_seq: int, wait_s: float) -> Freshness:
        """How current the rows of the namespace are; at once where they are. Else waits, as long as it can help and at most
        ``wait_s``, for a first load, for ``min_seq``, and for what this daemon wrote. ReplicaStale when the rows are too
        old to be answered from, or there are none and the truth is out of reach."""


class Leases(Protocol):
    """Background work of a fleet: one holder a job and namespace at a time."""

    async def claim(self, namespace: str, job: str, holder: str, ttl_us: int) -> int | None:
        """The fencing token, larger than every one before; None while somebody else's lease lives. A holder that claims
        again prolongs its lease and keeps its token."""

    async def release(self, namespace: str, job: str, token: int) -> None:
        """Give the lease back; nothing happens when it is somebody else's by now."""


# -- search and embedding


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """See ``_core.RankingOptions``."""

    limit: int
    candidates: int = 50
    vector_weight: float = 0.5
    trim_ratio: float = 0.35
    min_relevance: float | None = None
    cues: Mapping[str, float] = field(default_factory=dict)
    """Weights by name; what is not named has its default."""
    nothing_below: float | None = None
    """``nothing_cosine``; None is its default."""
    now_us: int | None = None
    """The time of the question: "last week" counts from it."""
    decay: Decay = field(default=Decay())
    """Taken after the search, by the tier."""
    versions: Filter | None = None
    """Which other versions of what is found (superseded, or valid later) may lend it their evidence; None: none."""


@dataclass(frozen=True, slots=True)
class IndexHit:
    entry_id: str
    version: int
    score: float
    relevance: float
    bm25: float
    vector_part: float
    word_part: float
    matched_terms: int
    cues: Callable[[], Mapping[str, float]] = field(default=dict, compare=False, repr=False)
    """What each cue gave or took, by name; made when asked for."""


@dataclass(frozen=True, slots=True)
class IndexAnswer:
    """``degraded`` is a fixed upper-case word when the answer is not what a complete index would give, else ""."""

    hits: tuple[IndexHit, ...]
    nothing_relevant: bool
    seq: int
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class IndexState:
    entries: Mapping[str, int]
    """Entry id to version."""
    seq: int
    memory_bytes: int


class NamespaceIndex(Protocol):
    """The in-process index over all namespaces: a disposable cache of rows, fed by ``IndexSink``."""

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """Blocking; loads the namespace on first use."""

    def prepare(
        self, namespace: str, kind: str, query: str, where: Filter, options: SearchOptions
    ) -> Callable[[bytes | None], IndexAnswer]:
        """Blocking: ``search`` in two halves, for the time in which the embedding is made. The result is the other half,
        blocking too, and sees what was changed in between."""

    def state(self, namespace: str, kind: str) -> IndexState:
        """Blocking. For Verify and GetStats; loads the namespace."""

    def apply(self, changes: Sequence[IndexChange]) -> None:
        """The IndexSink."""

    def loaded(self) -> int:
        """How many namespaces are in memory."""


class SearchedAway(Protocol):
    """Namespaces whose memories another server searches: nobody else should wait for it, so no thread is held meanwhile."""

    def away(self, namespace: str) -> bool:
        """From any thread."""

    async def search_away(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """As ``NamespaceIndex.search`` of memories."""


@dataclass(frozen=True, slots=True)
class EmbedderStats:
    threads: int
    queue_depth: int
    cache_entries: int
    cache_hits: int
    cache_misses: int


class Embedder(Protocol):
    """Texts to unit vectors, on worker threads; queries go before memories; never touches the network.

    Raises ModelUnavailable where there is no model, LimitExceeded when the queue is full, InvalidArgument for a text of
    more than MAX_WINDOWS windows (of ``memories``: metadata "text" is its number). Embeddings are float32 little-endian
    bytes.
    """

    @property
    def model(self) -> EmbeddingModel | None:
        """None while there is no usable model."""

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        """Embed and run ``use`` on a worker thread. ``meanwhile`` runs before ``use``, on another worker thread while the
        model runs where one is free. ``behind``: nobody waits for it, it comes after queries as memories do."""

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        """One embedding a window of each text."""

    def stats(self) -> EmbedderStats: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A row that lacks an embedding of the other model: what of it is embedded. The store's own kind has what it needs."""

    text: str


class Reembedding(Protocol):
    """A store on its way to another embedding model: beside those it serves it keeps embeddings of that, each of its row as
    it is now, and lost with the row. All of it survives a restart. Methods that name the model do nothing, and say False,
    when that is not (any more) the one the store is on its way to."""

    async def target(self) -> EmbeddingModel | None:
        """The model the store is on its way to."""

    async def begin(self, model: EmbeddingModel) -> None:
        """Nothing of an earlier way may be left (``clear``). Again with the same model: nothing. WrongState while it is
        another."""

    async def give_up(self) -> bool:
        """Whether it was on its way. What was made for it goes by ``clear``."""

    async def counts(self) -> tuple[int, int]:
        """Texts that have their embedding, of all. Takes long in a large store."""

    async def lacking(self, most: int) -> Sequence[Unembedded]:
        """The next rows to be embedded. Fewer than ``most``: there are no others."""

    async def put(
        self,
        model: EmbeddingModel,
        read: Sequence[Unembedded],
        embedded: Sequence[Sequence[bytes]],
        index: IndexSink | None,
    ) -> bool:
        """Keep the embeddings, but of rows that have changed since they were read: those lack one still. ``index``, on the
        writer thread after the commit, gets what was put."""

    async def switch(
        self,
        model: EmbeddingModel,
        embed: Callable[[Sequence[str]], Sequence[Sequence[bytes]]],
        most: int,
        index: IndexSink,
        switched: Callable[[], None],
    ) -> bool:
        """One commit: the embeddings of ``model`` become the store's, and writes whose fence is older are refused from then
        on. No write comes between, so that up to ``most`` rows may still lack theirs: blocking, on the writer thread,
        ``embed`` makes them. False when it is more. After the commit, on that thread, before any later write: ``index`` as in
        ``put``, then ``switched``."""

    async def clear(self, most: int) -> int:
        """Delete up to about ``most`` rows of what no model needs any more; how many went. WrongState on the way."""


class ModelSwitch(Protocol):
    """What of a running daemon changes with the model: the embedder and the index, of which a second pair is made beside
    those that serve."""

    async def prepare(self, model: EmbeddingModel) -> None:
        """Load the other model. ModelUnavailable when it is not installed."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        """With the other model, behind queries, never on all threads at once. LimitExceeded as ``Embedder.memories``."""

    def embed_now(self, texts: Sequence[str]) -> Sequence[Sequence[bytes]]:
        """Blocking, on the calling thread; for few texts."""

    async def build(self) -> None:
        """Make the other index, of the namespaces that are in memory now; from here on it follows the commits."""

    def put(self, changes: Sequence[IndexChange]) -> None:
        """Embeddings for the other index alone. On the writer thread."""

    def swap(self) -> None:
        """The other pair serves from now on. On the writer thread."""

    async def settle(self) -> None:
        """After ``swap``: let go of the pair of before, once no query uses it."""

    async def abandon(self) -> None:
        """Let go of the other pair, if there is one that does not serve."""


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """Events oldest first, after ``earlier``, the summary of what came before them ("" for none)."""

    events: tuple[Event, ...]
    max_tokens: int
    earlier: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """``tokens`` by memd's counter. ``made_by`` names the summarizer; ``tokens_in`` and ``tokens_out`` are what a model
    charged for, 0 where none ran."""

    text: str
    tokens: int
    made_by: str
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True)
class SummarizerCounts:
    """Since the start. Tokens are those the model charged for; ``skipped``: not asked, because it had failed before."""

    made: int = 0
    failed: int = 0
    skipped: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Summarizer(Protocol):
    """Runs behind the reply, never in a write or a recall."""

    async def summarize(self, request: SummaryRequest) -> Summary:
        """At most ``max_tokens``. Unavailable when it cannot be made now; text that does not keep to the bound is never
        returned."""

    async def close(self) -> None: ...


# -- recall

TierState: TypeAlias = Literal["OK", "DEGRADED", "TIMED_OUT", "SKIPPED"]


@dataclass(frozen=True, slots=True)
class TierAsk:
    """One Recall as a tier sees it. ``scope`` is resolved against the credential.

    ``shared``: what two tiers of this Recall both need, kept by whoever gets it for them; it ends with the Recall.
    """

    scope: Scope
    query: str
    limit: int
    max_episodes: int
    now_us: int
    as_of_us: int
    filter: Filter | None
    options: SearchOptions
    policy: SessionPolicy
    use_cache: bool = True
    min_seq: int = 0
    patience_s: float = 0.0
    """How long a tier may wait for rows that are on their way."""
    shared: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContextSection:
    """A tier's part of the context block: Markdown items in order of preference."""

    heading: str
    items: tuple[str, ...]
    share: float
    reverse: bool = False


LIVE_SEQ = -1
"""``TierAnswer.seq`` of an answer that came from the rows themselves: no index that could be behind took part."""


@dataclass(frozen=True, slots=True)
class TierAnswer:
    """What one tier found. ``found`` is tier-specific: Events, (Memory, IndexHit) or (Procedure, relevance) pairs.

    ``seq``: the change number the index had at least, 0 for tiers without an index.
    """

    tier: TierName
    found: tuple[Any, ...] = ()
    sections: tuple[ContextSection, ...] = ()
    state: TierState = "OK"
    reason: str = ""
    latency_us: int = 0
    staleness_us: int = 0
    nothing_relevant: bool = False
    seq: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackedContext:
    """``taken``: how many items of each section found room, in the order the sections were given."""

    text: str
    tokens: int
    taken: tuple[int, ...]


class ContextPacker(Protocol):
    """Sections to one Markdown block. Blocking, pure, thread-safe."""

    def ready(self, section: ContextSection, *, count: bool) -> Any:
        """A section as ``pack`` takes it; with ``count`` its tokens are counted now, so that ``pack`` need not."""

    def pack(self, ready: Sequence[Any], budget_tokens: int) -> PackedContext:
        """Exactly counted, never over the budget; empty sections left out; an item goes in whole or not at all."""


class Tier(Protocol):
    """One tier's policy: what it contributes to a Recall."""

    @property
    def name(self) -> TierName: ...

    async def recall(self, ask: TierAsk) -> TierAnswer: ...
