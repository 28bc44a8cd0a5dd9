"""Opening: what is wrong with a server or a URL is one plain line; two daemons may migrate at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores, schema
from memd.domain.errors import (
    ConfigError,
    Corruption,
    InvalidArgument,
    ModelMismatch,
    SchemaTooNew,
    ShuttingDown,
    StoreBusy,
    WrongState,
)
from memd.domain.model import Memory, NewMemory, Outcome, OutcomeReport
from tests.contract.builders import MODEL, USER, draft
from tests.postgres.calls import page, remember
from tests.postgres.conftest import OpenStores
from tests.servers.postgres import Launcher, Postgres
from tests.servers.redis import certificates


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "postgres.url"),
        ("redis://127.0.0.1/0", "postgres.url"),
        ("postgresql://memd@127.0.0.1:port/x", "cannot be understood"),
        ("postgresql://memd@127.0.0.1/x?sslmode=perhaps", "cannot be understood"),
    ],
)
async def test_a_wrong_url(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await PostgresStores.open(PostgresSettings(url))


@pytest.mark.parametrize("wrong", [{"pool": 0}, {"pool": 100_000}, {"timeout_s": 0.0}, {"connect_timeout_s": 1_000.0}])
async def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        await PostgresStores.open(replace(PostgresSettings("postgresql://127.0.0.1/x"), **wrong))  # type: ignore[arg-type]


async def test_nobody_there_is_not_a_matter_of_configuration(unused_tcp_port_factory: Callable[[], int]) -> None:
    url = f"postgresql://memd:secret@127.0.0.1:{unused_tcp_port_factory()}/x"
    with pytest.raises(StoreBusy, match="cannot be reached") as refused:
        await PostgresStores.open(PostgresSettings(url))
    assert "secret" not in refused.value.message


async def test_a_wrong_password_user_and_database(postgres18: Launcher) -> None:
    server = await asyncio.to_thread(lambda: postgres18.server(password="right"))
    for url, message in (
        (server.url(password="wrong"), "password"),
        (server.url(user="nobody"), "password|user"),
        (server.url("nowhere"), "no such database"),
    ):
        with pytest.raises(ConfigError, match=message) as refused:
            await PostgresStores.open(PostgresSettings(url))
        assert "right" not in refused.value.message
        assert "wrong" not in refused.value.message
    stores = await PostgresStores.open(PostgresSettings(server.url()), model=MODEL)
    await stores.close()
    await asyncio.to_thread(server.kill)


async def test_tls_where_there_is_none(database_url: str) -> None:
    with pytest.raises(ConfigError, match="TLS"):
        await PostgresStores.open(PostgresSettings(f"{database_url}?sslmode=require"))


async def test_a_certificate_of_another_name(
    postgres_launchers: Callable[[str], Launcher], open_at: OpenStores, tmp_path: Path
) -> None:
    made = certificates(tmp_path, "localhost")
    server = await asyncio.to_thread(postgres_launchers("postgres15").server, certificates=made)
    url = f"{server.url()}?sslmode=verify-full&sslrootcert={made.ca}"
    with pytest.raises(ConfigError, match="not trusted, or is of another name"):
        await PostgresStores.open(PostgresSettings(url))
    stores = await open_at(url.replace("127.0.0.1", "localhost"))
    assert (await remember(stores, "m1")).seq == 1, "the connections that are opened later speak TLS too"
    assert (await stores.changes.heads(["n"]))["n"].seq == 1
    await stores.close()
    await asyncio.to_thread(server.kill)


async def test_a_standby_as_primary(postgres18: Launcher) -> None:
    primary = await asyncio.to_thread(postgres18.server)
    standby = await asyncio.to_thread(postgres18.standby, primary, synchronous=True)
    with pytest.raises(ConfigError, match="standby"):
        await PostgresStores.open(PostgresSettings(standby.url()))
    both = f"postgresql://memd@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"
    stores = await PostgresStores.open(PostgresSettings(both), model=MODEL)
    assert (await remember(stores, "m1")).seq == 1, "of several hosts the primary is found"
    await stores.close()
    await asyncio.to_thread(primary.kill)
    with pytest.raises(StoreBusy):
        await PostgresStores.open(PostgresSettings(both))  # nobody is primary: a failover is waited for
    await asyncio.to_thread(standby.promote)
    stores = await PostgresStores.open(PostgresSettings(both), model=MODEL)
    assert [memory.memory_id for memory in await page(stores)] == ["m1"]
    await stores.close()
    await asyncio.to_thread(standby.kill)


class TestMigration:
    async def test_daemons_that_migrate_at_once(self, postgres_url: str) -> None:
        opened = await asyncio.gather(
            *(PostgresStores.open(PostgresSettings(postgres_url), model=MODEL) for _ in range(5))
        )
        seqs = [(await remember(stores, f"m{i}")).seq for i, stores in enumerate(opened)]
        assert seqs == [1, 2, 3, 4, 5]
        for stores in opened:
            await stores.close()

    async def test_a_schema_of_a_newer_memd(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        await (await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL)).close()
        monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
        with pytest.raises(SchemaTooNew, match="newer memd"):
            await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL)

    async def test_a_schema_of_somebody_else(self, postgres_launcher: Launcher) -> None:
        server = postgres_launcher.shared
        name = await asyncio.to_thread(server.create_database)
        await asyncio.to_thread(_send, server, name, "CREATE SCHEMA memd")
        await asyncio.to_thread(_send, server, name, "CREATE TABLE memd.memory (id int)")
        with pytest.raises(Corruption):
            await PostgresStores.open(PostgresSettings(server.url(name)), model=MODEL)
        await asyncio.to_thread(server.drop_database, name)

    async def test_a_migration_that_fails_leaves_nothing(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(schema, "_SECURE", "SELECT 1 / 0")
            with pytest.raises(ConfigError, match="could not be made"):
                await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL)
        stores = await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL)
        assert await page(stores) == []
        await stores.close()

    async def test_procedures_from_before_versions_were_weighed_go_on(
        self, postgres_launcher: Launcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = postgres_launcher.shared
        name = await _database_for(server, "ada", "CREATEROLE")  # no superuser: row security binds who migrates
        await asyncio.to_thread(_send, server, name, "GRANT memd_app, memd_keeper TO ada")
        await asyncio.to_thread(_send, server, name, f"GRANT CREATE ON DATABASE {name} TO ada")
        settings = PostgresSettings(server.url(name, user="ada"))
        with monkeypatch.context() as old:
            old.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
            await (await PostgresStores.open(settings, model=MODEL, pgvector=False)).close()
        for line in (
            "INSERT INTO memd.procedure (namespace, procedure_id, user_id, agent_id, key, version, vectors)"
            " VALUES ('n', 'p', 'u', '', 'key', 2, '\\x0000803f000000000000000000000000')",
            "INSERT INTO memd.procedure_version SELECT 'n', pk, v, 'words', 'body ' || v, '{}', 18, 2, 100 * v, NULL"
            " FROM memd.procedure, generate_series(1, 2) v",
        ):
            await asyncio.to_thread(_send, server, name, line)
        stores = await PostgresStores.open(settings, model=MODEL, pgvector=False)
        one = await stores.procedures.get("n", "p", 0)
        assert (one.content, one.offer.version, one.offer.newest, one.offer.since) == ("body 2", 2, 2, 200)
        for _ in range(5):
            await stores.procedures.report("n", "p", 2, OutcomeReport(Outcome.FAILURE), None)
        assert (await stores.procedures.get("n", "p", 0)).version == 1
        batches = [batch async for batch in stores.changes.snapshot("n")]
        (copied,) = [one for batch in batches for one in batch.procedures]
        assert [len(vector) for vector in copied.embeddings] == [16]
        await stores.close()
        await asyncio.to_thread(_drop, server, name, "ada")


class TestRights:
    async def test_who_may_create_roles_and_schemas_needs_no_more(self, postgres_launcher: Launcher) -> None:
        server = postgres_launcher.shared
        name = await _database_for(server, "ada", "CREATEROLE")
        await asyncio.to_thread(_send, server, name, "GRANT memd_app, memd_keeper TO ada")
        await asyncio.to_thread(_send, server, name, f"GRANT CREATE ON DATABASE {name} TO ada")
        stores = await PostgresStores.open(PostgresSettings(server.url(name, user="ada")), model=MODEL, pgvector=False)
        assert (await remember(stores, "m1")).seq == 1
        assert [memory.memory_id for memory in await page(stores)] == ["m1"]
        await stores.close()
        await asyncio.to_thread(_drop, server, name, "ada")

    async def test_who_may_not_is_told_what_is_missing(self, postgres18: Launcher) -> None:
        server = await asyncio.to_thread(postgres18.server)  # without memd's roles
        name = await _database_for(server, "eve", "NOCREATEROLE")
        settings = PostgresSettings(server.url(name, user="eve"))
        with pytest.raises(ConfigError, match=r"CREATE ROLE memd_app NOLOGIN.*GRANT memd_app, memd_keeper TO eve"):
            await PostgresStores.open(settings, model=MODEL)
        for sql in ("CREATE ROLE memd_app NOLOGIN", "CREATE ROLE memd_keeper NOLOGIN"):
            await asyncio.to_thread(_send, server, name, sql)
        await asyncio.to_thread(_send, server, name, "GRANT memd_app, memd_keeper TO eve")
        with pytest.raises(ConfigError, match="GRANT CREATE ON DATABASE"):
            await PostgresStores.open(settings, model=MODEL)
        await asyncio.to_thread(server.kill)


class TestVectors:
    async def test_without_pgvector_embeddings_are_bytes(
        self, postgres_launcher: Launcher, open_stores: OpenStores
    ) -> None:
        stores = await open_stores()
        expected = "halfvec" if postgres_launcher.installation.vector else "bytea"
        assert stores.describe()["embeddings"] == expected

    async def test_pgvector_that_is_not_there(self, postgres_launchers: Callable[[str], Launcher]) -> None:
        server = postgres_launchers("postgres15").shared
        name = await asyncio.to_thread(server.create_database)
        with pytest.raises(ConfigError, match="pgvector"):
            await PostgresStores.open(PostgresSettings(server.url(name)), model=MODEL, pgvector=True)
        await asyncio.to_thread(server.drop_database, name)

    async def test_what_was_chosen_first_stays(self, postgres_url: str) -> None:
        for pgvector in (False, None):
            stores = await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL, pgvector=pgvector)
            assert stores.describe()["embeddings"] == "bytea"
            await stores.close()

    async def test_another_model_is_refused(self, postgres_url: str) -> None:
        await (await PostgresStores.open(PostgresSettings(postgres_url), model=MODEL)).close()
        with pytest.raises(ModelMismatch):
            await PostgresStores.open(PostgresSettings(postgres_url), model=replace(MODEL, digest="cd" * 32))

    async def test_without_a_model_nothing_is_embedded_until_it_comes(self, postgres_url: str) -> None:
        stores = await PostgresStores.open(PostgresSettings(postgres_url))
        assert await stores.frozen_model() is None
        with pytest.raises(WrongState):
            await remember(stores, "m1")
        await stores.use_model(MODEL)
        assert (await remember(stores, "m1")).seq == 1
        assert await stores.frozen_model() == MODEL
        await stores.close()


async def test_a_pool_of_one_connection(open_stores: OpenStores) -> None:
    stores = await open_stores(pool=1)
    await asyncio.gather(*(remember(stores, f"m{i}") for i in range(10)))
    batches = stores.changes.snapshot("n")
    await anext(batches)  # a snapshot that is read slowly is nobody else's wait
    assert (await remember(stores, "more")).seq == 11
    assert len([one async for one in batches]) == 1


async def test_a_name_with_a_character_postgres_cannot_store(open_stores: OpenStores) -> None:
    stores = await open_stores()
    memory = NewMemory(Memory(memory_id="m\0", scope=USER, content="x"), ())
    with pytest.raises(InvalidArgument):
        await stores.memories.remember("n", [memory], fence=0, writer="w", request=None)
    with pytest.raises(InvalidArgument):
        await stores.memories.remember(
            "n", [replace(draft("\ud800"), embeddings=())], fence=0, writer="w", request=None
        )


async def test_it_closes_twice_and_finishes_what_runs(open_stores: OpenStores) -> None:
    stores = await open_stores()
    writing = asyncio.create_task(stores.memories.remember("n", [draft("m1")], fence=0, writer="w", request=None))
    await asyncio.sleep(0)  # it has begun
    await stores.close()
    await stores.close()
    assert (await writing).seq == 1
    with pytest.raises(ShuttingDown):
        await remember(stores, "m2")


async def test_a_cancelled_callers_write_is_kept(open_stores: OpenStores) -> None:
    stores = await open_stores()
    call = stores.memories.remember("n", [draft("m1")], fence=0, writer="w", request=None)
    writing = asyncio.create_task(call)
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    other = await remember(stores, "m2")
    assert {memory.memory_id for memory in await page(stores)} >= {"m2"}
    await stores.close()
    again = await open_stores()
    assert {memory.memory_id for memory in await page(again)} == {"m1", "m2"}
    assert other.seq in (1, 2)


def _send(server: Postgres, database: str, sql: str) -> None:
    server.send(sql, database=database)


async def _database_for(server: Postgres, user: str, rights: str) -> str:
    name = await asyncio.to_thread(server.create_database)
    await asyncio.to_thread(_send, server, name, f"CREATE ROLE {user} LOGIN {rights}")
    return name


def _drop(server: Postgres, name: str, user: str) -> None:
    server.drop_database(name)
    server.send(f"DROP ROLE {user}")
