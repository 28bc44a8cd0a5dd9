"""Backups of the embedded store: made while writes go on, checked and restored while no daemon runs.

A backup is a directory with a compacted copy of the database (``VACUUM INTO``: one snapshot, and no page that was freed, so
nothing that was deleted before) and a manifest with its digest. It is written under another name, synced, and renamed, so a
backup that has its name is whole. What is restored must not bring back what was forgotten after the backup was made: the
tombstones and receipts of the database that is being replaced are applied to the copy first.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw

from memd.adapters.rows.forget import decode_plan
from memd.adapters.sqlite.connection import Readers, check_library, connect, row, rows, transaction
from memd.adapters.sqlite.datadir import DATABASE, DIRECTORY_MODE, FILE_MODE, DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.schema import MIGRATIONS, migrate
from memd.adapters.sqlite.session_forget import take_events
from memd.adapters.sqlite.verify import file_problems
from memd.domain.errors import (
    AlreadyExists,
    ConfigError,
    Corruption,
    InvalidArgument,
    SchemaTooNew,
    StoreBusy,
    StoreFull,
)
from memd.domain.model import BackupMade
from memd.limits import MAX_BACKUP_NAME_BYTES, MAX_EPOCH, MAX_MANIFEST_BYTES
from memd.ports import Clock

DIRECTORY = "backups"
MANIFEST = "manifest.json"
FORMAT = 1
_PARTIAL = ".partial-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHUNK = 1 << 20
_RESTORING = f"{DATABASE}.restoring"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CACHES = ("index",)
"""Directories of what was made from the old rows."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """``newest_mark``: of the tombstones in the copy; later ones are to be applied when it is restored."""

    format: int
    schema: int
    bytes: int
    sha256: str
    backup_time_us: int
    newest_mark: int


@dataclass(frozen=True, slots=True)
class Restored:
    """``forgotten``: how many memories, sessions and procedures of the backup had been forgotten since."""

    backup_time_us: int
    bytes: int
    forgotten: int


class SqliteBackups:
    """Backups below ``data_dir/backups``."""

    def __init__(self, data_dir: Path, readers: Readers, clock: Clock) -> None:
        self._directory = data_dir / DIRECTORY
        self._readers = readers
        self._clock = clock
        self._one = asyncio.Lock()

    async def backup(self, name: str) -> BackupMade:
        """One at a time; writes go on."""
        checked = backup_name(name)
        async with self._one:
            return await asyncio.to_thread(self._backup, checked)

    def _backup(self, name: str) -> BackupMade:
        target = self._directory / name
        if target.exists():
            raise AlreadyExists(f"there is a backup named {name}")
        with _disk_errors():
            self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            for left in self._directory.glob(f"{_PARTIAL}*"):  # of a daemon that fell
                shutil.rmtree(left)
            partial = self._directory / f"{_PARTIAL}{secrets.token_hex(8)}"
            partial.mkdir(mode=DIRECTORY_MODE)
            try:
                manifest = self._copy(partial)
                os.rename(partial, target)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            _sync(self._directory)
        return BackupMade(name, manifest.bytes, manifest.backup_time_us)

    def _copy(self, partial: Path) -> Manifest:
        copy = partial / DATABASE
        connection = self._readers.fresh()
        try:
            now_us = self._clock.now_us()
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
            with translated():
                connection.execute("PRAGMA query_only = OFF").fetchall()  # it writes the copy, and nothing else
                connection.execute("VACUUM INTO ?", (str(copy),)).fetchall()
                newest_mark = _newest_mark(copy)
        finally:
            connection.close(True)
        manifest = Manifest(FORMAT, len(MIGRATIONS), copy.stat().st_size, _digest(copy), now_us, newest_mark)
        _write(partial / MANIFEST, json.dumps(asdict(manifest)).encode())
        for path in (copy, partial):
            _sync(path)
        return manifest


def backup_name(name: str) -> str:
    """A name that is one part of a path and nothing else; InvalidArgument otherwise."""
    if not _NAME.fullmatch(name) or len(name) > MAX_BACKUP_NAME_BYTES:
        raise InvalidArgument(
            f"a backup's name has letters, digits, dots, dashes and underscores, at most {MAX_BACKUP_NAME_BYTES}",
            field="name",
        )
    return name


def restore(data_dir: Path, backup: Path, *, replace: bool, progress: Progress) -> Restored:
    """Make the backup the database of ``data_dir``; takes its lock, so no daemon may run there.

    ConfigError for a directory that is no backup, or a database in the way without ``replace``; Corruption for a backup that
    is not what it was, or a database in the way that cannot tell what was forgotten. Until the last rename nothing has
    changed, and a call that was interrupted may be made again.
    """
    check_library()
    manifest = _manifest(backup)
    progress(f"checking {backup}")
    if _digest(backup / DATABASE) != manifest.sha256:
        raise Corruption(f"the backup {backup} is damaged: its digest is another")
    held = (data_dir / DATABASE).exists()
    if held and not replace:
        raise ConfigError(f"{data_dir} holds a database already; --replace puts the backup in its place")
    directory = DataDir(data_dir)
    try:
        with _disk_errors(), translated():
            return _restore(directory, backup, manifest, held, progress)
    finally:
        directory.close()


def _restore(directory: DataDir, backup: Path, manifest: Manifest, held: bool, progress: Progress) -> Restored:
    copy = directory.path / _RESTORING
    for path in (copy, *_side_files(copy)):
        path.unlink(missing_ok=True)
    progress(f"copying {manifest.bytes:,} bytes")
    shutil.copyfile(backup / DATABASE, copy)
    copy.chmod(FILE_MODE)
    forgets = _forgotten_since(directory, manifest) if held else _Forgets((), ())
    forgotten = _prepare(copy, forgets, progress)
    for path in _side_files(copy):
        path.unlink(missing_ok=True)
    _sync(copy)
    for cache in _CACHES:
        shutil.rmtree(directory.path / cache, ignore_errors=True)
    os.replace(copy, directory.database)
    _sync(directory.path)
    return Restored(manifest.backup_time_us, manifest.bytes, forgotten)


# -- what was forgotten after the backup


@dataclass(frozen=True, slots=True)
class _Forgets:
    """Rows of ``tombstone`` (without their mark) and of ``forget_intent``."""

    tombstones: Sequence[tuple[object, ...]]
    intents: Sequence[tuple[object, ...]]


_STONE = "namespace, seq, kind, entry_id, user_id, agent_id, session_id, all_users, create_time"
_INTENT = "receipt_id, namespace, create_time, done, plan, counts"
_OF_SCOPE = (
    "namespace = :namespace AND (:all_users OR (user_id = :user_id AND (:agent_id = '' OR agent_id = :agent_id){}))"
)
_MEMORY_SESSION = " AND (:session_id = '' OR coalesce(fields ->> 'session_id', '') = :session_id)"
_SESSION_SESSION = " AND (:session_id = '' OR session_id = :session_id)"
_OF_TASKS = "namespace = :namespace AND (:all_users OR task_id IN (SELECT value FROM json_each(:task_ids)))"
_FORGET_ONE = {
    "memory": "DELETE FROM memory WHERE namespace = :namespace AND memory_id = :entry_id"
    " AND (:all_users OR user_id = :user_id)",
    "procedure": "DELETE FROM procedure WHERE namespace = :namespace AND procedure_id = :entry_id"
    " AND (:all_users OR user_id = :user_id)",
}
_FORGET_ALL = {
    "memory": f"DELETE FROM memory WHERE {_OF_SCOPE.format(_MEMORY_SESSION)}",
    "procedure": f"DELETE FROM procedure WHERE {_OF_SCOPE.format('')}",
}
_FORGET_SESSIONS = f"DELETE FROM session WHERE {_OF_SCOPE.format(_SESSION_SESSION)}"
_FORGET_TASKS = tuple(
    f"DELETE FROM {table} WHERE namespace = :namespace"
    " AND (:all_users OR task_id IN (SELECT value FROM json_each(:task_ids)))"
    for table in ("task", "step_task")
)


def _forgotten_since(directory: DataDir, manifest: Manifest) -> _Forgets:
    """From the database that is to be replaced; and its log emptied into it, so that nothing of it is left behind."""
    connection = connect(directory.database, vfs=None, writes=True)
    try:
        if file_problems(connection):
            raise Corruption(
                f"{directory.database} is damaged and cannot tell what was forgotten since the backup;"
                " move it away to restore without that"
            )
        migrate(connection)
        stones = rows(
            connection,
            f"SELECT {_STONE} FROM tombstone WHERE mark > ? AND kind <> 'retention'",
            (manifest.newest_mark,),
        )
        intents = rows(connection, f"SELECT {_INTENT} FROM forget_intent")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return _Forgets(stones, intents)
    finally:
        connection.close(True)


def _prepare(copy: Path, forgets: _Forgets, progress: Progress) -> int:
    """Bring the copy to today's schema, forget in it what was forgotten since, and mark its history as another one."""
    connection = connect(copy, vfs=None, writes=True)
    try:
        if problems := file_problems(connection):
            raise Corruption(f"the backup is damaged: {problems[0]}")
        migrate(connection)
        with transaction(connection, "BEGIN IMMEDIATE"):
            gone = _forget(connection, forgets)
            for (namespace,) in rows(connection, "SELECT namespace FROM namespace_head"):
                epoch = secrets.randbelow(MAX_EPOCH) + 1
                connection.execute("UPDATE namespace_head SET epoch = ? WHERE namespace = ?", (epoch, namespace))
        if gone:
            progress("removing what was forgotten since the backup")
            connection.execute("VACUUM").fetchall()  # the freed pages, and what is left in the gaps of others
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone
    finally:
        connection.close(True)


