"""The change log: gap-free and in the order of commits, whoever writes; and what a replica gets from it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from memd.adapters.postgres import PostgresStores, changes, sweeping
from memd.domain.model import NamespaceSettings, Outcome, OutcomeReport
from memd.domain.visibility import EVERYTHING
from memd.limits import MAX_CHANGE_BATCH
from memd.ports import Head, MemoryChange
from tests.contract.builders import draft, procedure, vector
from tests.postgres.calls import Follower, forget, forget_all, page, remember
from tests.postgres.conftest import OpenStores
from tests.servers.postgres import FOLLOW_TIMEOUT_S, Launcher, Postgres
from tests.servers.redis import wait_until

WRITERS = 16
WRITES = 12


class TestOrder:
    async def test_writers_of_two_daemons_get_gap_free_numbers_and_a_poller_misses_none(
        self, open_stores: OpenStores
    ) -> None:
        daemons = [await open_stores(), await open_stores()]
        follower = Follower()
        seqs: list[int] = []

        async def write(writer: int) -> None:
            for i in range(WRITES):
                written = await remember(daemons[writer % 2], f"m{writer}-{i}", f"shared {i}")
                seqs.append(written.seq)

        async def poll() -> None:
            while len(seqs) < WRITERS * WRITES:
                before = follower.at.seq
                assert await follower.step(daemons[0])
                assert follower.at.seq >= before

        await asyncio.gather(poll(), *(write(writer) for writer in range(WRITERS)))
        assert sorted(seqs) == list(range(1, WRITERS * WRITES + 1))
        assert await follower.catch_up(daemons[1])
        reloaded = Follower()
        await reloaded.reload(daemons[0])
        assert (follower.at, follower.memories) == (reloaded.at, reloaded.memories)
        assert (await daemons[0].memories.verify("n"))[2] == []

    async def test_ids_in_any_order_do_not_deadlock(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        names = [f"m{i}" for i in range(6)]

        async def write(i: int) -> None:
            turned = names[i % 6 :] + names[: i % 6]
            await remember(stores, *(turned if i % 2 else reversed(turned)), content=f"text {i}")

        await asyncio.gather(*(write(i) for i in range(24)))
        assert sorted(memory.memory_id for memory in await page(stores)) == names
        assert {memory.version for memory in await page(stores)} == {24}

    async def test_a_write_that_fails_takes_no_number(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        await remember(stores, "m1")
        with pytest.raises(Exception, match="no such memory"):
            await stores.memories.remember("n", [draft("m2", supersedes="nobody")], fence=1, writer="w", request=None)
        assert (await remember(stores, "m3")).seq == 2


class TestChanges:
    async def test_every_kind_of_change_reaches_a_follower(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        follower = Follower()
        await remember(stores, "kept", "changed", "gone")
        assert await follower.catch_up(stores)
        change = MemoryChange({"content": "other"}, (vector(7),))
        await stores.memories.update(
            "n", "changed", EVERYTHING, change, expected_version=0, fence=1, writer="w", request=None
        )
        await forget(stores, "gone")
        put = procedure("key")
        fence = await stores.memories.fence("n")
        await stores.procedures.put(put, (vector(),), expected_version=None, fence=fence, writer="w", request=None)
        await stores.procedures.report("n", put.procedure_id, 1, OutcomeReport(Outcome.SUCCESS), None)
        await stores.settings.put_settings(
            "n", NamespaceSettings(working_max_items=3), expected_version=0, writer="w", request=None
        )
        assert await follower.step(stores)
        batch = follower.batches[-1]
        assert batch.deleted == (("memory", "gone"),)
        ((changed,), (shown,)) = batch.memories, batch.procedures
        assert (changed.content, changed.embeddings) == ("other", (vector(7),))
        assert (shown.procedure.successes, shown.embeddings) == (1, (vector(),))
        assert batch.settings == NamespaceSettings(working_max_items=3, version=1)
        assert batch.reached.seq == 6
        assert set(follower.memories) == {"kept", "changed"}

    async def test_forget_everything_clears_and_what_came_after_stays(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        follower = Follower()
        await remember(stores, "before")
        await follower.catch_up(stores)
        await forget_all(stores)
        await remember(stores, "after")
        assert await follower.catch_up(stores)
        assert follower.batches[-1].cleared == ("memory", "procedure")
        assert set(follower.memories) == {"after"}

    async def test_a_forget_that_found_nothing_still_has_a_line(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        await forget(stores, "nobody")
        follower = Follower()
        assert await follower.catch_up(stores)
        assert follower.at.seq == 1

    async def test_batches_end_between_change_numbers(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        for start in (0, 1):
            names = [f"m{start}-{i:03d}" for i in range(MAX_CHANGE_BATCH // 2 + 1)]
            for part in (names[:256], names[256:]):
                await remember(stores, *part)
        await forget(stores, *(memory.memory_id for memory in await page(stores)))
        follower = Follower()
        assert await follower.catch_up(stores)
        assert [batch.reached.seq for batch in follower.batches] == [2, 4, 5]
        assert len(follower.batches[-1].deleted) == 2 * (MAX_CHANGE_BATCH // 2 + 1) > MAX_CHANGE_BATCH
        assert follower.memories == {}

    async def test_many_namespaces_at_once_each_get_their_own(
        self, open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Asked in one round trip: those with nothing, with more than their share, with one number over it, in another
        history, and with a change of each kind."""
        monkeypatch.setattr(changes, "MAX_CHANGE_BATCH", 12)
        stores = await open_stores()
        for i in range(5):
            await remember(stores, f"a{i}", namespace="a")
        await remember(stores, *(f"b{i}" for i in range(5)), namespace="b")
        await remember(stores, "c0", namespace="c")
        other = dataclasses.replace((await stores.changes.heads(["c"]))["c"], epoch=1)
        await stores.settings.put_settings(
            "e", NamespaceSettings(working_max_items=3), expected_version=0, writer="w", request=None
        )
        asked = [("a", Head(0, 0)), ("b", Head(0, 0)), ("c", other), ("nobody", Head(0, 0)), ("e", Head(0, 0))]
        a, b, c, nobody, e = await asyncio.gather(*(stores.changes.changes(*one) for one in asked))
        assert a is not None
        assert (a.reached.seq, [one.memory_id for one in a.memories]) == (1, ["a0"])
        assert b is not None
        assert (b.reached.seq, len(b.memories)) == (1, 5)
        assert c is None
        assert nobody is not None
        assert nobody.reached == Head(0, 0)
        assert e is not None
        assert e.settings is not None
        assert e.settings.working_max_items == 3

    async def test_a_namespace_nobody_wrote_to(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        assert dict(await stores.changes.heads(["n"])) == {}
        follower = Follower()
        assert await follower.step(stores)
        await follower.reload(stores)
        assert follower.at == Head(0, 0)

    async def test_a_snapshot_is_of_one_moment(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        await remember(stores, "m1")
        batches = stores.changes.snapshot("n")
        seen = [await anext(batches)]
        await remember(stores, "late")
        seen += [batch async for batch in batches]
        assert {batch.reached.seq for batch in seen} == {1}
        assert [one.memory_id for batch in seen for one in batch.memories] == ["m1"]

    async def test_the_snapshot_of_many_rows_comes_in_batches(
        self, open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changes, "MAX_CHANGE_BATCH", 3)
        stores = await open_stores()
        await remember(stores, *(f"m{i}" for i in range(7)))
        follower = Follower()
        await follower.reload(stores)
        assert [len(batch.memories) for batch in follower.batches] == [0, 3, 3, 1]
        assert len(follower.memories) == 7


class TestReload:
    async def test_a_log_that_was_trimmed(self, open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweeping, "MAX_CHANGE_LOG", 2)
        stores = await open_stores()
        await remember(stores, "m0")
        early, late = Follower(), Follower()
        await early.catch_up(stores)
        for i in range(1, 5):
            await remember(stores, f"m{i}")
            if i == 2:
                await late.catch_up(stores)
        assert await stores.memories.sweep(100) == 3
        assert not await early.step(stores)
        assert await late.step(stores)
        assert late.at.seq == 5

    async def test_what_another_history_gave_out(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        await remember(stores, "m1")
        head = (await stores.changes.heads(["n"]))["n"]
        assert await stores.changes.changes("n", head) is not None
        for other in (dataclasses.replace(head, seq=head.seq + 1), dataclasses.replace(head, epoch=head.epoch + 1)):
            assert await stores.changes.changes("n", other) is None

    async def test_a_restart_of_the_server_loses_nothing_and_nobody_reloads(
        self, postgres_launcher: Launcher, open_at: OpenStores
    ) -> None:
        server = await asyncio.to_thread(postgres_launcher.server)
        stores = await open_at(server.url())
        await remember(stores, "m1")
        follower = Follower()
        await follower.catch_up(stores)
        before = follower.at
        await asyncio.to_thread(server.restart)
        await remember(stores, "m2")
        assert await follower.catch_up(stores)
        assert follower.at.epoch != before.epoch, "the first write after a start begins an epoch"
        assert set(follower.memories) == {"m1", "m2"}
        await asyncio.to_thread(server.kill)

    async def test_a_standby_that_missed_commits_and_was_promoted(
        self, postgres18: Launcher, open_at: OpenStores
    ) -> None:
        """It gives numbers out a second time, which must not be taken for those that were lost."""
        primary = await asyncio.to_thread(postgres18.server)
        old = await open_at(primary.url())
        await remember(old, "m1")
        standby = await asyncio.to_thread(postgres18.standby, primary)
        in_step, ahead = Follower(), Follower()
        await in_step.catch_up(old)
        await asyncio.to_thread(_detach, primary, standby)
        await remember(old, "lost")
        await ahead.catch_up(old)
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(standby.promote)
        new = await open_at(standby.url())
        assert not await ahead.step(new), "it is ahead of the head"
        await remember(new, "instead")
        await remember(new, "and more")
        assert not await ahead.step(new), "the head has passed it"
        await ahead.reload(new)
        assert await in_step.catch_up(new)
        assert ahead.memories == in_step.memories
        assert set(in_step.memories) == {"m1", "instead", "and more"}
        await asyncio.to_thread(standby.kill)


def _detach(primary: Postgres, standby: Postgres) -> None:
    """Let the standby have all there is, and nothing that comes."""
    target = primary.send("SELECT pg_current_wal_flush_lsn()::text")[0][0]
    replayed = "SELECT 1 WHERE pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    wait_until(lambda: bool(standby.send(replayed, target)), FOLLOW_TIMEOUT_S, "the standby to follow")
    standby.set(primary_conninfo="")
    gone = "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
    wait_until(lambda: bool(standby.send(gone)), FOLLOW_TIMEOUT_S, "the standby to let go")


class TestHints:
    async def test_an_announcement_reaches_the_others(self, open_stores: OpenStores) -> None:
        writer, reader = await open_stores(), await open_stores()
        hints = await reader.changes.hints()
        many = [f"namespace-{i:04d}-{'x' * 100}" for i in range(200)]
        await writer.changes.announce(many)
        await writer.changes.announce(["quoted \" and ' one"])
        seen: set[str] = set()
        while len(seen) < 201:
            seen |= set(await anext(hints))
        assert seen == {*many, "quoted \" and ' one"}

    async def test_hints_end_with_their_connection(self, database_url: str, open_stores: OpenStores) -> None:
        stores = await open_stores()
        hints = await stores.changes.hints()
        await _cut_listeners(stores)
        assert [names async for names in hints] == []

    async def test_hints_end_when_the_stores_close(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        hints = await stores.changes.hints()
        await stores.close()
        assert [names async for names in hints] == []


async def _cut_listeners(stores: PostgresStores) -> None:
    async with stores._database.connections.own() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        )


class TestWatching:
    async def test_a_watcher_is_told_each_change_and_whose_forget_it_was(self, open_stores: OpenStores) -> None:
        stores = await open_stores()
        await remember(stores, "a", "b")
        await forget(stores, "a")
        log = stores.change_log
        found = await log.memory_lines("n", Head(0, 0))
        assert found is not None
        assert found.reached == await log.head("n")
        told = [(line.memory_id, line.memory is None, len(line.forgotten_for)) for line in found.lines]
        assert told == [("b", False, 0), ("a", True, 1)]  # what was put and is gone has the line of its end alone
        nothing = await log.memory_lines("n", found.reached)
        assert nothing is not None
        assert (nothing.reached, nothing.lines) == (found.reached, ())

    async def test_a_position_of_another_history_or_that_was_trimmed_is_lost(
        self, open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stores = await open_stores()
        for name in ("a", "b", "c"):
            await remember(stores, name)
        head = await stores.change_log.head("n")
        assert await stores.change_log.memory_lines("n", Head(1, head.epoch + 1)) is None
        assert await stores.change_log.memory_lines("n", Head(head.seq + 1, 0)) is None
        monkeypatch.setattr(sweeping, "MAX_CHANGE_LOG", 1)
        await stores.memories.sweep(100)
        assert await stores.change_log.memory_lines("n", Head(1, head.epoch)) is None
        assert await stores.change_log.memory_lines("n", Head(head.seq - 1, head.epoch)) is not None
