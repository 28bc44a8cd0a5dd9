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
from typing import TypeAlias

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.hints import Hints
from memd.adapters.postgres.model_guard import readable
from memd.adapters.postgres.procedures import OFFERED, decode_procedure
from memd.adapters.postgres.rounds import Rounds
from memd.adapters.postgres.settings import KIND as SETTINGS
from memd.adapters.postgres.settings import find_settings
from memd.adapters.postgres.text import loaded_text
from memd.adapters.postgres.transaction import Reader, Row
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.procedure import COLUMNS as PROCEDURE_COLUMNS
from memd.domain.model import EmbeddingModel
from memd.limits import MAX_CHANGE_BATCH, MAX_CHANGE_ROUND
from memd.ports import ChangeBatch, Head, ReplicaMemory, ReplicaProcedure

KINDS = ("memory", "procedure")
_HEADS = "SELECT namespace, seq, epoch FROM memd.namespace_head WHERE namespace = ANY ($1::text[])"
_HEAD = "SELECT seq, epoch FROM memd.namespace_head WHERE namespace = $1"
_LINES = (
    "SELECT seq, kind, entry_id, op FROM memd.change_log WHERE namespace = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"
)
_SAME_HISTORY = (
    "({seq} = 0 OR EXISTS (SELECT FROM memd.namespace_epoch own WHERE own.namespace = {namespace}"
    " AND own.epoch = {epoch} AND NOT EXISTS (SELECT FROM memd.namespace_epoch later"
    " WHERE later.namespace = {namespace} AND later.first_seq > own.first_seq AND later.first_seq <= {seq})))"
)
"""Whether the log up to ``seq`` is the one a replica followed that is there in ``epoch``."""
_OWN_HISTORY = _SAME_HISTORY.format(namespace="$1", seq="$2::bigint", epoch="$3")
_SINCE = (
    "WITH asked AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])"
    " WITH ORDINALITY a (namespace, seq, epoch, at)),"
    " line AS MATERIALIZED (SELECT a.at, a.namespace, h.seq AS head, h.epoch,"
    f" {_SAME_HISTORY.format(namespace='a.namespace', seq='a.seq', epoch='a.epoch')} AS same,"
    " l.seq, l.kind, l.entry_id, l.op FROM asked a JOIN memd.namespace_head h ON h.namespace = a.namespace"
    " LEFT JOIN LATERAL (SELECT seq, kind, entry_id, op FROM memd.change_log WHERE namespace = a.namespace"
    " AND seq > a.seq ORDER BY seq LIMIT $4) l ON true),"
    " touched AS (SELECT DISTINCT at, namespace, entry_id FROM line WHERE kind = 'memory' AND op = 'put')"
    " SELECT at, head, epoch, same, seq, kind, entry_id, op, {nothing} FROM line"
    " UNION ALL SELECT at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, m.* FROM touched"
    # LIMIT: each by its name, whatever the planner thinks of how many there are
    " CROSS JOIN LATERAL (SELECT {columns} FROM memd.memory WHERE namespace = touched.namespace"
    " AND memory_id = touched.entry_id LIMIT 1) m ORDER BY 1, 5, 7, 9"
)
"""Lines of several namespaces, then the memories they are about, in one statement: every write anywhere makes every
follower ask."""
_ROW = "pk, memory_id, user_id, agent_id, version, create_time, expire_time, fields, body, content"
_NOTHING = (
    "NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::integer, NULL::bigint, NULL::bigint, NULL::text, NULL::text,"
    " NULL::text, NULL::bytea[]"
)
_LINE, _MEMORY = slice(4, 8), slice(8, None)
_PROCEDURES = "SELECT {columns}, {vectors}, pk FROM {offered} WHERE p.namespace = $1"


