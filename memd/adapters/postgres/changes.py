"""ChangeSource on Postgres: what replicas follow. See ``memd.ports`` for what each method promises.

A replica stands at a change number in an epoch. The numbers of a namespace are given out by its head row, in the order of
commits, so the log up to a number is complete as soon as the number is seen. A server that was put back, or a standby that
was promoted before it had everything, gives numbers out again: its first write draws a new epoch and notes at which number
that began. So a replica shares the server's history exactly when the server knows its epoch, and no other epoch began at
or before its number; otherwise it reloads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.hints import Hints
from memd.adapters.postgres.memory_rows import COLUMNS, decode
from memd.adapters.postgres.procedures import OFFERED, decode_procedure
from memd.adapters.postgres.settings import KIND as SETTINGS
from memd.adapters.postgres.settings import find_settings
from memd.adapters.postgres.transaction import Reader, Row
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.procedure import COLUMNS as PROCEDURE_COLUMNS
from memd.limits import MAX_CHANGE_BATCH
from memd.ports import ChangeBatch, Head, ReplicaMemory, ReplicaProcedure

KINDS = ("memory", "procedure")
_HEADS = "SELECT namespace, seq, epoch FROM memd.namespace_head WHERE namespace = ANY ($1::text[])"
_HEAD = "SELECT seq, epoch FROM memd.namespace_head WHERE namespace = $1"
_LINES = (
    "SELECT seq, kind, entry_id, op FROM memd.change_log WHERE namespace = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
)
_SAME_HISTORY = (
    "($2::bigint = 0 OR EXISTS (SELECT FROM memd.namespace_epoch own WHERE own.namespace = $1 AND own.epoch = $3"
    " AND NOT EXISTS (SELECT FROM memd.namespace_epoch later WHERE later.namespace = $1"
    " AND later.first_seq > own.first_seq AND later.first_seq <= $2)))"
)
"""Whether the log up to $2 is the one a replica followed that is there in epoch $3."""
_SINCE = (
    f"SELECT h.seq, h.epoch, {_SAME_HISTORY}, l.seq, l.kind, l.entry_id, l.op FROM memd.namespace_head h"
    " LEFT JOIN LATERAL (SELECT seq, kind, entry_id, op FROM memd.change_log WHERE namespace = $1 AND seq > $2"
    " ORDER BY seq LIMIT $4) l ON true WHERE h.namespace = $1 ORDER BY l.seq"
)
"""All in one statement, since every write anywhere makes every follower ask."""
_PROCEDURES = f"SELECT {PROCEDURE_COLUMNS}, vectors, pk FROM {OFFERED} WHERE p.namespace = $1"


@dataclass(slots=True)
class _Folded:
    """What some lines of the log come to."""

    cleared: set[str] = field(default_factory=set)
    touched: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    reached: int = 0


class PostgresChanges:
    def __init__(self, database: Database, codec: VectorCodec, dimensions: int | None) -> None:
        self._database = database
        self._codec = codec
        self._hints = Hints(database.connections)
        self._select = (
            f"SELECT {COLUMNS}, ARRAY(SELECT {codec.column('vector')} FROM memd.embedding WHERE memory_pk = memory.pk"
            " ORDER BY position) FROM memd.memory WHERE namespace = $1"
        )
        self.dimensions = dimensions
        """Of procedures' embeddings, which lie end to end; None while there is no model."""

    async def heads(self, namespaces: Sequence[str]) -> Mapping[str, Head]:
        found = await self._database.read_heads(_HEADS, list(namespaces))
        return {namespace: Head(seq, epoch) for namespace, seq, epoch in found}

    async def changes(self, namespace: str, since: Head) -> ChangeBatch | None:
        return await self._database.follow(namespace, lambda reader: self._changes(reader, namespace, since))

    async def _changes(self, reader: Reader, namespace: str, since: Head) -> ChangeBatch | None:
        found = await reader.rows(_SINCE, namespace, since.seq, since.epoch, MAX_CHANGE_BATCH)
        if not found:
            return None if since.seq else ChangeBatch(namespace, 0, Head(0, 0))
        head, same = Head(*found[0][:2]), found[0][2]
        if since.seq > head.seq or not same:
            return None
        lines = [line[3:] for line in found if line[3] is not None]
        folded = await _fold(reader, namespace, since.seq, head.seq, lines)
        if folded is None:
            return None
        memories = await self._memories(reader, namespace, folded.touched["memory"])
        procedures = await self._procedures(reader, namespace, folded.touched["procedure"])
        here = {("memory", one.memory.memory_id) for one in memories}
        here |= {("procedure", one.procedure.procedure_id) for one in procedures}
        touched = [(kind, entry_id) for kind in KINDS for entry_id in sorted(folded.touched[kind])]
        return ChangeBatch(
            namespace,
            since.seq,
            Head(folded.reached, head.epoch),
            cleared=tuple(kind for kind in KINDS if kind in folded.cleared),
            deleted=tuple(one for one in touched if one not in here),
            memories=memories,
            procedures=procedures,
            settings=await find_settings(reader, namespace) if folded.touched[SETTINGS] else None,
        )

    async def snapshot(self, namespace: str) -> AsyncIterator[ChangeBatch]:
        async with self._database.snapshot(namespace) as reader:
            reached = await find_head(reader, namespace)
            yield ChangeBatch(namespace, 0, reached, cleared=KINDS, settings=await find_settings(reader, namespace))
            last = 0
            while memories := await self._memories_after(reader, namespace, last):
                last = memories[-1][0]
                yield ChangeBatch(namespace, 0, reached, memories=tuple(one for _, one in memories))
            last = 0
            while procedures := await reader.rows(
                f"{_PROCEDURES} AND pk > $2 ORDER BY pk LIMIT $3", namespace, last, MAX_CHANGE_BATCH
            ):
                last = procedures[-1][-1]
                found = tuple(self._procedure(namespace, one) for one in procedures)
                yield ChangeBatch(namespace, 0, reached, procedures=found)

    async def hints(self) -> AsyncIterator[Sequence[str]]:
        return await self._hints.listen()

    async def announce(self, namespaces: Sequence[str]) -> None:
        self._hints.announce(namespaces)

    async def close(self) -> None:
        await self._hints.close()

    async def _memories(self, reader: Reader, namespace: str, ids: set[str]) -> tuple[ReplicaMemory, ...]:
        if not ids:
            return ()
        sql = f"{self._select} AND memory_id = ANY ($2::text[]) ORDER BY pk"
        return tuple(self._memory(namespace, one)[1] for one in await reader.rows(sql, namespace, list(ids)))

    async def _memories_after(self, reader: Reader, namespace: str, last: int) -> list[tuple[int, ReplicaMemory]]:
        sql = f"{self._select} AND pk > $2 ORDER BY pk LIMIT $3"
        return [self._memory(namespace, one) for one in await reader.rows(sql, namespace, last, MAX_CHANGE_BATCH)]

    def _memory(self, namespace: str, row: Row) -> tuple[int, ReplicaMemory]:
        *columns, windows = row
        stored = decode(namespace, columns)
        return stored.pk, ReplicaMemory(stored.memory, tuple(self._codec.decode(window) for window in windows))

    async def _procedures(self, reader: Reader, namespace: str, ids: set[str]) -> tuple[ReplicaProcedure, ...]:
        if not ids:
            return ()
        found = await reader.rows(
            f"{_PROCEDURES} AND procedure_id = ANY ($2::text[]) ORDER BY pk", namespace, list(ids)
        )
        return tuple(self._procedure(namespace, one) for one in found)

    def _procedure(self, namespace: str, row: Row) -> ReplicaProcedure:
        *columns, vectors, _ = row
        size = 4 * self.dimensions if self.dimensions else len(vectors) or 1
        embeddings = tuple(vectors[at : at + size] for at in range(0, len(vectors), size))
        return ReplicaProcedure(decode_procedure(namespace, columns), embeddings)


