"""Row-level security: a statement sees the one namespace its transaction named, whatever its WHERE says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from memd.adapters.postgres import PostgresStores
from memd.domain.model import NamespaceSettings, Scope
from tests.contract.builders import procedure, request, vector
from tests.postgres.calls import forget, remember
from tests.postgres.conftest import OpenStores

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

NAMES = ["n", "m_%", "m'--", "漢 \U0001f600", "n "]


@pytest.fixture
async def raw(database_url: str, open_stores: OpenStores) -> AsyncIterator[Connection]:
    """A superuser's connection to a database where two namespaces have a row in every table."""
    stores = await open_stores()
    for name in ("n", "other"):
        await _fill(stores, name)
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def _fill(stores: PostgresStores, namespace: str) -> None:
    await remember(stores, "m1", "m2", namespace=namespace)
    await remember(stores, "m1", content="newer", namespace=namespace, request=request("r", namespace=namespace))
    put = replace(procedure("key"), scope=Scope(namespace, "u"))
    await stores.procedures.put(put, (vector(),), expected_version=None, fence=2, writer="w", request=None)
    await stores.settings.put_settings(namespace, NamespaceSettings(), expected_version=0, writer="w", request=None)
    await stores.leases.claim(namespace, "job", "me", 1_000_000)
    if namespace == "n":
        await forget(stores, "m2")


async def _tables(raw: Connection) -> list[str]:
    found = await raw.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'memd' AND tablename <> 'meta'")
    return [one[0] for one in found]


async def _namespaces(raw: Connection, table: str) -> set[str]:
    return {one[0] for one in await raw.fetch(f"SELECT namespace FROM memd.{table}")}


async def test_every_table_has_it_and_even_its_owner_is_bound(raw: Connection) -> None:
    found = await raw.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'memd'::regnamespace AND relkind = 'r'"
        " AND relname <> 'meta' AND NOT (relrowsecurity AND relforcerowsecurity)"
    )
    assert found == []


async def test_the_role_of_requests_sees_the_namespace_it_named(raw: Connection) -> None:
    filled = {table: await _namespaces(raw, table) for table in await _tables(raw)}
    assert filled["memory"] == filled["embedding"] == filled["change_log"] == filled["lease"] == {"n", "other"}
    async with raw.transaction():
        await raw.execute("SET LOCAL ROLE memd_app")
        for table in filled:
            assert await _namespaces(raw, table) == set(), "without a namespace there is nothing"
        await raw.execute("SELECT set_config('memd.namespace', 'n', true)")
        for table, namespaces in filled.items():
            assert await _namespaces(raw, table) == namespaces & {"n"}


async def test_the_role_of_requests_cannot_write_into_another(raw: Connection) -> None:
    async with raw.transaction():
        await raw.execute("SET LOCAL ROLE memd_app; SELECT set_config('memd.namespace', 'n', true)")
        assert await raw.execute("DELETE FROM memd.memory WHERE namespace = 'other'") == "DELETE 0"
        assert await raw.execute("UPDATE memd.namespace_head SET seq = 0 WHERE namespace = 'other'") == "UPDATE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with raw.transaction():
                await raw.execute("INSERT INTO memd.namespace_settings VALUES ('third', 1, '{}')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with raw.transaction():
                await raw.execute("UPDATE memd.memory SET namespace = 'other'")


async def test_the_role_of_requests_can_change_neither_schema_nor_rules(raw: Connection) -> None:
    for sql in (
        "ALTER TABLE memd.memory DISABLE ROW LEVEL SECURITY",
        "DROP POLICY one_namespace ON memd.memory",
        "CREATE TABLE memd.mine (x int)",
        "TRUNCATE memd.memory",
        "UPDATE memd.meta SET value = ''",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.execute(f"SET LOCAL ROLE memd_app; SELECT set_config('memd.namespace', 'n', true); {sql}")


async def test_the_setting_ends_with_the_transaction(raw: Connection) -> None:
    async with raw.transaction():
        await raw.execute("SET LOCAL ROLE memd_app; SELECT set_config('memd.namespace', 'n', true)")
    async with raw.transaction():
        await raw.execute("SET LOCAL ROLE memd_app")
        assert await _namespaces(raw, "memory") == set()


async def test_the_keeper_sees_all(raw: Connection) -> None:
    async with raw.transaction():
        await raw.execute("SET LOCAL ROLE memd_keeper")
        assert await _namespaces(raw, "namespace_head") == {"n", "other"}


async def test_any_name_is_a_namespace_of_its_own(open_stores: OpenStores) -> None:
    stores = await open_stores()
    for name in NAMES:
        assert (await remember(stores, "m1", content=f"of {name}", namespace=name)).seq == 1
    for name in NAMES:
        (one,) = await stores.memories.rows(name, ["m1"])
        assert one.content == f"of {name}"
    assert set(await stores.memories.namespaces()) == set(NAMES)
