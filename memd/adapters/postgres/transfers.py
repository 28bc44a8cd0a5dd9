"""Transfers on Postgres: a namespace read in one snapshot by a cursor of the server, and taken in as writes like any other.

What is taken in gets lines in the change log, so it comes to every replica the way all changes do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple

from memd.adapters.postgres import transfer_procedures
from memd.adapters.postgres.changes import find_head
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.memory_rows import COLUMNS, decode, decode_version
from memd.adapters.postgres.memory_writes import REVISION, Slot, lock, save, texts
from memd.adapters.postgres.model_guard import FLOAT32_BYTES, ModelGuard, frozen_model
from memd.adapters.postgres.settings import KIND as SETTINGS
from memd.adapters.postgres.settings import find_settings, insert_settings
from memd.adapters.postgres.transaction import Reader, Row, Transaction
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.transfer import STONE, Forgotten
from memd.domain.model import Memory, NamespaceSettings, Written
from memd.domain.portable import Exported, Header, PortableMemory, TakenIn, model_name
from memd.domain.portable_procedures import PortableProcedure
from memd.limits import EXPORT_BATCH

STORE = "import"
# The index (namespace, create_time, memory_id) has this order, so nothing is sorted.
_MEMORIES = (
    f"SELECT {COLUMNS}, ARRAY(SELECT {{}} FROM memd.embedding WHERE memory_pk = memory.pk ORDER BY position)"
    " FROM memd.memory WHERE namespace = $1 AND (expire_time IS NULL OR expire_time > $2) ORDER BY create_time, memory_id"
)
_REVISIONS = (
    "SELECT memory_pk, version, fields, body, content FROM memd.memory_revision WHERE memory_pk = ANY ($1::bigint[])"
    " ORDER BY memory_pk, version"
)
_STONES = (
    f"SELECT {STONE} FROM memd.tombstone WHERE create_time >= $1 AND namespace = $2 AND kind = $3"
    " AND entry_id = ANY ($4::text[])"
)


_WHOLE_SCOPE = ""
"""The entry of a tombstone that is of everything of a scope."""


class PostgresTransfers:
    def __init__(self, database: Database, codec: VectorCodec, guard: ModelGuard) -> None:
        self._database = database
        self._codec = codec
        self._guard = guard
        self._memories = _MEMORIES.format(codec.column("vector"))

    async def export(self, namespace: str) -> AsyncGenerator[Sequence[Exported], None]:
        now_us = await self._after_forgets(namespace)
        with translated():
            async with self._database.snapshot(namespace) as reader:
                model = await frozen_model(reader.connection)
                head = await find_head(reader, namespace)
                yield [Header(namespace, model_name(model), head.seq, head.epoch, now_us)]
                settings = await find_settings(reader, namespace)
                if settings.version:
                    yield [settings]
                async for found in _batches(reader, self._memories, namespace, now_us):
                    yield await self._portable(reader, namespace, found)
                window = model.dimensions * FLOAT32_BYTES if model else 0
                async for found in _batches(reader, transfer_procedures.ALL, namespace):
                    yield [await transfer_procedures.portable(reader, namespace, one, window) for one in found]

    async def _after_forgets(self, namespace: str) -> int:
        """A time that every Forget which is not over yet will be later than: those have the gate to themselves, and look at
        the clock when they have it."""

        async def now_us(tx: Transaction) -> int:
            return tx.now_us

        return await self._database.write(namespace, now_us)

    async def _portable(self, reader: Reader, namespace: str, found: Sequence[Row]) -> Sequence[PortableMemory]:
        stored = [decode(namespace, one) for one in found]
        earlier = await _revisions(reader, namespace, {one.pk: one.memory.memory_id for one in stored})
        return [
            PortableMemory(one.memory, tuple(map(self._codec.decode, row[-1])), tuple(earlier.get(one.pk, ())))
            for one, row in zip(stored, found, strict=True)
        ]

    async def take_in(
        self, namespace: str, memories: Sequence[PortableMemory], *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        model = await self._guard.check([window for one in memories for window in one.embeddings])

        async def work(tx: Transaction) -> TakenIn:
            tx.model = model
            forgotten = await _forgotten(tx, "memory", [one.memory.memory_id for one in memories], exported_us)
            return await self._take_in(tx, memories, forgotten)

        return await self._written(namespace, writer, "memories", work)

    async def _take_in(self, tx: Transaction, memories: Sequence[PortableMemory], forgotten: Forgotten) -> TakenIn:
        slots = await lock(tx, (one.memory.memory_id for one in memories))
        kept = await _revisions(
            tx, tx.namespace, {slot.pk: slot.memory.memory_id for slot in slots.values() if slot.memory}
        )
        taken, new = TakenIn(), []
        for one in memories:
            slot = slots[one.memory.memory_id]
            taken += _compared(one, slot, kept.get(slot.pk, ()), forgotten, tx.now_us)
            if slot.changed and slot.memory is one.memory:
                new.append((slot, one.revisions))
        await save(tx, self._codec, (slot for slot, _ in new))
        earlier = [(tx.namespace, slot.pk, old.version, *texts(old)) for slot, revisions in new for old in revisions]
        await tx.execute_many(REVISION, earlier)
        return taken

    async def take_in_procedure(
        self, namespace: str, procedure: PortableProcedure, *, exported_us: int, fence: int, writer: str
    ) -> Written[TakenIn]:
        model = await self._guard.check([window for one in procedure.versions for window in one.embeddings])

        async def work(tx: Transaction) -> TakenIn:
            tx.model = model
            forgotten = await _forgotten(tx, "procedure", [procedure.procedure_id], exported_us)
            if forgotten.has(procedure.procedure_id, procedure.scope):
                return TakenIn(forgotten=1)
            return await transfer_procedures.take_in(tx, procedure)

        return await self._written(namespace, writer, "procedures", work)

    async def take_in_settings(self, namespace: str, settings: NamespaceSettings, *, writer: str) -> Written[TakenIn]:
        async def work(tx: Transaction) -> TakenIn:
            stored = await find_settings(tx, namespace)
            if stored.version:
                return TakenIn(skipped=1) if stored == settings else TakenIn(conflicts=1)
            await insert_settings(tx, settings)
            tx.put(SETTINGS, "", settings.version)
            return TakenIn(imported=1)

        return await self._written(namespace, writer, "settings", work)

    async def _written(
        self, namespace: str, writer: str, what: str, work: Callable[[Transaction], Awaitable[TakenIn]]
    ) -> Written[TakenIn]:
        async def operation(tx: Transaction) -> Written[TakenIn]:
            if tx.known is not None:
                return Written(TakenIn(*tx.known.reply), tx.known.seq, tx.durability)
            taken = await work(tx)
            if taken.imported:
                tx.audit(writer, "import", json.dumps({what: taken.imported}))
            seq = await tx.seal(astuple(taken))
            return Written(taken, seq, tx.durability)

        return await self._database.write(namespace, operation, store=STORE)


async def _batches(reader: Reader, sql: str, *bindings: object) -> AsyncIterator[Sequence[Row]]:
    """Few rows at a time, from a cursor of the server."""
    cursor = await reader.connection.cursor(sql, *bindings)
    while found := await cursor.fetch(EXPORT_BATCH):
        yield [tuple(one) for one in found]


async def _revisions(reader: Reader, namespace: str, memory_ids: Mapping[int, str]) -> dict[int, list[Memory]]:
    """Earlier states, oldest first, by the key of their memory. ``memory_ids`` by key."""
    earlier: dict[int, list[Memory]] = {}
    for pk, *state in await reader.rows(_REVISIONS, list(memory_ids)) if memory_ids else ():
        earlier.setdefault(pk, []).append(decode_version(namespace, memory_ids[pk], *state))
    return earlier


async def _forgotten(tx: Transaction, kind: str, ids: Sequence[str], since_us: int) -> Forgotten:
    return Forgotten.of(await tx.rows(_STONES, since_us, tx.namespace, kind, [*ids, _WHOLE_SCOPE]))


def _compared(one: PortableMemory, slot: Slot, kept: Sequence[Memory], forgotten: Forgotten, now_us: int) -> TakenIn:
    """What becomes of one memory; its slot is written where it is to be stored."""
    memory = one.memory
    if forgotten.has(memory.memory_id, memory.scope):
        return TakenIn(forgotten=1)
    if memory.expire_time is not None and memory.expire_time <= now_us:
        return TakenIn(skipped=1)
    if slot.memory is None:
        slot.write(memory, one.embeddings)
        return TakenIn(imported=1)
    return TakenIn(skipped=1) if slot.memory == memory and tuple(kept) == one.revisions else TakenIn(conflicts=1)
