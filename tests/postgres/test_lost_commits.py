"""A connection lost during COMMIT: the answer is what really happened, and it happened once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.adapters.postgres import PostgresStores, database
from memd.domain.errors import StoreBusy, VersionConflict
from memd.domain.model import NamespaceSettings, Outcome, OutcomeReport, RequestKey
from memd.domain.visibility import EVERYTHING
from memd.ports import MemoryChange
from tests.contract.builders import draft, procedure, request, vector
from tests.postgres.calls import Remembered, page, remember
from tests.postgres.conftest import OpenStores
from tests.postgres.cutting import Cut, Cutter
from tests.servers.postgres import FOLLOW_TIMEOUT_S, Launcher, Postgres
from tests.servers.redis import wait_until

CUTS: list[Cut] = ["before", "after"]


@pytest.mark.parametrize("key", [request("r"), None], ids=["with request_id", "without"])
@pytest.mark.parametrize("cut", CUTS)
class TestOneEffect:
    async def test_of_a_remember(
        self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None
    ) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            cutter.cuts = [cut]
            written = await remember(stores, "m1", "m2", request=key)
            assert cutter.cuts == []
            assert [(one.version, one.created) for one in written.value] == [(1, True), (1, True)]
            assert written.seq == 1
            assert {memory.version for memory in await page(stores)} == {1}
            assert (await remember(stores, "m3")).seq == 2

    async def test_of_an_update(self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            await remember(stores, "m1")
            cutter.cuts = [cut, cut]  # the next attempt is cut as well
            change = MemoryChange({"speaker": "s"})
            written = await stores.memories.update(
                "n", "m1", EVERYTHING, change, expected_version=1, fence=1, writer="w", request=key
            )
            assert (written.value.version, written.seq) == (2, 2)

    async def test_of_a_count(self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            put = procedure("key")
            await stores.procedures.put(put, (vector(),), expected_version=0, fence=0, writer="w", request=None)
            cutter.cuts = [cut]
            written = await stores.procedures.report("n", put.procedure_id, 1, OutcomeReport(Outcome.SUCCESS), key)
            assert (written.value.successes, written.seq) == (1, 2)
            assert (await stores.procedures.get("n", put.procedure_id, 0)).successes == 1

    async def test_of_a_compare_and_set(
        self, database_url: str, open_at: OpenStores, cut: Cut, key: RequestKey | None
    ) -> None:
        async with Cutter(database_url) as cutter:
            stores = await open_at(cutter.url)
            cutter.cuts = [cut]
            wanted = NamespaceSettings(working_max_items=3)
            written = await stores.settings.put_settings("n", wanted, expected_version=0, writer="w", request=key)
            assert written.value == replace(wanted, version=1)


async def test_many_writers_on_a_bad_line(database_url: str, open_at: OpenStores) -> None:
    """Every third commit is cut, one way or the other."""
    async with Cutter(database_url) as cutter:
        stores = await open_at(cutter.url)
        cutter.cuts = ["before", "after"] * 8
        written = await asyncio.gather(*(remember(stores, f"m{i}", "shared") for i in range(20)))
        assert sorted(one.seq for one in written) == list(range(1, 21))
        assert len(await page(stores)) == 21
        assert (await stores.memories.verify("n"))[2] == []


async def test_a_condition_that_no_longer_holds_is_not_hidden(database_url: str, open_at: OpenStores) -> None:
    """Lost before the server had it, and meanwhile another daemon was quicker."""
    async with Cutter(database_url) as cutter:
        stores, other = await open_at(cutter.url), await open_at(database_url)
        await remember(stores, "m1")
        cutter.cuts = ["before"]
        calls = [
            one.memories.update(
                "n",
                "m1",
                EVERYTHING,
                MemoryChange({"speaker": f"s{i}"}),
                expected_version=1,
                fence=1,
                writer="w",
                request=None,
            )
            for i, one in enumerate((stores, other))
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, VersionConflict) for result in results) == 1
        assert [memory.version for memory in await page(other)] == [2]


async def test_an_outcome_that_stays_unclear_is_said_to_be(
    database_url: str, open_at: OpenStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POSTGRES_UNCLEAR_S", 0.2)
    async with Cutter(database_url) as cutter:
        stores = await open_at(cutter.url)
        cutter.cuts = ["after", *CUTS[:1] * 1_000]
        with pytest.raises(StoreBusy, match="the outcome is unknown"):
            await remember(stores, "m1", request=request("r"))
        cutter.cuts = []
        again = await remember(stores, "m1", request=request("r"))
        assert (again.seq, again.replayed) == (1, True)


async def test_a_commit_that_waited_for_a_standby_when_its_connection_was_cut(
    postgres18: Launcher, open_at: OpenStores
) -> None:
    """It is on the primary's disk and nowhere else. It is acknowledged when the standby has it, not before."""
    primary = await asyncio.to_thread(postgres18.server)
    standby = await asyncio.to_thread(postgres18.standby, primary)
    stores = await open_at(primary.url())
    await remember(stores, "m0")
    await asyncio.to_thread(_demand_standby, primary, standby)
    writing = asyncio.create_task(remember(stores, "m1", request=request("r")))
    await asyncio.to_thread(_cut_who_waits, primary)
    await asyncio.to_thread(_wait_for_waiting, primary)  # the resolving one waits as well
    assert not writing.done()
    await asyncio.to_thread(standby.resume)
    written = await writing
    assert (written.seq, written.durability.value) == (2, "replicated")
    assert len(await _rows(standby.url(), open_at, primary)) == 2
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(standby.kill)


