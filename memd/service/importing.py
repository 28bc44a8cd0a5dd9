"""One import: the lines of a file in their order, put together to what they are about, and handed on in batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from memd.domain.errors import InvalidArgument, WrongState
from memd.domain.model import Memory, NamespaceSettings
from memd.domain.portable import End, Header, Line, MemoryLine, PortableMemory, RevisionLine, TakenIn, counted
from memd.domain.portable_procedures import (
    OutcomeLine,
    PortableOutcome,
    PortableProcedure,
    PortableVersion,
    ProcedureLine,
    VersionLine,
    check_whole,
)
from memd.limits import IMPORT_BATCH

Batch = list[PortableMemory] | PortableProcedure | NamespaceSettings
TakeIn = Callable[[Batch, Header], Awaitable[TakenIn]]


class Importing:
    """``take_in`` stores what is whole. ``into``: the namespace of the call once more, for a file of another one."""

    def __init__(self, take_in: TakeIn, namespace: str, into: str) -> None:
        self._take_in = take_in
        self._namespace = namespace
        self._into = into
        self._header: Header | None = None
        self._open: _Memory | _Procedure | None = None
        self._batch: list[PortableMemory] = []
        self._seen = End()
        self.taken = TakenIn()
        self.ended = False

    async def take(self, line: Line) -> None:
        """InvalidArgument for a line that has no place here, WrongState for a file of another namespace."""
        if self.ended:
            raise InvalidArgument("there is something after the end line")
        if self._header is None:
            self._header = self._begun(line)
        elif self._open is not None:
            self._open.add(line)
        else:
            await self._next(line, self._header)
        await self._close(self._header)

    def _begun(self, line: Line) -> Header:
        if not isinstance(line, Header):
            raise InvalidArgument("an export begins with its header")
        if self._into and self._into != self._namespace:
            raise InvalidArgument("into must name the namespace of the call", field="into")
        if line.namespace != self._namespace and not self._into:
            raise WrongState("the file is of another namespace; name the one it is to go into with --into")
        return line

    async def _next(self, line: Line, header: Header) -> None:
        match line:
            case MemoryLine():
                self._open = _Memory(line)
            case ProcedureLine():
                self._open = _Procedure(line)
            case NamespaceSettings():
                self.taken += await self._take_in(line, header)
            case End():
                await self._flush(header)
                if line != self._seen:
                    raise InvalidArgument(f"the file lacks lines: it says {line.memories:,} memories")
                self.ended = True
            case Header():
                raise InvalidArgument("a second header")
            case RevisionLine():
                raise InvalidArgument("a revision without its memory")
            case VersionLine() | OutcomeLine():
                raise InvalidArgument("a version or an outcome without its procedure")

    async def _close(self, header: Header) -> None:
        """Hand on what is whole."""
        if self._open is None or not self._open.whole:
            return
        made = self._open.made()
        self._open = None
        self._seen += counted(made)
        if isinstance(made, PortableProcedure):
            self.taken += await self._take_in(made, header)
            return
        self._batch.append(made)
        if len(self._batch) == IMPORT_BATCH:
            await self._flush(header)

    async def _flush(self, header: Header) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self.taken += await self._take_in(batch, header)


class _Memory:
    """A memory whose earlier states may still be to come."""

    def __init__(self, line: MemoryLine) -> None:
        self._line = line
        self._revisions: list[Memory] = []

    @property
    def whole(self) -> bool:
        return len(self._revisions) == self._line.revisions

    def add(self, line: Line) -> None:
        if not isinstance(line, RevisionLine):
            raise InvalidArgument("the memory before it has fewer revisions than it says")
        memory = line.memory
        if memory.memory_id != self._line.memory.memory_id:
            raise InvalidArgument("a revision without its memory")
        newest = self._revisions[-1].version if self._revisions else 0
        if not newest < memory.version < self._line.memory.version:
            raise InvalidArgument("revisions must come oldest first, and before their memory's version")
        self._revisions.append(memory)

    def made(self) -> PortableMemory:
        return PortableMemory(self._line.memory, self._line.embeddings, tuple(self._revisions))


class _Procedure:
    """A procedure whose versions and outcomes are still to come."""

    def __init__(self, line: ProcedureLine) -> None:
        self._line = line
        self._versions: list[PortableVersion] = []
        self._outcomes: list[PortableOutcome] = []

    @property
    def whole(self) -> bool:
        return len(self._versions) == self._line.versions and len(self._outcomes) == self._line.outcomes

    def add(self, line: Line) -> None:
        if isinstance(line, VersionLine) and len(self._versions) < self._line.versions:
            self._versions.append(line.version)
        elif isinstance(line, OutcomeLine) and len(self._versions) == self._line.versions:
            self._outcomes.append(line.outcome)
        else:
            raise InvalidArgument("the procedure before it has fewer versions or outcomes than it says")

    def made(self) -> PortableProcedure:
        """InvalidArgument where its lines do not belong together."""
        made = replace(self._line.procedure, versions=tuple(self._versions), outcomes=tuple(self._outcomes))
        check_whole(made)
        return made
