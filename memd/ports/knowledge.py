"""Where memories, procedures and a namespace's settings are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from memd.domain.filters import Filter
from memd.domain.model import (
    ForgetReceipt,
    Memory,
    NamespaceSettings,
    NewMemory,
    OutcomeReport,
    Page,
    Procedure,
    RememberedMemory,
    RequestKey,
    Scope,
    SessionEvents,
    Written,
)
from memd.domain.retention import Outdated, RetentionPolicy, Surplus


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
