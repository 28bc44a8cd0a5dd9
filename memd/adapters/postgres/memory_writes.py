"""What a request makes of the memories it touches: planned on their locked rows, then written a few statements for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from memd.adapters.postgres.memory_rows import COLUMNS, decode
from memd.adapters.postgres.text import stored_text
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import body_json, fields_json, replica_memory
from memd.domain.model import Memory
from memd.limits import MAX_REVISIONS
from memd.ports import ReplicaMemory

# In the order of their ids, so that no two transactions wait for each other.
_LOCK = (
    f"SELECT {COLUMNS}, (SELECT count(*) FROM memd.embedding WHERE memory_pk = pk) FROM memd.memory"
    " WHERE namespace = $1 AND memory_id = ANY ($2::text[]) ORDER BY memory_id FOR UPDATE"
)
# Keys in the order of the request, rows in the order of their ids: pages show the one, locks are taken in the other.
# Embeddings go along: each statement is a round trip of every write.
_INSERT = (
    "WITH keys AS MATERIALIZED (SELECT position, nextval('memd.memory_pk') AS pk"
    " FROM generate_series(1, cardinality($2::text[])) position)"
    ", made AS (INSERT INTO memd.memory (pk, namespace, memory_id, user_id, agent_id, version, create_time, expire_time,"
    " fields, body, content) SELECT keys.pk, $1, n.memory_id, n.user_id, n.agent_id, n.version, n.create_time, n.expire_time,"
    " n.fields, n.body, n.content FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],"
    " $7::bigint[], $8::text[], $9::text[], $10::text[]) WITH ORDINALITY n (memory_id, user_id, agent_id, version,"
    " create_time, expire_time, fields, body, content, position) JOIN keys USING (position) ORDER BY n.memory_id"
    " RETURNING memory_id, pk), embedded AS (INSERT INTO memd.embedding (namespace, memory_pk, position, vector)"
    " SELECT $1, made.pk, w.position, {vector} FROM unnest($11::text[], $12::integer[]) WITH ORDINALITY"
    " w (memory_id, position, number) JOIN made USING (memory_id))"
    " SELECT memory_id, pk FROM made"
)
_KEEP_OLD = (
    "INSERT INTO memd.memory_revision (namespace, memory_pk, version, fields, body, content)"
    " SELECT namespace, pk, version, fields, body, content FROM memd.memory WHERE pk = ANY ($1::bigint[])"
)
_UPDATE = (
    "UPDATE memd.memory m SET version = n.version, expire_time = n.expire_time, fields = n.fields, body = n.body,"
    " content = n.content FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[])"
    " n (pk, version, expire_time, fields, body, content) WHERE m.pk = n.pk"
)
REVISION = (
    "INSERT INTO memd.memory_revision (namespace, memory_pk, version, fields, body, content)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
)
_DROP_REVISIONS = (
    "DELETE FROM memd.memory_revision r USING unnest($1::bigint[], $2::integer[]) n (pk, oldest)"
    " WHERE r.memory_pk = n.pk AND r.version < n.oldest"
)


@dataclass(slots=True)
class Slot:
    """One memory id of a request. ``memory`` is what it holds as far as the request has come, None: nothing.

    ``pk``: of the row there was, 0 without. ``expired``: that row counts as gone and has to go before a new one comes.
    ``embeddings``: None keeps those there are. ``between``: states that were current within the request only.
    """

    pk: int = 0
    expired: bool = False
    memory: Memory | None = None
    windows: int = 0
    embeddings: Sequence[bytes] | None = None
    between: list[Memory] = field(default_factory=list)
    changed: bool = False

    @property
    def new(self) -> bool:
        return self.expired or not self.pk

    def write(self, memory: Memory, embeddings: Sequence[bytes] | None) -> None:
        if self.memory is not None and (self.changed or self.new):
            self.between.append(self.memory)
        self.memory = memory
        self.changed = True
        if embeddings is not None:
            self.embeddings = embeddings
            self.windows = len(embeddings)


async def lock(tx: Transaction, memory_ids: Iterable[str]) -> dict[str, Slot]:
    """A slot for every id, its row locked; one that has expired counts as gone."""
    wanted = sorted({memory_id for memory_id in memory_ids if memory_id})
    slots = {memory_id: Slot() for memory_id in wanted}
    for row in await tx.rows(_LOCK, tx.namespace, wanted):
        stored = decode(tx.namespace, row)
        expire_time = stored.memory.expire_time
        if expire_time is not None and expire_time <= tx.now_us:
            slots[stored.memory.memory_id] = Slot(stored.pk, expired=True)
        else:
            slots[stored.memory.memory_id] = Slot(stored.pk, memory=stored.memory, windows=row[7])
    return slots


async def save(tx: Transaction, codec: VectorCodec, slots: Iterable[Slot]) -> None:
    """Write what changed and log it. ``slots`` in the order of the request."""
    changed = [slot for slot in slots if slot.changed]
    new, old = [slot for slot in changed if slot.new], [slot for slot in changed if not slot.new]
    await _insert(tx, codec, new)
    await _update(tx, old)
    between = [(slot.pk, memory) for slot in changed for memory in slot.between]
    await tx.execute_many(REVISION, [(tx.namespace, pk, memory.version, *texts(memory)) for pk, memory in between])
    await _drop_revisions(tx, changed)
    await _embed(tx, codec, [slot for slot in old if slot.embeddings is not None])
    for slot in changed:
        memory = _memory(slot)
        tx.put("memory", memory.memory_id, memory.version)


def told(codec: VectorCodec, slots: Iterable[Slot]) -> tuple[ReplicaMemory, ...]:
    """What changed as a replica would be told of it; nothing where a row keeps embeddings that were not looked at."""
    changed = [(_memory(slot), slot.embeddings) for slot in slots if slot.changed]
    known = [(memory, embeddings) for memory, embeddings in changed if embeddings is not None]
    if len(known) < len(changed):
        return ()
    return tuple(replica_memory(memory, [codec.kept(one) for one in embeddings]) for memory, embeddings in known)


async def _insert(tx: Transaction, codec: VectorCodec, slots: Sequence[Slot]) -> None:
    if not slots:
        return
    gone = [slot.pk for slot in slots if slot.expired]
    if gone:
        await tx.execute("DELETE FROM memd.memory WHERE pk = ANY ($1::bigint[])", gone)
    table_rows = [
        (m.memory_id, m.scope.user_id, m.scope.agent_id, m.version, m.create_time, m.expire_time, *texts(m))
        for m in map(_memory, slots)
    ]
    columns = [list(column) for column in zip(*table_rows, strict=True)]
    windows = [(_memory(slot).memory_id, *one) for slot in slots for one in enumerate(slot.embeddings or ())]
    packed = codec.pack([embedding for _, _, embedding in windows])
    sql = _INSERT.format(vector=codec.packed("w.number::integer", 13))
    named = [memory_id for memory_id, _, _ in windows], [position for _, position, _ in windows]
    keys: dict[str, int] = dict(await tx.rows(sql, tx.namespace, *columns, *named, *packed))
    for slot in slots:
        slot.pk, slot.expired = keys[_memory(slot).memory_id], False
        slot.embeddings = slot.embeddings or ()


async def _update(tx: Transaction, slots: Sequence[Slot]) -> None:
    if not slots:
        return
    await tx.execute(_KEEP_OLD, [slot.pk for slot in slots])
    table_rows = [(slot.pk, m.version, m.expire_time, *texts(m)) for slot in slots for m in (_memory(slot),)]
    await tx.execute(_UPDATE, *(list(column) for column in zip(*table_rows, strict=True)))


async def _drop_revisions(tx: Transaction, slots: Sequence[Slot]) -> None:
    old = [(slot.pk, _memory(slot).version - MAX_REVISIONS) for slot in slots if _memory(slot).version > MAX_REVISIONS]
    if old:
        await tx.execute(_DROP_REVISIONS, [pk for pk, _ in old], [oldest for _, oldest in old])


async def _embed(tx: Transaction, codec: VectorCodec, slots: Sequence[Slot]) -> None:
    """Other embeddings in place of those that rows have."""
    if slots:
        await tx.execute("DELETE FROM memd.embedding WHERE memory_pk = ANY ($1::bigint[])", [slot.pk for slot in slots])
    await tx.execute_many(
        "INSERT INTO memd.embedding (namespace, memory_pk, position, vector)"
        f" VALUES ($1, $2, $3, {codec.parameter(4)})",
        [
            (tx.namespace, slot.pk, position, codec.encode(embedding))
            for slot in slots
            for position, embedding in enumerate(slot.embeddings or ())
        ],
    )


def _memory(slot: Slot) -> Memory:
    assert slot.memory is not None
    return slot.memory


def texts(memory: Memory) -> tuple[str, str, str]:
    """For the columns fields, body and content."""
    return fields_json(memory), body_json(memory), stored_text(memory.content)
