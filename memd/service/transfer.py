"""Export and import of a namespace. An import that was interrupted is simply run again: what is there already is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace

from memd.domain import portable
from memd.domain.errors import AlreadyExists, InvalidArgument, LimitExceeded, SchemaTooNew, WrongState
from memd.domain.model import Memory, NamespaceSettings, TierName
from memd.domain.portable import End, Header, Line, MemoryLine, PortableMemory, RevisionLine, TakenIn
from memd.domain.spoken import spoken
from memd.limits import EXPORT_CHUNK_BYTES, IMPORT_BATCH
from memd.ports import Embedder, MemoryStore, SettingsStore, Snapshot, Transfers
from memd.service.admin import check_settings
from memd.service.policy import PolicySource

_ON_SERVERS = "the rows are on Postgres: export and import are served on embedded storage only"


class TransferService:
    def __init__(
        self,
        transfers: Transfers | None,
        memories: MemoryStore,
        counts: SettingsStore,
        embedder: Embedder,
        settings: PolicySource,
    ) -> None:
        """``transfers`` None: the rows are on a server."""
        self._transfers = transfers
        self._memories = memories
        self._counts = counts
        self._embedder = embedder
        self._settings = settings

    async def export(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """The lines of ``domain.portable``, in chunks of some EXPORT_CHUNK_BYTES; one snapshot."""
        if self._transfers is None:
            raise WrongState(_ON_SERVERS)
        header, settings, memories = await self._transfers.export(namespace)
        chunks = _chunks(_lines(header, settings, memories))
        step: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
                chunk = await asyncio.shield(step)
                if chunk is None:
                    return
                yield chunk
        finally:
            if step is not None:
                await asyncio.wait([step])  # the thread may still be reading
            await asyncio.to_thread(memories.close)

    async def import_(self, namespace: str, chunks: AsyncIterator[bytes], *, into: str, writer: str) -> TakenIn:
        """What became of the memories of an export. InvalidArgument with the line for a file that is not one, or was cut,
        WrongState for one of another namespace unless ``into`` names this one, AlreadyExists for conflicts, at the end.
        What came before an error stays, and the error says how much that is."""
        if self._transfers is None:
            raise WrongState(_ON_SERVERS)
        run = _Import(self._transfers, self, namespace, into, writer)
        lines = portable.Lines()
        try:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    await run.take(portable.parse(line, namespace))
        except (InvalidArgument, SchemaTooNew, WrongState) as exc:
            raise type(exc)(f"line {lines.number:,}: {exc.message}; {_so_far(run.taken)}") from exc
        finally:
            self._settings.invalidate(namespace)
        if lines.cut or not run.ended:
            raise InvalidArgument(f"the file was cut: it ends after line {lines.number:,}; {_so_far(run.taken)}")
        if run.taken.conflicts:
            raise AlreadyExists(
                f"{run.taken.conflicts:,} differ from what is here under the same id and were left alone;"
                f" {_so_far(run.taken)}"
            )
        return run.taken

    async def embedded(self, memories: Sequence[PortableMemory], made_by: str) -> list[PortableMemory]:
        """With embeddings of this daemon's model: their own where they were made by it."""
        model = self._embedder.model
        if model is not None and portable.model_name(model) == made_by:
            return list(memories)
        texts = [spoken(one.memory.speaker, one.memory.content) for one in memories]
        windows = await self._embedder.memories(texts)
        return [replace(one, embeddings=made) for one, made in zip(memories, windows, strict=True)]

    async def admit(self, namespace: str, memories: Sequence[Memory]) -> None:
        """LimitExceeded where the tier has no room for those that are not here yet."""
        most = self._settings.tier(TierName.SEMANTIC).max_items
        if not most:
            return
        asked = [memory.memory_id for memory in memories]
        stored = await asyncio.to_thread(self._memories.fetch, namespace, asked)
        if (await self._counts.counts(namespace))["memories"] + len(memories) - len(stored) > most:
            raise LimitExceeded(f"the namespace would hold more than {most:,} memories (tiers.semantic.max_items)")


class _Import:
    """One import: its lines in order, whole memories gathered into batches."""

    def __init__(self, transfers: Transfers, service: TransferService, namespace: str, into: str, writer: str) -> None:
        self._transfers = transfers
        self._service = service
        self._namespace = namespace
        self._into = into
        self._writer = writer
        self._header: Header | None = None
        self._open: MemoryLine | None = None
        self._revisions: list[Memory] = []
        self._batch: list[PortableMemory] = []
        self._seen = End(0, 0)
        self.taken = TakenIn()
        self.ended = False

    async def take(self, line: Line) -> None:
        if self.ended:
            raise InvalidArgument("there is something after the end line")
        if self._header is None:
            self._begin(line)
            return
        if self._open is not None and not isinstance(line, RevisionLine):
            raise InvalidArgument("the memory before it has fewer revisions than it says")
        match line:
            case MemoryLine():
                self._open = line
                self._seen = End(self._seen.memories + 1, self._seen.revisions)
                await self._whole()
            case RevisionLine(memory):
                self._revision(memory)
                await self._whole()
            case NamespaceSettings():
                check_settings(line)
                self.taken += await self._transfers.take_in_settings(self._namespace, line, writer=self._writer)
            case End():
                await self._flush()
                if line != self._seen:
                    raise InvalidArgument(f"the file lacks lines: it says {line.memories:,} memories")
                self.ended = True
            case Header():
                raise InvalidArgument("a second header")

    def _begin(self, line: Line) -> None:
        if not isinstance(line, Header):
            raise InvalidArgument("an export begins with its header")
        if self._into and self._into != self._namespace:
            raise InvalidArgument("into must name the namespace of the call", field="into")
        if line.namespace != self._namespace and not self._into:
            raise WrongState("the file is of another namespace; name the one it is to go into with --into")
        self._header = line

    def _revision(self, memory: Memory) -> None:
        if self._open is None or memory.memory_id != self._open.memory.memory_id:
            raise InvalidArgument("a revision without its memory")
        newest = self._revisions[-1].version if self._revisions else 0
        if not newest < memory.version < self._open.memory.version:
            raise InvalidArgument("revisions must come oldest first, and before their memory's version")
        self._revisions.append(memory)
        self._seen = End(self._seen.memories, self._seen.revisions + 1)

    async def _whole(self) -> None:
        """Put the open memory into the batch once all its revisions are there."""
        if self._open is None or len(self._revisions) < self._open.revisions:
            return
        self._batch.append(PortableMemory(self._open.memory, self._open.embeddings, tuple(self._revisions)))
        self._open, self._revisions = None, []
        if len(self._batch) == IMPORT_BATCH:
            await self._flush()

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch or self._header is None:
            return
        await self._service.admit(self._namespace, [one.memory for one in batch])
        ready = await self._service.embedded(batch, self._header.model)
        self.taken += await self._transfers.take_in(
            self._namespace, ready, exported_us=self._header.time_us, writer=self._writer
        )


def _so_far(taken: TakenIn) -> str:
    return f"imported {taken.imported:,}, skipped {taken.skipped:,}, forgotten {taken.forgotten:,}"


def _lines(header: Header, settings: NamespaceSettings, memories: Snapshot) -> Iterator[bytes]:
    yield portable.header_line(header)
    if settings.version:
        yield portable.settings_line(settings)
    count = revisions = 0
    for one in memories:
        yield from portable.memory_lines(one)
        count += 1
        revisions += len(one.revisions)
    yield portable.end_line(End(count, revisions))


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for line in lines:
        chunk += line
        if len(chunk) >= EXPORT_CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
