"""Leases of background jobs on SQLite: the same rules as on Postgres."""

from __future__ import annotations

from tests.sqlite.conftest import Open

MINUTE_US = 60_000_000


async def test_one_holder_at_a_time_and_tokens_only_grow(open_stores: Open) -> None:
    leases = open_stores().leases
    first = await leases.claim("n", "job", "one", MINUTE_US)
    assert first == 1
    assert await leases.claim("n", "job", "two", MINUTE_US) is None
    assert await leases.claim("n", "job", "one", MINUTE_US) == first, "a holder prolongs its own"
    assert await leases.claim("n", "other job", "two", MINUTE_US) == 1
    await leases.release("n", "job", first)
    assert await leases.claim("n", "job", "two", MINUTE_US) == 2
    await leases.release("n", "job", first)
    assert await leases.claim("n", "job", "one", MINUTE_US) is None, "a late release frees nobody's lease"


async def test_a_lease_that_ran_out_is_anybodys(open_stores: Open) -> None:
    leases = open_stores().leases
    assert await leases.claim("n", "job", "one", 0) == 1
    assert await leases.claim("n", "job", "two", 0) == 2
    assert await leases.claim("n", "job", "two", MINUTE_US) == 3, "its own as well: others had their chance"
