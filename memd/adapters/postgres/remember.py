"""Remember and update: what each draft makes of what is there, in the order they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from memd.adapters.postgres import tombstones
from memd.adapters.postgres.memory_writes import Slot, lock, save, told
from memd.adapters.postgres.transaction import Transaction
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import check_version, made_of, owner, same, sees
from memd.domain.errors import AlreadyExists, InvalidArgument, NotFound, VersionConflict
from memd.domain.filters import Filter, matches
from memd.domain.model import Memory, NewMemory, RememberedMemory
from memd.domain.visibility import fields_of
from memd.ports import MemoryChange, ReplicaMemory


async def upsert_all(
    tx: Transaction, codec: VectorCodec, drafts: Sequence[NewMemory], *, fence: int, writer: str
) -> tuple[tuple[RememberedMemory, ...], tuple[ReplicaMemory, ...]]:
    """Every draft of a Remember, or none; and what ``told`` says of them."""
    wanted = [_wanted(draft, tx.namespace, writer) for draft in drafts]
    touched = [(one.scope, entry_id) for one in wanted for entry_id in (one.memory_id, one.supersedes) if entry_id]
    made = [(one.scope, entry_id) for one in wanted for entry_id in made_of(one)]
    await tombstones.check(tx, "memory", [*touched, *made], fence)
    slots = await lock(tx, (entry_id for _, entry_id in touched))
    done = tuple(_upsert(slots, memory, draft, tx.now_us) for memory, draft in zip(wanted, drafts, strict=True))
    named = [slots[entry_id] for entry_id in dict.fromkeys(entry_id for _, entry_id in touched)]
    await save(tx, codec, named)
    return done, told(codec, named)


def _wanted(draft: NewMemory, namespace: str, writer: str) -> Memory:
    return replace(draft.memory, scope=replace(draft.memory.scope, namespace=namespace), writer=writer)


def _upsert(slots: Mapping[str, Slot], wanted: Memory, draft: NewMemory, now_us: int) -> RememberedMemory:
    if wanted.supersedes == wanted.memory_id:
        raise InvalidArgument("a memory cannot supersede itself", field="supersedes")
    slot = slots[wanted.memory_id]
    stored = slot.memory
    if stored is not None and owner(stored.scope) != owner(wanted.scope):
        raise AlreadyExists("this memory_id is taken", metadata={"part": "memory_id"})
    if stored is not None and same(stored, wanted):
        return RememberedMemory(wanted.memory_id, stored.version, False, slot.windows)
    check_version(draft, stored)
    if wanted.supersedes:
        _close(slots[wanted.supersedes], wanted, now_us)
    if stored is None:
        slot.write(replace(wanted, version=1, create_time=now_us, update_time=now_us), draft.embeddings)
        return RememberedMemory(wanted.memory_id, 1, True, len(draft.embeddings))
    version = stored.version + 1
    slot.write(
        replace(wanted, version=version, create_time=stored.create_time, update_time=now_us, superseded_by=""),
        draft.embeddings,
    )
    return RememberedMemory(wanted.memory_id, version, False, len(draft.embeddings))


def _close(slot: Slot, by: Memory, now_us: int) -> None:
    """End the validity of what ``by`` supersedes where its own begins. NotFound when its scope does not see it."""
    old = slot.memory
    if old is None or not sees(by.scope, old.scope):
        raise NotFound("there is no such memory to supersede", metadata={"part": "supersedes"})
    if old.superseded_by == by.memory_id:
        return
    end = by.valid_from if by.valid_from is not None else now_us
    if old.valid_to is not None:
        end = min(end, old.valid_to)
    closed = replace(
        old, valid_to=end, superseded_by=by.memory_id, version=old.version + 1, update_time=now_us, writer=by.writer
    )
    slot.write(closed, None)


async def change_one(
    tx: Transaction,
    codec: VectorCodec,
    memory_id: str,
    visible: Filter,
    change: MemoryChange,
    *,
    expected_version: int,
    fence: int,
    writer: str,
) -> Memory:
    """The memory as an Update leaves it."""
    slot = (await lock(tx, (memory_id,)))[memory_id]
    stored = slot.memory
    if stored is None:
        await tombstones.check_missing(tx, "memory", memory_id, fence)
        raise NotFound("there is no such memory")
    await tombstones.check(tx, "memory", ((stored.scope, memory_id),), fence)
    if not matches(visible, fields_of(stored)):
        raise NotFound("there is no such memory")
    if expected_version not in (0, stored.version):
        raise VersionConflict("the memory has another version", current_version=stored.version)
    wanted = replace(stored, **change.values)
    if same(stored, wanted) and wanted.superseded_by == stored.superseded_by:
        return stored
    result = replace(wanted, version=stored.version + 1, update_time=tx.now_us, writer=writer)
    slot.write(result, change.embeddings)
    await save(tx, codec, (slot,))
    return result
