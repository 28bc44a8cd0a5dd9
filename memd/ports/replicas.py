"""The change log, those who follow it, and leases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from memd.domain.model import (
    Memory,
    NamespaceSettings,
    Procedure,
    Scope,
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a namespace's change log stands. Numbers count on through a restore or a failover that lost writes, and are
    then given out a second time: ``epoch`` tells the two histories apart. It changes with the first write after the
    server was started, which alone loses nothing: ``ChangeSource.changes`` knows whether a replica must reload."""

    seq: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """A row as every store keeps it (``adapters.rows.memory``), to be passed on unread. ``fields`` and ``body`` are JSON;
    ``embeddings``: float32 little-endian, one bytes a window."""

    memory_id: str
    user_id: str
    agent_id: str
    version: int
    create_time: int
    expire_time: int | None
    fields: str
    body: str
    content: str
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
