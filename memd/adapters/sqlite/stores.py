"""All stores over one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import apsw

from memd.adapters.sqlite.backup import SqliteBackups
from memd.adapters.sqlite.checkpoint import Checkpointer
from memd.adapters.sqlite.compaction import SqliteCompaction
from memd.adapters.sqlite.connection import Readers, check_library, connect, row
from memd.adapters.sqlite.datadir import DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.index_source import SqliteIndexSource
from memd.adapters.sqlite.leases import SqliteLeases
from memd.adapters.sqlite.log_file import LogFile
from memd.adapters.sqlite.memories import SqliteMemories
from memd.adapters.sqlite.memory_cache import MemoryCache
from memd.adapters.sqlite.model_guard import ModelGuard
from memd.adapters.sqlite.procedures import SqliteProcedures
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.recalls import SqliteRecalls
from memd.adapters.sqlite.reembedding import SqliteReembedding
from memd.adapters.sqlite.replica import Reset, SqliteReplica
from memd.adapters.sqlite.retention import SqliteRetention
from memd.adapters.sqlite.schema import freeze_model, frozen_model, migrate, superseded_model
from memd.adapters.sqlite.scrub import Scrubber
from memd.adapters.sqlite.session_marks import SqliteSessionMarks
from memd.adapters.sqlite.sessions import SqliteSessions
from memd.adapters.sqlite.settings import SqliteSettings
from memd.adapters.sqlite.steps import SqliteSteps
from memd.adapters.sqlite.tasks import SqliteTasks
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transfers import SqliteTransfers
from memd.adapters.sqlite.watching import SqliteChangeLog
from memd.adapters.sqlite.writer import Writer
from memd.domain.model import EmbeddingModel
from memd.ports import Clock, IndexSink


@dataclass(frozen=True, slots=True)
class StoreStats:
    queue_depth: int
    data_bytes: int
    erased: bool
    """Everything that was deleted has left the files."""


class SqliteStores:
    """The embedded stores of one directory, each an attribute: sessions and their marks, memories, procedures, settings,
    tasks, steps, leases, retention; compaction, transfers and backups of them all; the way to another model; and
    ``replica``, which fills them where the truth is elsewhere."""

    def __init__(
        self,
        directory: DataDir,
        connection: apsw.Connection,
        *,
        model: EmbeddingModel | None,
        clock: Clock,
        sink: IndexSink,
        reset: Reset,
        vfs: str | None,
        on_fatal: Callable[[BaseException], None] | None,
    ) -> None:
        self._closed = False
        self._directory = directory
        self._connection = connection
        newest = row(connection, "SELECT coalesce(max(mark), 0) FROM tombstone")
        tombstones = Tombstones(newest[0] if newest else 0)
        guard = ModelGuard(model)
        self._guard = guard
        self._scrubber = Scrubber(directory.database)
        self._checkpointer = Checkpointer(connection, clock, self._scrubber, LogFile(directory.database))
        if not directory.was_closed:
            # What a daemon that fell had deleted may still be in the log it left, or in pages it had not scrubbed.
            self._scrubber.note_everything()
            self._checkpointer.erase(0.0)
        cache = MemoryCache()
        self._writer = Writer(connection, clock, cache.feeding(sink), self._checkpointer, on_fatal)
        self._readers = Readers(directory.database, vfs)
        self._reads = ReadPool(self._readers)
        self.sessions = SqliteSessions(self._writer, self._reads, clock)
        self.marks = SqliteSessionMarks(self._writer, self._reads, clock, self.sessions.grace)
        self.leases = SqliteLeases(self._writer)
        self.memories = SqliteMemories(self._writer, self._reads, self._readers, clock, tombstones, guard, cache)
        self.procedures = SqliteProcedures(self._writer, self._reads, tombstones, guard)
        self.settings = SqliteSettings(self._writer, self._reads, clock)
        self.tasks = SqliteTasks(self._writer, self._reads, clock)
        self.steps = SqliteSteps(self._writer, self._reads, clock)
        self.recalls = SqliteRecalls(self._writer, self._reads)
        self.retention = SqliteRetention(self._writer, self._reads, clock)
        self.compaction = SqliteCompaction(self._writer, self._reads)
        self.change_log = SqliteChangeLog(self._reads, clock)
        self.backups = SqliteBackups(directory.path, self._readers, clock)
        self.reembedding = SqliteReembedding(self._writer, self._reads, tombstones, guard)
        self.transfers = SqliteTransfers(self._writer, self._readers, guard)
        self.replica = SqliteReplica(self._writer, self._reads, guard, cache.resetting(reset))
        self.failed = self._writer.failed
        """Set once a commit has failed in a way that leaves its outcome unknown: the process must stop."""

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        model: EmbeddingModel | None,
        clock: Clock,
        sink: IndexSink,
        reset: Reset = lambda namespace: None,
        vfs: str | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
        disposable: bool = False,
    ) -> SqliteStores:
        """Open or make the stores in ``data_dir`` and lock it.

        ``reset`` is called after the commit of the replica that made the index of a namespace worthless.
        ``on_fatal`` is called once, on the writer thread, when the stores have failed for good (see ``writer.py``).
        ``disposable``: what is here is a replica, whose newest commits a power cut may take.
        ``vfs`` names a registered VFS, for tests. Raises ConfigError for a directory that cannot be used, WrongState
        when another daemon has it, SchemaTooNew, ModelMismatch, Corruption; the lock is free again then.
        """
        check_library()
        with ExitStack() as undo, translated():
            directory = DataDir(data_dir)
            undo.callback(directory.close)
            connection = connect(directory.database, vfs=vfs, writes=True, disposable=disposable)
            undo.callback(connection.close, True)
            migrate(connection)
            if model is not None:
                freeze_model(connection, model)
            stores = cls(
                directory, connection, model=model, clock=clock, sink=sink, reset=reset, vfs=vfs, on_fatal=on_fatal
            )
            undo.pop_all()
            return stores

    async def use_model(self, model: EmbeddingModel) -> None:
        """As ``model`` of ``open``, for a model that came later. ModelMismatch when the store has another."""
        await self._writer.submit(lambda tx: self._guard.use(tx, model))

    async def frozen_model(self) -> EmbeddingModel | None:
        """The model the stored embeddings were made with."""
        return await self._reads.run(frozen_model)

    async def superseded_model(self) -> EmbeddingModel | None:
        """The model the store was last changed from."""
        return await self._reads.run(superseded_model)

    def index_source(self, model: EmbeddingModel) -> SqliteIndexSource:
        """The rows with their embeddings of ``model``."""
        return SqliteIndexSource(self._readers, self._reads, model)

    def stats(self) -> StoreStats:
        return StoreStats(self._writer.depth, self._directory.bytes_used(), self._checkpointer.clean)

    def close(self) -> None:
        """Finish the writes that wait, checkpoint and give the directory back. After a failed commit nothing more is
        written: the next start reads what the disk has. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._reads.close()
        self._readers.close()
        if self.failed.is_set():
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        else:
            self._checkpointer.finish()
        self._connection.close(True)
        self._scrubber.close()
        self._directory.close()