async def find_head(reader: Reader, namespace: str) -> Head:
    found = await reader.row(_HEAD, namespace)
    return Head(found[0], found[1]) if found else Head(0, 0)


async def same_history(reader: Reader, namespace: str, since: Head) -> bool:
    """Whether the log up to ``since`` is the one that was followed up to there."""
    found = await reader.row(f"SELECT {_SAME_HISTORY}", namespace, since.seq, since.epoch)
    return bool(found and found[0])


async def _fold(reader: Reader, namespace: str, since: int, head: int, lines: Sequence[Row]) -> _Folded | None:
    """The next lines, whole change numbers; None when the log no longer reaches back."""
    if len(lines) == MAX_CHANGE_BATCH:  # the last number may have more lines than were read
        last = lines[-1][0]
        whole = [line for line in lines if line[0] < last]
        lines = whole or await reader.rows(_LINES, namespace, since, last)
    reached = lines[-1][0] if lines else since
    if len({line[0] for line in lines}) != reached - since or (not lines and head > since):
        return None
    folded = _Folded(reached=reached)
    for _, kind, entry_id, op in lines:
        if op == "delete_all":
            folded.cleared.add(kind)
            folded.touched[kind].clear()
        elif op != "none":
            folded.touched[kind].add(entry_id)
    return folded
