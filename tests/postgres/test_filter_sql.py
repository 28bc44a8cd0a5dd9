"""Postgres filters exactly as ``memd.domain.filters.matches`` says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memd.adapters.postgres.filter_sql import FilterSql, escaped, search_json
from memd.domain.errors import InvalidArgument
from memd.domain.filters import Compare, Exists, Filter, In, matches
from tests.core.test_filters_agree import fields, filter_
from tests.servers.postgres import Launcher

ROWS = 4
SELECT = (
    "SELECT s.fields ->> 'memory_id' FROM jsonb_to_recordset($1::jsonb) s (user_id text, agent_id text, fields jsonb)"
    " WHERE "
)


class Server:
    """One connection, driven from tests that are not coroutines: hypothesis runs those."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(url))

    def matching(self, where: Filter, rows: list[dict[str, Any]]) -> list[str]:
        sql = FilterSql(2)
        condition = sql.translate(where)
        owners = [{name: row.get(name) or "" for name in ("user_id", "agent_id")} for row in rows]
        documents = ",".join(
            f'{{"user_id":{search_json(o["user_id"])},"agent_id":{search_json(o["agent_id"])},"fields":{search_json(row)}}}'
            for o, row in zip(owners, rows, strict=True)
        )
        found = self._connection.fetch(f"{SELECT}{condition}", f"[{documents}]", *sql.bindings)
        return [one[0] for one in self._loop.run_until_complete(found)]

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()


@pytest.fixture
def server(postgres_launcher: Launcher) -> Iterator[Server]:
    shared = postgres_launcher.shared
    database = shared.create_database()
    opened = Server(shared.url(database))
    yield opened
    opened.close()
    shared.drop_database(database)


def _row(number: int, given: dict[str, Any]) -> dict[str, Any]:
    """As memd stores them: an owner that is not set is absent."""
    owners = {name: given[name] for name in ("user_id", "agent_id") if given.get(name)}
    others = {name: value for name, value in given.items() if name not in ("user_id", "agent_id")}
    return {"memory_id": f"m{number}", **owners, **others}


# No deadline: a statement waits for the server, and other tests for the machine.
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter_, st.lists(fields, min_size=ROWS, max_size=ROWS))
def test_what_passes_is_what_matches(server: Server, where: Filter, given: list[dict[str, Any]]) -> None:
    rows = [_row(number, one) for number, one in enumerate(given)]
    assert server.matching(where, rows) == [row["memory_id"] for row in rows if matches(where, row)]


@settings(max_examples=300, deadline=None)
@given(st.text("\0\1\2a", max_size=4), st.text("\0\1\2a", max_size=4))
def test_escaped_texts_compare_as_before(one: str, other: str) -> None:
    assert (escaped(one) < escaped(other)) == (one < other)
    assert (escaped(one) == escaped(other)) == (one == other)
    assert "\0" not in escaped(one)


def test_texts_that_postgres_cannot_hold_are_found(server: Server) -> None:
    rows = [_row(0, {"metadata": {"k\0": "a\0b", "l": ["\0"]}}), _row(1, {"metadata": {"k": "a\1b"}})]
    assert server.matching(Compare("eq", "metadata.k\0", "a\0b"), rows) == ["m0"]
    assert server.matching(Compare("lt", "metadata.k\0", "a\1"), rows) == ["m0"]
    assert server.matching(In("metadata.l", ("\0",)), rows) == ["m0"]
    assert server.matching(Exists("metadata.k"), rows) == ["m1"]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        FilterSql(1).translate(Compare("eq", "fields -> 'x'", 1))