def _forget(connection: apsw.Connection, forgets: _Forgets) -> int:
    return sum(_forget_stone(connection, stone) for stone in forgets.tombstones) + sum(
        _forget_elsewhere(connection, intent) for intent in forgets.intents
    )


def _forget_stone(connection: apsw.Connection, stone: tuple[object, ...]) -> int:
    """One tombstone: an entry, or everything of a scope with its sessions; and the tombstone itself."""
    known = dict(zip((name.strip() for name in _STONE.split(",")), stone, strict=True))
    kind = str(known["kind"])
    statements = [_FORGET_ONE[kind] if known["entry_id"] else _FORGET_ALL[kind]]
    if kind == "memory" and not known["entry_id"]:
        statements.append(_FORGET_SESSIONS)
    gone = sum(_changed(connection, sql, known) for sql in statements)
    _changed(connection, f"INSERT INTO tombstone ({_STONE}) VALUES ({', '.join('?' * len(stone))})", stone)
    return gone


def _forget_elsewhere(connection: apsw.Connection, intent: tuple[object, ...]) -> int:
    """Checkpoints, steps and events of sessions of a Forget that the copy does not know yet; and its receipt."""
    if row(connection, "SELECT 1 FROM forget_intent WHERE receipt_id = ? AND done = 1", intent[:1]):
        return 0
    marks = ", ".join("?" * len(intent))
    _changed(connection, f"INSERT OR REPLACE INTO forget_intent ({_INTENT}) VALUES ({marks})", intent)
    plan = json.loads(str(intent[4]))
    bindings = {
        "namespace": plan["scope"]["namespace"],
        "all_users": int(plan["all_users"]),
        "task_ids": json.dumps(plan["task_ids"]),
    }
    taken = take_events(connection, decode_plan(str(intent[4]))[1])
    return sum(_changed(connection, sql, bindings) for sql in _FORGET_TASKS) + sum(taken.values())


def _changed(connection: apsw.Connection, sql: str, bindings: Sequence[object] | Mapping[str, object]) -> int:
    connection.execute(sql, bindings).fetchall()
    return connection.changes()


# -- files


def _manifest(backup: Path) -> Manifest:
    try:
        with (backup / MANIFEST).open("rb") as file:
            manifest = Manifest(**json.loads(file.read(MAX_MANIFEST_BYTES)))
    except (OSError, ValueError, TypeError) as exc:
        raise ConfigError(f"{backup} is no backup of memd") from exc
    if manifest.format > FORMAT or manifest.schema > len(MIGRATIONS):
        raise SchemaTooNew(f"the backup {backup} was made by a newer memd")
    return manifest


def _newest_mark(copy: Path) -> int:
    connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = row(connection, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tombstone'")
        return int(found[0]) if found else 0
    finally:
        connection.close(True)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _side_files(database: Path) -> tuple[Path, Path]:
    return database.with_name(f"{database.name}-wal"), database.with_name(f"{database.name}-shm")


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreFull("the disk is full: no backup was made, nothing was restored") from exc
        raise StoreBusy(f"the disk refused: {exc.strerror}") from exc
