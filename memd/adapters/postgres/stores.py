"""The stores of one Postgres database, opened and closed together."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from memd.adapters.postgres.changes import PostgresChanges
from memd.adapters.postgres.connection import Connections, PostgresSettings, ServerFacts
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.leases import PostgresLeases
from memd.adapters.postgres.memories import PostgresMemories
from memd.adapters.postgres.model_guard import MODEL, ModelGuard, identity, readable
from memd.adapters.postgres.pgvector_index import PgvectorIndex
from memd.adapters.postgres.procedures import PostgresProcedures
from memd.adapters.postgres.retention import PostgresRetention
from memd.adapters.postgres.schema import check_roles, migrate, vector_type
from memd.adapters.postgres.search_moves import LocalIndex, SearchMoves
from memd.adapters.postgres.search_tables import SearchTables
from memd.adapters.postgres.session_marks import PostgresSessionMarks
from memd.adapters.postgres.sessions import PostgresSessions
from memd.adapters.postgres.settings import PostgresNamespaceSettings
from memd.adapters.postgres.steps import PostgresSteps
from memd.adapters.postgres.tasks import PostgresTasks
from memd.adapters.postgres.transfers import PostgresTransfers
from memd.adapters.postgres.vacuum import Vacuum
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.postgres.watching import PostgresChangeLog
from memd.domain.errors import ConfigError
from memd.domain.model import EmbeddingModel
from memd.limits import SEARCH_DROP_AFTER_US
from memd.ports import Clock


class PostgresStores:
    """Over one pool: sessions and their marks, memories, procedures, settings, tasks, steps, changes, leases, retention and
    transfers."""

    def __init__(self, database: Database, codec: VectorCodec, guard: ModelGuard, dimensions: int | None) -> None:
        self._database = database
        self._guard = guard
        self._vacuum = Vacuum(database.connections)
        self._codec = codec
        self.memories = PostgresMemories(database, codec, guard, self._vacuum.ask)
        self.procedures = PostgresProcedures(database, guard)
        self.settings = PostgresNamespaceSettings(database)
        self.sessions = PostgresSessions(database, self._vacuum.ask)
        self.marks = PostgresSessionMarks(database, self.sessions.grace)
        self.tasks = PostgresTasks(database, self._vacuum.ask)
        self.steps = PostgresSteps(database, self._vacuum.ask)
        self.leases = PostgresLeases(database)
        self.retention = PostgresRetention(database)
        self.changes = PostgresChanges(database, codec, dimensions)
        self.change_log = PostgresChangeLog(database)
        self.transfers = PostgresTransfers(database, codec, guard)
        self._model: EmbeddingModel | None = None

    @classmethod
    async def open(
        cls,
        settings: PostgresSettings,
        *,
        model: EmbeddingModel | None = None,
        clock: Clock | None = None,
        pgvector: bool | None = None,
    ) -> PostgresStores:
        """Connect, bring the schema up to date and freeze it to ``model``.

        ``clock`` None: times are the server's. ``pgvector``: see ``schema.migrate``. Raises ConfigError for a server or a
        URL that an operator has to correct, StoreBusy for a server that does not answer, SchemaTooNew, ModelMismatch.
        """
        connections = await Connections.open(settings)
        try:
            async with connections.own() as connection:
                await migrate(connection, pgvector=pgvector)
                with translated():
                    await check_roles(connection)
                    async with connection.transaction():
                        codec = VectorCodec(await vector_type(connection))
            guard = ModelGuard(connections, model)
            if model is not None:
                await guard.use(model)
            known = model or await guard.frozen()
        except BaseException:
            await connections.close()
            raise
        stores = cls(Database(connections, clock), codec, guard, known.dimensions if known else None)
        if known is not None:
            stores.changes.use(known)
        return stores

    async def use_model(self, model: EmbeddingModel) -> None:
        """As ``model`` of ``open``, for a model that came later. ModelMismatch when the database has another."""
        await self._guard.use(model)
        self.changes.use(model)
        self._model = model

    async def changed_model(self) -> EmbeddingModel | None:
        """The model of the database where it is not the one in use any more: cheap, to be asked again and again."""
        found = await self._database.glance("SELECT value FROM memd.meta WHERE key = $1", MODEL)
        model = EmbeddingModel(**json.loads(found[0][0])) if found else None
        if model is None or self._model is None or identity(model) == identity(self._model):
            return None
        return model

    async def frozen_model(self) -> EmbeddingModel | None:
        """The model the stored embeddings were made with."""
        return await self._guard.frozen()

    async def superseded_model(self) -> EmbeddingModel | None:
        """The model the database was last changed from."""
        return await self._guard.superseded()

    @property
    def has_pgvector(self) -> bool:
        """Whether the database was made with it."""
        return self._codec.half

    def moves(
        self, index: PgvectorIndex, local: LocalIndex, *, drop_after_us: int = SEARCH_DROP_AFTER_US
    ) -> SearchMoves:
        """What moves namespaces between ``index`` and ``local``, as one of many daemons."""
        holder = secrets.token_hex(8)
        return SearchMoves(self._database, self.leases, index.tables, local, holder, drop_after_us=drop_after_us)

    def pgvector(self) -> PgvectorIndex:
        """Search of the namespaces that are ``index = "pgvector"``. ConfigError where Postgres has no pgvector, or memd no
        model: its dimensions are the index's."""
        if self.changes.dimensions is None:
            raise ConfigError('index = "pgvector" needs the embedding model: run `memd model install`')
        tables = SearchTables(self._database, self.leases, self._codec, self.changes.dimensions)
        here = readable(self._model) if self._model else "true"
        return PgvectorIndex(self._database, tables, self._codec, self.changes.dimensions, here)

    @property
    def facts(self) -> ServerFacts:
        """What the server was when it was opened."""
        return self._database.connections.facts

    def describe(self) -> Mapping[str, str]:
        """What the server is and what its commits mean, in words for an operator."""
        facts = self.facts
        return {
            "server": f"Postgres {facts.release}",
            "database": facts.database,
            "durability": facts.durability.value,
            "fsync": facts.fsync,
            "synchronous_commit": facts.synchronous_commit,
            "synchronous_standby_names": facts.standbys,
            "embeddings": "halfvec" if self._codec.half else "bytea",
            "pooler": "yes: no hints, no prepared statements" if facts.pooled else "no",
        }

    async def close(self) -> None:
        """Finish what runs, then let the connections go. Closing again does nothing."""
        await self.changes.close()
        await self._vacuum.close()
        await self._database.close()