_Asked: TypeAlias = tuple[str, Head]


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
        self._rounds = Rounds(self._round, MAX_CHANGE_ROUND)
        self.dimensions = dimensions
        """Of procedures' embeddings, which lie end to end; None while there is no model."""
        self._read_with("true")

    def use(self, model: EmbeddingModel) -> None:
        """Embeddings of this model alone; rows come without once the database has another one."""
        self.dimensions = model.dimensions
        self._read_with(readable(model))

    def _read_with(self, readable: str) -> None:
        columns = (
            f"{_ROW}, ARRAY(SELECT {self._codec.column('vector')} FROM memd.embedding WHERE memory_pk = memory.pk"
            f" AND {readable} ORDER BY position)"
        )
        self._select = f"SELECT {columns} FROM memd.memory WHERE namespace = $1"
        self._since = _SINCE.format(columns=columns, nothing=_NOTHING)
        vectors = f"CASE WHEN {readable} THEN vectors ELSE '' END"
        self._select_procedures = _PROCEDURES.format(columns=PROCEDURE_COLUMNS, vectors=vectors, offered=OFFERED)

    async def heads(self, namespaces: Sequence[str]) -> Mapping[str, Head]:
        found = await self._database.glance(_HEADS, list(namespaces))
        return {namespace: Head(seq, epoch) for namespace, seq, epoch in found}

    async def changes(self, namespace: str, since: Head) -> ChangeBatch | None:
        return await self._rounds.ask((namespace, since))

    async def _round(self, asked: Sequence[_Asked]) -> Sequence[ChangeBatch | None]:
        """The more namespaces, the fewer lines of each: rows are held in memory."""
        limit = MAX_CHANGE_BATCH // len(asked)
        columns = ([name for name, _ in asked], [since.seq for _, since in asked], [since.epoch for _, since in asked])
        found: list[list[Row]] = [[] for _ in asked]
        for row in await self._database.glance(self._since, *columns, limit):
            found[row[0] - 1].append(tuple(row))
        return [await self._batch(one, rows, limit) for one, rows in zip(asked, found, strict=True)]

    async def _batch(self, asked: _Asked, found: Sequence[Row], limit: int) -> ChangeBatch | None:
        namespace, since = asked
        if not found:
            return None if since.seq else ChangeBatch(namespace, 0, Head(0, 0))
        head, same = Head(*found[0][1:3]), found[0][3]
        if since.seq > head.seq or not same:
            return None
        lines = [row[_LINE] for row in found if row[4] is not None]
        rows = [row[_MEMORY] for row in found if row[8] is not None]
        whole = _whole_numbers(lines, limit)
        if lines and not whole:  # one change number has more lines than were read
            whole, rows = await self._database.follow(
                namespace, lambda reader: self._one_number(reader, namespace, since.seq, lines[-1][0])
            )
        folded = _fold(since.seq, head.seq, whole)
        return None if folded is None else await self._told(namespace, since, head, folded, rows)

    async def _one_number(self, reader: Reader, namespace: str, since: int, seq: int) -> tuple[list[Row], list[Row]]:
        """All its lines, and the memories they are about."""
        lines = await reader.rows(_LINES, namespace, since, seq)
        ids = list({entry_id for _, kind, entry_id, _ in lines if kind == "memory"})
        sql = f"{self._select} AND memory_id = ANY ($2::text[]) ORDER BY pk"
        return lines, await reader.rows(sql, namespace, ids)

    async def _told(self, namespace: str, since: Head, head: Head, folded: _Folded, rows: Sequence[Row]) -> ChangeBatch:
        touched = folded.touched
        memories = tuple(self._memory(row) for row in rows if row[1] in touched["memory"])
        procedures: tuple[ReplicaProcedure, ...] = ()
        settings = None
        if touched["procedure"]:
            ids = list(touched["procedure"])
            procedures = await self._database.follow(namespace, lambda reader: self._procedures(reader, namespace, ids))
        if touched[SETTINGS]:
            settings = await self._database.follow(namespace, lambda reader: find_settings(reader, namespace))
        here = {("memory", one.memory_id) for one in memories}
        here |= {("procedure", one.procedure.procedure_id) for one in procedures}
        named = [(kind, entry_id) for kind in KINDS for entry_id in sorted(touched[kind])]
        return ChangeBatch(
            namespace,
            since.seq,
            Head(folded.reached, head.epoch),
            cleared=tuple(kind for kind in KINDS if kind in folded.cleared),
            deleted=tuple(one for one in named if one not in here),
            memories=memories,
            procedures=procedures,
            settings=settings,
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
                f"{self._select_procedures} AND pk > $2 ORDER BY pk LIMIT $3", namespace, last, MAX_CHANGE_BATCH
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
        await self._rounds.join()

    async def _memories_after(self, reader: Reader, namespace: str, last: int) -> list[tuple[int, ReplicaMemory]]:
        sql = f"{self._select} AND pk > $2 ORDER BY pk LIMIT $3"
        return [(one[0], self._memory(one)) for one in await reader.rows(sql, namespace, last, MAX_CHANGE_BATCH)]

    def _memory(self, row: Row) -> ReplicaMemory:
        """From ``_ROW`` and the embeddings; columns that memd wrote are passed on as they are."""
        _, memory_id, user_id, agent_id, version, create_time, expire_time, fields, body, content, windows = row
        embeddings = tuple(self._codec.decode(window) for window in windows)
        return ReplicaMemory(
            memory_id,
            user_id,
            agent_id,
            version,
            create_time,
            expire_time,
            fields,
            body,
            loaded_text(content),
            embeddings,
        )

    async def _procedures(self, reader: Reader, namespace: str, ids: Sequence[str]) -> tuple[ReplicaProcedure, ...]:
        found = await reader.rows(
            f"{self._select_procedures} AND procedure_id = ANY ($2::text[]) ORDER BY pk", namespace, ids
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
    found = await reader.row(f"SELECT {_OWN_HISTORY}", namespace, since.seq, since.epoch)
    return bool(found and found[0])


def _whole_numbers(lines: list[Row], limit: int) -> list[Row]:
    """Without the last change number where it may have more lines than ``limit`` let through."""
    return lines if len(lines) < limit else [line for line in lines if line[0] < lines[-1][0]]


def _fold(since: int, head: int, lines: Sequence[Row]) -> _Folded | None:
    """The next lines, whole change numbers; None when the log no longer reaches back."""
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
