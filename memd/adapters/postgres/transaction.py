"""One open transaction as a request sees it: statements, and what is collected for its last one.

The last statement (``seal``) takes the next change number of the namespace and writes everything that carries it: lines
of the change log, audit rows, tombstones, the dedupe record. The row of the number stays locked from there to the commit
and no longer, so numbers are without gaps and in the order of commits, and a request that failed before has taken none
(``docs/adr/0010-postgres-truth-and-local-replicas.md``).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from memd.adapters.postgres.connection import durability
from memd.adapters.rows.compact import encode
from memd.domain.errors import LimitExceeded, RequestIdReused, StoreBusy
from memd.domain.model import Durability, RequestKey, Scope
from memd.limits import INTERNAL_REQUEST_TTL_US, MAX_EPOCH, REQUEST_ID_TTL_US, REQUEST_RECORD_BYTES

if TYPE_CHECKING:
    from memd.adapters.postgres.connection import Connection

Row: TypeAlias = tuple[Any, ...]
INTERNAL = "\x01"
"""Begins the request_id memd gives a request that came without one: no caller can send it."""
_BEGIN = (
    "SELECT coalesce(h.seq, 0), coalesce(h.forget_seq, 0), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
    " r.body_sha256, r.seq, r.reply, r.expire_time FROM (SELECT) one"
    " LEFT JOIN memd.namespace_head h ON h.namespace = $1"
    " LEFT JOIN memd.request_record r ON r.namespace = $1 AND r.request_id = $2 AND r.store = $3"
)
_RECORD = (
    "INSERT INTO memd.request_record AS r (namespace, request_id, store, body_sha256, expire_time, reply, seq)"
    " {} ON CONFLICT (namespace, request_id, store) DO UPDATE SET body_sha256 = excluded.body_sha256,"
    " seq = excluded.seq, expire_time = excluded.expire_time, reply = excluded.reply WHERE r.expire_time <= {}"
    " RETURNING 1"
)
_SETTINGS = (
    "current_setting('fsync'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"
)
_MODEL = "(SELECT value FROM memd.meta WHERE key = 'embedding_model')"
_SEAL = (
    "WITH head AS (INSERT INTO memd.namespace_head AS h (namespace, seq, epoch, server, forget_seq)"
    " VALUES ($1, 1, $2, pg_postmaster_start_time(), CASE WHEN $3 THEN 1 ELSE 0 END)"
    " ON CONFLICT (namespace) DO UPDATE SET seq = h.seq + 1, server = excluded.server,"
    " epoch = CASE WHEN h.server = excluded.server THEN h.epoch ELSE excluded.epoch END,"
    " forget_seq = CASE WHEN $3 THEN h.seq + 1 ELSE h.forget_seq END RETURNING seq, epoch),"
    " epochs AS (INSERT INTO memd.namespace_epoch (namespace, epoch, first_seq) SELECT $1, epoch, seq FROM head"
    " ON CONFLICT (namespace, epoch) DO NOTHING),"
    " log AS (INSERT INTO memd.change_log (namespace, seq, kind, entry_id, op, version, create_time)"
    " SELECT $1, head.seq, line.kind, line.entry_id, line.op, line.version, $4"
    " FROM head, unnest($5::text[], $6::text[], $7::text[], $8::integer[]) line (kind, entry_id, op, version)),"
    " audits AS (INSERT INTO memd.audit (namespace, seq, create_time, writer, action, detail)"
    " SELECT $1, head.seq, $4, a.writer, a.action, a.detail"
    " FROM head, unnest($9::text[], $10::text[], $11::text[]) a (writer, action, detail)),"
    " stones AS (INSERT INTO memd.tombstone"
    " (namespace, seq, kind, entry_id, user_id, agent_id, session_id, all_users, create_time)"
    " SELECT $1, head.seq, t.kind, t.entry_id, t.user_id, t.agent_id, t.session_id, t.all_users, $4"
    " FROM head, unnest($12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::boolean[])"
    " t (kind, entry_id, user_id, agent_id, session_id, all_users)),"
    " record AS ("
    + _RECORD.format("SELECT $1, $18, $19, $20, $21, $22, head.seq FROM head WHERE $18 <> ''", "$4")
    + f") SELECT head.seq, (SELECT count(*) FROM record), {_SETTINGS}, {_MODEL}, head.epoch FROM head"
)
_REMEMBER_REPLY = (
    "WITH record AS ("
    + _RECORD.format("SELECT $1, $2, $3, $4, $5, $6, $7 WHERE $2 <> ''", "$8")
    + f") SELECT (SELECT count(*) FROM record), {_SETTINGS}, {_MODEL}, 0"
)


class Repeat(Exception):
    """Another transaction was first: run the whole request again."""


@dataclass(frozen=True, slots=True)
class Known:
    """The reply this request already got."""

    seq: int
    reply: Any


class Reader:
    """Statements of a transaction, as the role and in the namespace it was begun with. ``timeout_s`` of each; None is the
    connection's own."""

    def __init__(self, connection: Connection, now_us: int, timeout_s: float | None = None) -> None:
        self.connection = connection
        self.now_us = now_us
        self.timeout_s = timeout_s

    async def row(self, sql: str, *bindings: Any) -> Row | None:
        found = await self.connection.fetchrow(sql, *bindings, timeout=self.timeout_s)
        return None if found is None else tuple(found)

    async def rows(self, sql: str, *bindings: Any) -> list[Row]:
        return [tuple(one) for one in await self.connection.fetch(sql, *bindings, timeout=self.timeout_s)]

    async def execute(self, sql: str, *bindings: Any) -> int:
        """How many rows it changed."""
        status = await self.connection.execute(sql, *bindings, timeout=self.timeout_s)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, table_rows: Iterable[Sequence[Any]]) -> None:
        """Once a row, sent together."""
        given = list(table_rows)
        if len(given) == 1:  # one alone is cheaper so
            await self.execute(sql, *given[0])
        elif given:
            await self.connection.executemany(sql, given, timeout=self.timeout_s)


