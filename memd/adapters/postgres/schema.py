"""The schema ``memd`` by numbered migrations, its roles, and its row-level security.

Every statement of a request runs as the role ``memd_app``, which sees the rows of one namespace: the one its transaction
named. What is about all namespaces (sweeps, what replicas follow, forgets to be finished) runs as ``memd_keeper``. Neither
owns a table, neither can log in; who logs in owns the schema and may become both. Even the owner sees rows by the same
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg

from memd.adapters.postgres.errors import translated
from memd.domain.errors import ConfigError, Corruption, SchemaTooNew
from memd.limits import MAX_BULK_DEADLINE_S, POSTGRES_MIGRATION_LOCK_S

if TYPE_CHECKING:
    from memd.adapters.postgres.connection import Connection

MIGRATIONS = (
    "0001_memories.sql",
    "0002_sessions_tasks.sql",
    "0003_pgvector.sql",
    "0004_steps.sql",
    "0005_index_setting.sql",
    "0006_summaries.sql",
    "0007_learning.sql",
    "0008_page_order.sql",
    "0009_session_marks.sql",
    "0010_retention.sql",
    "0011_session_erased.sql",
    "0012_reembed.sql",
    "0013_tombstones.sql",
    "0014_session_settings.sql",
    "0015_no_samples.sql",
)
APP, KEEPER = "memd_app", "memd_keeper"
SETTING = "memd.namespace"
_LOCK = 0x6D656D64_736D6967
"""Of all daemons of the database: ASCII "memdsmig"."""
_VERSION, _VECTORS = "schema_version", "vector_type"
_TABLES = (
    "SELECT coalesce(array_agg(c.relname::text), '{}') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'memd' AND c.relkind = 'r'"
)
_ROLES = (
    "DO $$ DECLARE name text; BEGIN FOREACH name IN ARRAY ARRAY['memd_app', 'memd_keeper'] LOOP"
    " BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN"
    " EXECUTE format('CREATE ROLE %I NOLOGIN', name); END IF;"
    " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END;"
    " BEGIN EXECUTE format('SET LOCAL ROLE %I', name); RESET ROLE;"
    " EXCEPTION WHEN insufficient_privilege THEN EXECUTE format('GRANT %I TO CURRENT_USER', name); END;"
    " END LOOP; END $$"
)
_SECURE = (
    "DO $$ DECLARE name text; BEGIN FOR name IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'memd'::regnamespace AND c.relkind = 'r' AND a.attname = 'namespace' LOOP"
    " EXECUTE format('ALTER TABLE memd.%I ENABLE ROW LEVEL SECURITY', name);"
    " EXECUTE format('ALTER TABLE memd.%I FORCE ROW LEVEL SECURITY', name);"
    " EXECUTE format('DROP POLICY IF EXISTS one_namespace ON memd.%I', name);"
    " EXECUTE format('CREATE POLICY one_namespace ON memd.%I USING (namespace = current_setting(''memd.namespace'', true)"
    " OR current_user = ''memd_keeper'')', name);"
    " EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON memd.%I TO memd_app, memd_keeper', name);"
    " END LOOP; END $$;"
    " GRANT USAGE ON SCHEMA memd TO memd_app, memd_keeper;"
    " GRANT USAGE ON ALL SEQUENCES IN SCHEMA memd TO memd_app;"
    " GRANT SELECT ON memd.meta TO memd_app, memd_keeper"
)


async def migrate(connection: Connection, *, pgvector: bool | None = None) -> None:
    """Bring the database to the newest schema, all steps in one transaction, one daemon at a time.

    ``pgvector``: True demands it, False does without, None takes it where it can be had. SchemaTooNew for a database of a
    newer memd, ConfigError for what an operator has to grant first.
    """
    try:
        with translated():
            async with connection.transaction():
                if await _version(connection) != len(MIGRATIONS):
                    await _migrate(connection, pgvector)
    except asyncpg.PostgresError as error:
        raise ConfigError("the schema memd could not be made in Postgres; its log says why") from error


async def _migrate(connection: Connection, pgvector: bool | None) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = {int(POSTGRES_MIGRATION_LOCK_S * 1e3)}")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=POSTGRES_MIGRATION_LOCK_S)
    have = await _version(connection)
    if have == len(MIGRATIONS):
        return
    await _prepare(connection)
    vector = await _vector_type(connection, pgvector)
    for name in MIGRATIONS[have:]:
        await connection.execute(_script(name).replace("{vector}", vector), timeout=MAX_BULK_DEADLINE_S)
    await connection.execute(_SECURE, timeout=MAX_BULK_DEADLINE_S)
    for key, value in ((_VERSION, str(len(MIGRATIONS))), (_VECTORS, vector)):
        await put_meta(connection, key, value)


async def _version(connection: Connection) -> int:
    tables = await connection.fetchval(_TABLES)  # not to_regclass: it may still see what was there before the lock
    if "meta" not in tables:
        if tables:
            raise Corruption("the database has a schema memd, but not one of this program")
        return 0
    version = int(await get_meta(connection, _VERSION) or 0)
    if version > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the database has schema {version}, this memd knows {len(MIGRATIONS)}: it was written by a newer memd"
        )
    return version


async def _prepare(connection: Connection) -> None:
    user, database = await connection.fetchrow("SELECT current_user::text, current_database()::text") or ("", "")
    try:
        await connection.execute(_ROLES)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"the Postgres user {user} may not create the roles memd needs; let an administrator run:"
            f" CREATE ROLE {APP} NOLOGIN; CREATE ROLE {KEEPER} NOLOGIN; GRANT {APP}, {KEEPER} TO {user};"
        ) from error
    try:
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS memd;"
            " CREATE TABLE IF NOT EXISTS memd.meta (key text PRIMARY KEY, value text NOT NULL)"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"the Postgres user {user} may not create the schema memd; let an administrator run:"
            f" GRANT CREATE ON DATABASE {database} TO {user};"
        ) from error


async def _vector_type(connection: Connection, pgvector: bool | None) -> str:
    """The column type of embeddings: ``halfvec``, qualified, or ``bytea``; as it was chosen first."""
    known = await get_meta(connection, _VECTORS)
    if known or pgvector is False:
        return known or "bytea"
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except asyncpg.PostgresError as error:
        if pgvector:
            raise ConfigError(
                "Postgres has no pgvector, or memd may not install it; let an administrator run: CREATE EXTENSION vector;"
            ) from error
        return "bytea"
    found = await connection.fetchval(
        "SELECT quote_ident(n.nspname) || '.halfvec' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE t.typname = 'halfvec'"
    )
    if found is None and pgvector:
        raise ConfigError("the pgvector of this Postgres is too old: memd needs 0.7 or newer, which has halfvec")
    return str(found or "bytea")


async def vector_type(connection: Connection) -> str:
    """As it was chosen when the database was made."""
    return await get_meta(connection, _VECTORS) or "bytea"


async def get_meta(connection: Connection, key: str) -> str | None:
    value: str | None = await connection.fetchval("SELECT value FROM memd.meta WHERE key = $1", key)
    return value


async def put_meta(connection: Connection, key: str, value: str) -> None:
    await connection.execute(
        "INSERT INTO memd.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value,
    )


async def check_roles(connection: Connection, roles: Sequence[str] = (APP, KEEPER)) -> None:
    """ConfigError when the user who logs in may not become what requests run as."""
    for role in roles:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {role}")
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError) as error:
            raise ConfigError(
                f"let an administrator of Postgres run: GRANT {role} TO the user memd logs in as"
            ) from error


def _script(name: str) -> str:
    return (resources.files("memd.adapters.postgres") / "migrations" / name).read_text(encoding="utf-8")
