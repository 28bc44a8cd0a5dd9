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
from memd.adapters.postgres.procedures import NEWEST, decode_procedure
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
_EPOCHS = "SELECT epoch, first_seq FROM memd.namespace_epoch WHERE namespace = $1 ORDER BY first_seq"
_LINES = (
    "SELECT seq, kind, entry_id, op FROM memd.change_log WHERE namespace = $1 AND seq > $2 AND seq <= $3"
    " ORDER BY seq LIMIT $4"
)
_PROCEDURES = f"SELECT {PROCEDURE_COLUMNS}, vectors, pk FROM {NEWEST} WHERE p.namespace = $1"


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
        self.dimensions = dimensions
        """Of procedures' embeddings, which lie end to end; None while there is no model."""

    async def heads(self, namespaces: Sequence[str]) -> Mapping[str, Head]:
        found = await self._database.read_heads(_HEADS, list(namespaces))
        return {namespace: Head(seq, epoch) for namespace, seq, epoch in found}

    async def changes(self, namespace: str, since: Head) -> ChangeBatch | None:
        return await self._database.read(namespace, lambda reader: self._changes(reader, namespace, since))

    async def _changes(self, reader: Reader, namespace: str, since: Head) -> ChangeBatch | None:
        head = await find_head(reader, namespace)
        if since.seq > head.seq or not await same_history(reader, namespace, since):
            return None
        folded = await _fold(reader, namespace, since.seq, head.seq)
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
        sql = f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND memory_id = ANY ($2::text[]) ORDER BY pk"
        found = await reader.rows(sql, namespace, list(ids))
        return tuple(one for _, one in await self._with_embeddings(reader, namespace, found))

    async def _memories_after(self, reader: Reader, namespace: str, last: int) -> list[tuple[int, ReplicaMemory]]:
        sql = f"SELECT {COLUMNS} FROM memd.memory WHERE namespace = $1 AND pk > $2 ORDER BY pk LIMIT $3"
        return await self._with_embeddings(reader, namespace, await reader.rows(sql, namespace, last, MAX_CHANGE_BATCH))

    async def _with_embeddings(
        self, reader: Reader, namespace: str, found: Sequence[Row]
    ) -> list[tuple[int, ReplicaMemory]]:
        stored = [decode(namespace, one) for one in found]
        sql = (
            f"SELECT memory_pk, {self._codec.column('vector')} FROM memd.embedding"
            " WHERE memory_pk = ANY ($1::bigint[]) ORDER BY memory_pk, position"
        )
        windows: dict[int, list[bytes]] = defaultdict(list)
        for pk, vector in await reader.rows(sql, [one.pk for one in stored]) if stored else ():
            windows[pk].append(self._codec.decode(vector))
        return [(one.pk, ReplicaMemory(one.memory, tuple(windows[one.pk]))) for one in stored]

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
    """Whether the log up to ``since`` is the one the replica followed."""
    if since.seq == 0:
        return True
    began: dict[int, int] = dict(await reader.rows(_EPOCHS, namespace))
    if since.epoch not in began:
        return False
    return not any(began[since.epoch] < first_seq <= since.seq for first_seq in began.values())


async def _fold(reader: Reader, namespace: str, since: int, head: int) -> _Folded | None:
    """The next lines, whole change numbers; None when the log no longer reaches back."""
    lines = await reader.rows(_LINES, namespace, since, head, MAX_CHANGE_BATCH)
    if len(lines) == MAX_CHANGE_BATCH:  # the last number may have more lines than were read
        last = lines[-1][0]
        whole = [line for line in lines if line[0] < last]
        lines = whole or await reader.rows(_LINES, namespace, since, last, None)
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
