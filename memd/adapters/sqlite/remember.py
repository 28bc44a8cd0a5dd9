"""Remember and update: rows, revisions, embeddings, change log and index in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memd.adapters.rows.memory import body_json, check_version, fields_json, index_row, made_of, owner, same, sees
from memd.adapters.sqlite.memory_rows import COLUMNS, StoredMemory, decode
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import AlreadyExists, InvalidArgument, NotFound
from memd.domain.model import Memory, NewMemory, RememberedMemory
from memd.limits import MAX_REVISIONS


def find(tx: Transaction, namespace: str, memory_id: str) -> StoredMemory | None:
    """The live row; one that has expired counts as gone."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM memory WHERE namespace = ? AND memory_id = ? AND coalesce(expire_time, ?) > ?",
        (namespace, memory_id, tx.now_us + 1, tx.now_us),
    )
    return decode(namespace, row) if row else None


def upsert(
    tx: Transaction, tombstones: Tombstones, namespace: str, draft: NewMemory, *, fence: int, writer: str
) -> RememberedMemory:
    """One draft of a Remember."""
    wanted = replace(draft.memory, scope=replace(draft.memory.scope, namespace=namespace), writer=writer)
    tombstones.check(tx, "memory", wanted.scope, (wanted.memory_id, wanted.supersedes, *made_of(wanted)), fence)
    if wanted.supersedes == wanted.memory_id:
        raise InvalidArgument("a memory cannot supersede itself", field="supersedes")
    stored = find(tx, namespace, wanted.memory_id)
    if stored is not None and owner(stored.memory.scope) != owner(wanted.scope):
        raise AlreadyExists("this memory_id is taken", metadata={"part": "memory_id"})
    if stored is not None and same(stored.memory, wanted):
        windows = tx.row("SELECT windows FROM embedding WHERE memory_pk = ?", (stored.pk,))
        return RememberedMemory(wanted.memory_id, stored.memory.version, False, windows[0] if windows else 0)
    check_version(draft, stored.memory if stored else None)
    if wanted.supersedes:
        _close(tx, wanted, writer)
    if stored is None:
        insert(tx, replace(wanted, version=1, create_time=tx.now_us, update_time=tx.now_us), draft.embeddings)
        return RememberedMemory(wanted.memory_id, 1, True, len(draft.embeddings))
    version = stored.memory.version + 1
    changed = replace(
        wanted, version=version, create_time=stored.memory.create_time, update_time=tx.now_us, superseded_by=""
    )
    write(tx, stored, changed, draft.embeddings)
    return RememberedMemory(wanted.memory_id, version, False, len(draft.embeddings))


def write(tx: Transaction, old: StoredMemory, new: Memory, embeddings: Sequence[bytes] | None) -> None:
    """Replace a row; the old state becomes a revision. ``embeddings`` None keeps them."""
    tx.execute(
        "INSERT INTO memory_revision (memory_pk, version, fields, body, content)"
        " SELECT pk, version, fields, body, content FROM memory WHERE pk = ?",
        (old.pk,),
    )
    dropped = tx.execute(
        "DELETE FROM memory_revision WHERE memory_pk = ? AND version < ?", (old.pk, new.version - MAX_REVISIONS)
    )
    tx.erases_later = tx.erases_later or dropped > 0 or embeddings is not None
    tx.execute(
        "UPDATE memory SET version = ?, expire_time = ?, fields = ?, body = ?, content = ? WHERE pk = ?",
        (new.version, new.expire_time, fields_json(new), body_json(new), new.content, old.pk),
    )
    vectors = stored_vectors(tx, old.pk) if embeddings is None else _write_vectors(tx, old.pk, embeddings)
    tx.put(new.scope.namespace, "memory", index_row(new, vectors))


def stored_vectors(tx: Transaction, memory_pk: int) -> bytes:
    found = tx.row("SELECT vectors FROM embedding WHERE memory_pk = ?", (memory_pk,))
    return bytes(found[0]) if found else b""


def insert(tx: Transaction, new: Memory, embeddings: Sequence[bytes]) -> int:
    """A row for a memory that is not there; its key."""
    scope = new.scope
    tx.execute("DELETE FROM memory WHERE namespace = ? AND memory_id = ?", (scope.namespace, new.memory_id))  # expired
    tx.execute(
        "INSERT INTO memory (namespace, memory_id, user_id, agent_id, version, create_time, expire_time, fields, body,"
        " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            scope.namespace,
            new.memory_id,
            scope.user_id,
            scope.agent_id,
            new.version,
            new.create_time,
            new.expire_time,
            fields_json(new),
            body_json(new),
            new.content,
        ),
    )
    memory_pk = tx.connection.last_insert_rowid()
    vectors = _write_vectors(tx, memory_pk, embeddings)
    tx.put(scope.namespace, "memory", index_row(new, vectors))
    return memory_pk


def _write_vectors(tx: Transaction, memory_pk: int, embeddings: Sequence[bytes]) -> bytes:
    vectors = b"".join(embeddings)
    tx.execute(
        "INSERT OR REPLACE INTO embedding (memory_pk, windows, vectors) VALUES (?, ?, ?)",
        (memory_pk, len(embeddings), vectors),
    )
    return vectors


def _close(tx: Transaction, by: Memory, writer: str) -> None:
    """End the validity of what ``by`` supersedes where its own begins. NotFound when its scope does not see it."""
    old = find(tx, by.scope.namespace, by.supersedes)
    if old is None or not sees(by.scope, old.memory.scope):
        raise NotFound("there is no such memory to supersede", metadata={"part": "supersedes"})
    if old.memory.superseded_by == by.memory_id:
        return
    end = by.valid_from if by.valid_from is not None else tx.now_us
    if old.memory.valid_to is not None:
        end = min(end, old.memory.valid_to)
    closed = replace(
        old.memory,
        valid_to=end,
        superseded_by=by.memory_id,
        version=old.memory.version + 1,
        update_time=tx.now_us,
        writer=writer,
    )
    write(tx, old, closed, None)