class Transaction(Reader):
    """A request's transaction. ``seq`` and ``forget_seq`` are those of the namespace when it began; ``known`` is the
    reply to an earlier call with this request_id, to be answered without doing anything."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        store: str = "",
        request: RequestKey | None = None,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(connection, 0, timeout_s)
        self.namespace = namespace
        self.seq = 0
        self.epoch = 0
        """In which the number was taken; known once sealed, 0 where none was."""
        self.forget_seq = 0
        self.known: Known | None = None
        self.durability = Durability.UNKNOWN
        """Of the commit to come; known once sealed, or with ``known``."""
        self.model = ""
        """What the embeddings that it stores are of, as memd.meta has it; "" where it stores none."""
        self._store = store
        self._request = request
        self._log: dict[tuple[str, str], tuple[str, int]] = {}
        self._audits: list[tuple[str, str, str]] = []
        self._stones: list[tuple[str, str, str, str, str, bool]] = []

    @property
    def replayed(self) -> bool:
        """Whether ``known`` was asked for by a caller, not by memd itself after a lost connection."""
        return self._request is not None and not self._request.request_id.startswith(INTERNAL)

    async def begin(self, now_us: int | None) -> None:
        """Read the clock, the head and the dedupe record in one statement. RequestIdReused for another body."""
        request_id = self._request.request_id if self._request else ""
        found = await self.row(_BEGIN, self.namespace, request_id, self._store)
        assert found is not None
        self.seq, self.forget_seq, server_us, body_sha256, seq, reply, expire_time = found
        self.now_us = server_us if now_us is None else now_us
        if self._request is None or expire_time is None or expire_time <= self.now_us:
            return
        if body_sha256 != self._request.body_sha256:
            raise RequestIdReused("this request_id was used for another request", field="request_id")
        self.known = Known(seq, json.loads(reply))
        await self._confirm()

    async def _confirm(self) -> None:
        """The commit that wrote the record may have been cut short before a standby had it. This one has to wait for the
        standby as well, and so for everything before it."""
        found = await self.row(
            f"UPDATE memd.request_record SET reply = reply WHERE namespace = $1 AND request_id = $2 AND store = $3"
            f" RETURNING {_SETTINGS}",
            self.namespace,
            self._request.request_id if self._request else "",
            self._store,
        )
        if found is None:
            raise Repeat
        self.durability = durability(*found)

    # -- what the last statement writes

    def put(self, kind: str, entry_id: str, version: int) -> None:
        """An entry changed."""
        self._log[kind, entry_id] = ("put", version)

    def delete(self, kind: str, entry_ids: Iterable[str]) -> None:
        """Entries are gone."""
        self._log.update(dict.fromkeys(((kind, entry_id) for entry_id in entry_ids), ("delete", 0)))

    def delete_all(self, kind: str) -> None:
        """Every entry of the namespace is gone; the log has one line without an id."""
        self._log[kind, ""] = ("delete_all", 0)

    def audit(self, writer: str, action: str, detail: str = "{}") -> None:
        self._audits.append((writer, action, detail))

    def bury(self, kind: str, scope: Scope, entry_ids: Sequence[str], *, all_users: bool) -> None:
        """A tombstone for each id; with no ids one for everything of the scope."""
        for entry_id in entry_ids or ("",):
            self._stones.append((kind, entry_id, scope.user_id, scope.agent_id, scope.session_id, all_users))

    @property
    def changed(self) -> bool:
        """Whether anything wants a change number."""
        return bool(self._log or self._audits or self._stones)

    async def seal(self, reply: Any) -> int:
        """The last statement: the change number (the namespace's own, where nothing changed). ``reply`` is kept for a
        repeat: ids, versions and numbers only. Raises Repeat when another transaction had the same request_id, StoreBusy when
        the database has got another embedding model than its embeddings are of: whoever changes that waits for rows that
        were written before, so that looking at the end is in time."""
        found = await (self._seal(reply) if self.changed else self._keep(reply))
        recorded = found[0] if self._request is None else found[1]
        if self._request is not None and not recorded:
            raise Repeat
        if self.model and found[5] != self.model:
            raise StoreBusy("the database has another embedding model now, to which this daemon changes over")
        self.durability = durability(*found[2:5])
        self.seq, self.epoch = found[0], found[6]
        return self.seq

    async def _seal(self, reply: Any) -> Sequence[Any]:
        log = self._log or {("", ""): ("none", 0)}
        lines = [(kind, entry_id, op, version) for (kind, entry_id), (op, version) in log.items()]
        found = await self.row(
            _SEAL,
            self.namespace,
            secrets.randbelow(MAX_EPOCH) + 1,
            bool(self._stones),
            self.now_us,
            *_columns(lines, 4),
            *_columns(self._audits, 3),
            *_columns(self._stones, 6),
            *self._record(reply),
        )
        assert found is not None
        return found

    async def _keep(self, reply: Any) -> Sequence[Any]:
        found = await self.row(_REMEMBER_REPLY, self.namespace, *self._record(reply), self.seq, self.now_us)
        assert found is not None
        return self.seq, *found

    def _record(self, reply: Any) -> tuple[str, str, bytes, int, str]:
        if self._request is None:
            return "", self._store, b"", 0, ""
        text = encode(reply)
        if len(text) > REQUEST_RECORD_BYTES:
            raise LimitExceeded("the request names too many ids to be repeatable; send it in parts")
        ttl_us = REQUEST_ID_TTL_US if self.replayed else INTERNAL_REQUEST_TTL_US
        return self._request.request_id, self._store, self._request.body_sha256, self.now_us + ttl_us, text


def _columns(table_rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*table_rows, strict=True)] or [[] for _ in range(width)]
