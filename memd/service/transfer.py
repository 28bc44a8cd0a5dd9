"""Export and import of a namespace. An import that was interrupted is simply run again: what is there already is skipped."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from memd.domain import portable
from memd.domain.errors import AlreadyExists, InvalidArgument, LimitExceeded, SchemaTooNew, WrongState
from memd.domain.model import NamespaceSettings, TierName
from memd.domain.portable import End, Exported, Header, PortableMemory, TakenIn
from memd.domain.portable_procedures import PortableProcedure
from memd.domain.retention import policy_of
from memd.domain.spoken import spoken
from memd.limits import EXPORT_CHUNK_BYTES, MAX_EXPORT_S
from memd.ports import Clock, Embedder, MemoryStore, ProcedureStore, Retention, SettingsStore, Transfers
from memd.service.admin import check_settings
from memd.service.importing import Batch, Importing
from memd.service.policy import PolicySource
from memd.service.retention import check_surplus

_UNIT_TOLERANCE = 1e-2
"""Of an embedding's length: float16 rounds each number to 11 bits."""


class TransferService:
    """``no_pgvector``: why no namespace can be searched by pgvector; "" where one can. ``max_s``: of one export."""

    def __init__(
        self,
        transfers: Transfers,
        memories: MemoryStore,
        procedures: ProcedureStore,
        counts: SettingsStore,
        embedder: Embedder,
        settings: PolicySource,
        clock: Clock,
        *,
        no_pgvector: str = "",
        retention: Retention | None = None,
        max_s: float = MAX_EXPORT_S,
    ) -> None:
        """``retention``: what the policy of a file is measured by."""
        self._transfers = transfers
        self._memories = memories
        self._procedures = procedures
        self._counts = counts
        self._embedder = embedder
        self._settings = settings
        self._clock = clock
        self._no_pgvector = no_pgvector
        self._retention = retention
        self._max_s = max_s

    async def export(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """The lines of ``domain.portable``, in chunks of EXPORT_CHUNK_BYTES; one snapshot. LimitExceeded for a reader that is
        not done within ``max_s``."""
        end_s = self._clock.monotonic_s() + self._max_s
        seen = End()
        rest = bytearray()
        async with aclosing(self._transfers.export(namespace)) as batches:
            async for batch in batches:
                if self._clock.monotonic_s() > end_s:
                    raise _took_too_long(self._max_s)
                lines, counts = await asyncio.to_thread(_rendered, batch)
                rest += lines
                seen += counts
                for chunk in _whole_chunks(rest):
                    yield chunk
        yield bytes(rest) + b"".join(portable.lines_of(seen))

    async def import_(self, namespace: str, chunks: AsyncIterator[bytes], *, into: str, writer: str) -> TakenIn:
        """What became of what an export holds. InvalidArgument with the line for a file that is not one, or was cut,
        WrongState for one of another namespace unless ``into`` names this one, AlreadyExists for conflicts, at the end.
        What came before an error stays, and the error says how much that is."""

        async def take_in(batch: Batch, header: Header) -> TakenIn:
            return await self._take_in(namespace, batch, header, writer)

        run = Importing(take_in, namespace, into)
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

    async def _take_in(self, namespace: str, batch: Batch, header: Header, writer: str) -> TakenIn:
        fence = await self._memories.fence(namespace)
        match batch:
            case NamespaceSettings():
                await self._check_retention(namespace, batch)
                return (await self._transfers.take_in_settings(namespace, self._usable(batch), writer=writer)).value
            case PortableProcedure():
                await self._admit(namespace, TierName.PROCEDURAL, [batch.procedure_id])
                ready = await self._embedded_versions(batch, header.model)
                written = await self._transfers.take_in_procedure(
                    namespace, ready, exported_us=header.time_us, fence=fence, writer=writer
                )
                return written.value
        await self._admit(namespace, TierName.SEMANTIC, [one.memory.memory_id for one in batch])
        memories = await self._embedded(batch, header.model)
        written = await self._transfers.take_in(
            namespace, memories, exported_us=header.time_us, fence=fence, writer=writer
        )
        return written.value

    async def _check_retention(self, namespace: str, settings: NamespaceSettings) -> None:
        """Of what is here: the policy of a file must not take it unasked."""
        policy, stored = policy_of(settings), await self._counts.settings(namespace)
        if self._retention is None or not policy.bounds or stored.version:  # settings that are here stay as they are
            return
        advice = "set the policy of the namespace yourself, and then import again"
        await check_surplus(self._retention, self._counts, namespace, policy, advice)

    def _usable(self, settings: NamespaceSettings) -> NamespaceSettings:
        """Without the search that cannot be had here."""
        check_settings(settings)
        return replace(settings, index=None) if settings.index == "pgvector" and self._no_pgvector else settings

    async def _embedded(self, memories: Sequence[PortableMemory], made_by: str) -> Sequence[PortableMemory]:
        """With embeddings of this daemon's model: their own where they were made by it."""
        if self._made_here(made_by):
            self._check(window for one in memories for window in one.embeddings)
            return memories
        texts = [spoken(one.memory.speaker, one.memory.content) for one in memories]
        windows = await self._embedder.memories(texts)
        return [replace(one, embeddings=made) for one, made in zip(memories, windows, strict=True)]

    async def _embedded_versions(self, one: PortableProcedure, made_by: str) -> PortableProcedure:
        """The same, for the triggers of a procedure."""
        if self._made_here(made_by):
            self._check(window for each in one.versions for window in each.embeddings)
            return one
        texts = [each.trigger or one.key for each in one.versions]
        different = list(dict.fromkeys(texts))
        known = dict(zip(different, await self._embedder.memories(different), strict=True))
        versions = (replace(each, embeddings=known[text]) for each, text in zip(one.versions, texts, strict=True))
        return replace(one, versions=tuple(versions))

    def _made_here(self, made_by: str) -> bool:
        model = self._embedder.model
        return model is not None and portable.model_name(model) == made_by

    def _check(self, embeddings: Iterable[bytes]) -> None:
        """One that is longer than the others would come first whatever is asked."""
        model = self._embedder.model
        for one in embeddings:
            numbers = array("f", one)
            if model is not None and len(numbers) != model.dimensions:
                raise InvalidArgument(f"an embedding must have {model.dimensions} dimensions")
            if not abs(math.hypot(*numbers) - 1.0) <= _UNIT_TOLERANCE:
                raise InvalidArgument("an embedding must have the length 1")

    async def _admit(self, namespace: str, tier: TierName, ids: Sequence[str]) -> None:
        """LimitExceeded where the tier has no room for those that are not here yet."""
        most = self._settings.tier(tier).max_items
        if not most:
            return
        await self._memories.ready(namespace)
        semantic = tier is TierName.SEMANTIC
        fetch: Callable[[str, Sequence[str]], Sequence[object]] = (
            self._memories.fetch if semantic else self._procedures.fetch
        )
        here = len(await asyncio.to_thread(fetch, namespace, ids))
        kind = "memories" if semantic else "procedures"
        if (await self._counts.counts(namespace))[kind] + len(ids) - here > most:
            raise LimitExceeded(f"the namespace would hold more than {most:,} {kind} (tiers.{tier.value}.max_items)")


def _so_far(taken: TakenIn) -> str:
    return f"imported {taken.imported:,}, skipped {taken.skipped:,}, forgotten {taken.forgotten:,}"


def _rendered(batch: Sequence[Exported]) -> tuple[bytes, End]:
    lines = b"".join(line for one in batch for line in portable.lines_of(one))
    return lines, sum(map(portable.counted, batch), End())


def _whole_chunks(rest: bytearray) -> Iterator[bytes]:
    """Taken from the front of ``rest``."""
    while len(rest) >= EXPORT_CHUNK_BYTES:
        yield bytes(rest[:EXPORT_CHUNK_BYTES])
        del rest[:EXPORT_CHUNK_BYTES]


def _took_too_long(max_s: float) -> LimitExceeded:
    return LimitExceeded(
        f"the export was ended: it was not read within {max_s:,.0f} s, and the store cannot give back space while it holds"
        " its snapshot; begin it anew with a faster reader"
    )