async def _rows(url: str, open_at: OpenStores, primary: Postgres) -> list[str]:
    found = await asyncio.to_thread(primary.send, "SELECT memory_id FROM memd.memory")
    return [one[0] for one in found]


def _demand_standby(primary: Postgres, standby: Postgres) -> None:
    primary.set(synchronous_standby_names="*", synchronous_commit="on")
    primary.wait_for_standby()
    standby.hang()


def _waiting(primary: Postgres) -> list[int]:
    found = primary.send("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'memd'")
    return [one[0] for one in found]


def _wait_for_waiting(primary: Postgres) -> None:
    wait_until(lambda: bool(_waiting(primary)), FOLLOW_TIMEOUT_S, "a commit to wait for the standby")


def _cut_who_waits(primary: Postgres) -> None:
    _wait_for_waiting(primary)
    for pid in _waiting(primary):
        primary.send("SELECT pg_terminate_backend($1)", pid)


class TestServerGone:
    async def test_writes_fail_clearly_and_work_again(self, postgres_launcher: Launcher, open_at: OpenStores) -> None:
        server = await asyncio.to_thread(postgres_launcher.server)
        stores = await open_at(server.url())
        await remember(stores, "m1")
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreBusy):
            await stores.memories.remember("n", [draft("m2")], fence=1, writer="w", request=request("r"))
        with pytest.raises(StoreBusy):
            await stores.memories.fence("n")
        with pytest.raises(StoreBusy):
            await stores.changes.heads(["n"])
        await asyncio.to_thread(server.start)
        written = await stores.memories.remember("n", [draft("m2")], fence=1, writer="w", request=request("r"))
        assert (written.seq, written.replayed) == (2, False)
        await asyncio.to_thread(server.kill)

    async def test_a_server_that_hangs_is_given_up_in_time(self, postgres18: Launcher, open_at: OpenStores) -> None:
        server = await asyncio.to_thread(postgres18.server)
        stores = await open_at(server.url(), timeout_s=0.3, connect_timeout_s=0.3)
        await remember(stores, "m1")
        await asyncio.to_thread(server.hang)
        with pytest.raises(StoreBusy):
            await stores.memories.remember("n", [draft("m2")], fence=1, writer="w", request=None)
        await asyncio.to_thread(server.resume)
        assert (await _patiently(stores)).seq == 2
        await asyncio.to_thread(server.kill)

    async def test_read_only_is_said(self, postgres_launcher: Launcher, open_at: OpenStores) -> None:
        server = await asyncio.to_thread(postgres_launcher.server)
        stores = await open_at(server.url())
        await asyncio.to_thread(server.set, default_transaction_read_only="on")
        with pytest.raises(StoreBusy, match="read-only"):
            await stores.memories.remember("n", [draft("m1")], fence=0, writer="w", request=None)
        await asyncio.to_thread(server.kill)


async def _patiently(stores: PostgresStores) -> Remembered:
    while True:
        try:
            return await stores.memories.remember("n", [draft("m2")], fence=1, writer="w", request=None)
        except StoreBusy:
            await asyncio.sleep(0.05)
