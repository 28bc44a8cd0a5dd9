"""Many sidecars, one truth: what one wrote the others have, in order, without a hole, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from memd.domain.model import NamespaceSettings, Scope
from memd.domain.visibility import EVERYTHING, forgettable
from memd.limits import REPLICA_WAIT_S
from memd.ports import ChangeBatch, ForgetPlan, Head
from tests.contract.builders import draft, procedure, vector
from tests.replica.conftest import OpenSidecar
from tests.replica.sidecar import Sidecar

N = "n"
WRITERS = 8
WRITES = 20


async def test_a_write_is_found_by_the_very_next_search_of_its_sidecar(open_sidecar: OpenSidecar) -> None:
    a = await open_sidecar("a")
    for number in range(20):
        seq = await a.remember(N, f"m{number}")
        ids, index_seq = a.found(N)
        assert f"m{number}" in ids
        assert index_seq >= seq


async def test_what_a_sidecar_wrote_itself_it_does_not_ask_for(
    open_sidecar: OpenSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "first")
    asked = []
    changes = a.postgres.changes.changes

    async def counted(namespace: str, since: Head) -> ChangeBatch | None:
        asked.append(since)
        return await changes(namespace, since)

    monkeypatch.setattr(a.postgres.changes, "changes", counted)
    await a.remember(N, "second")
    assert (asked, a.found(N)) == ([], ({"first", "second"}, 2))
    await b.follower.follow(N, 2, REPLICA_WAIT_S)
    await b.remember(N, "third")
    await a.remember(N, "fourth")  # does not continue what is here
    assert (len(asked), a.found(N)) == (1, ({"first", "second", "third", "fourth"}, 4))
    assert (await a.verified(N)).ok


async def test_a_sidecar_keeps_of_its_own_writes_what_the_others_are_told(
    open_sidecar: OpenSidecar, tmp_path: Path
) -> None:
    """Embeddings in the precision of the database, and texts that Postgres keeps otherwise."""
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "first")
    scope, third = Scope(N, "u"), struct.pack("<4f", 1 / 3, 2 / 3, -1e-5, 0.1)
    drafts = [
        replace(draft("m1", "a\0b \ue000 \u00e9", scope=scope, speaker="Ada", tags=("t",)), embeddings=(third, third)),
        replace(draft("m2", scope=scope, metadata={"k": "v"}, expire_time=2**60), embeddings=()),
    ]
    await a.memories.remember(N, drafts, fence=1, writer="w", request=None)
    await b.follower.follow(N, 2, REPLICA_WAIT_S)
    assert _kept(tmp_path / "a") == _kept(tmp_path / "b")
    assert len(_kept(tmp_path / "a")) == 3


def _kept(data_dir: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(data_dir / "memd.db")) as connection:
        return connection.execute(
            "SELECT memory_id, user_id, agent_id, version, create_time, expire_time, fields, body, content, windows,"
            " vectors FROM memory JOIN embedding ON memory_pk = pk ORDER BY memory_id"
        ).fetchall()


async def test_a_replica_that_takes_long_to_ask_asks_less_often(
    open_sidecar: OpenSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await open_sidecar("a")
    await a.remember(N, "first")
    changes, takes_s, asked = a.postgres.changes.changes, 0.1, 0

    async def slow(namespace: str, since: Head) -> ChangeBatch | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(takes_s)
        return await changes(namespace, since)

    monkeypatch.setattr(a.postgres.changes, "changes", slow)
    begun = time.monotonic()
    while time.monotonic() - begun < 10 * takes_s:
        a.follower.hint([N])
        await asyncio.sleep(0.005)
    await a.follower.settled()
    assert 1 < asked <= (time.monotonic() - begun) / (2 * takes_s) + 2


async def test_min_seq_reads_what_another_sidecar_wrote_without_a_poll(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    for number in range(20):
        seq = await a.remember(N, f"m{number}")
        await b.follower.follow(N, seq, REPLICA_WAIT_S)
        ids, index_seq = b.found(N)
        assert f"m{number}" in ids
        assert index_seq >= seq


async def test_concurrent_writers_of_all_sidecars_leave_no_hole_anywhere(open_sidecar: OpenSidecar) -> None:
    sidecars = [await open_sidecar(name) for name in "abc"]

    async def write(writer: int) -> None:
        for number in range(WRITES):
            await sidecars[writer % 3].remember(N, f"w{writer}-{number}")

    polling = asyncio.ensure_future(_poll_for_ever(sidecars))
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    polling.cancel()
    await asyncio.wait([polling])
    wanted = {f"w{writer}-{number}" for writer in range(WRITERS) for number in range(WRITES)}
    for sidecar in sidecars:
        await sidecar.poll()
        assert sidecar.found(N) == (wanted, len(wanted))
        report = await sidecar.verified(N)
        assert report.ok, report


async def _poll_for_ever(sidecars: list[Sidecar]) -> None:
    while True:
        await asyncio.gather(*(sidecar.follower.poll() for sidecar in sidecars))
        await asyncio.sleep(0.005)


async def test_a_forget_reaches_every_replica(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "kept", "forgotten")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    scope = Scope(N, "u")
    plan = ForgetPlan(scope, forgettable(scope), memory_ids=("forgotten",))
    await a.memories.forget(plan, writer="w", request=None)
    assert a.found(N)[0] == {"kept"}
    await b.poll()
    assert b.found(N)[0] == {"kept"}
    everything = ForgetPlan(Scope(N), EVERYTHING, everything=True, all_users=True)
    await a.memories.forget(everything, writer="w", request=None)
    await b.poll()
    assert b.found(N)[0] == set()
    assert (await b.verified(N)).ok


async def test_procedures_and_settings_are_followed(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    assert (await b.policy.policy(N)).episodic_max_items == 1_000
    fence = await a.memories.fence(N)
    one = procedure("deploy")
    await a.procedures.put(one, (vector(),), expected_version=None, fence=fence, writer="w", request=None)
    await a.settings.put_settings(
        N, NamespaceSettings(episodic_max_items=3), expected_version=0, writer="w", request=None
    )
    await b.poll()
    assert [found.key for found in b.procedures.fetch(N, [one.procedure_id])] == ["deploy"]
    assert (await b.policy.policy(N)).episodic_max_items == 3


async def test_a_sidecar_that_was_away_catches_up_from_the_log(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "before")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    await b.close()
    await a.remember(N, "meanwhile")
    again = await open_sidecar("b")
    assert again.found(N) == ({"before", "meanwhile"}, 2)


async def test_a_trimmed_log_makes_it_reload(open_sidecar: OpenSidecar, database_url: str) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "before")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    await b.close()
    await a.remember(N, "m1")
    await a.remember(N, "m2")
    await _run(database_url, "DELETE FROM memd.change_log WHERE seq <= 2")
    again = await open_sidecar("b")
    assert again.found(N) == ({"before", "m1", "m2"}, 3)
    assert (await again.verified(N)).ok


async def test_another_history_makes_it_reload(open_sidecar: OpenSidecar, database_url: str) -> None:
    """As after a restore: numbers are given out again, for other changes."""
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "first")
    await a.remember(N, "lost")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    await _run(
        database_url,
        "DELETE FROM memd.memory WHERE memory_id = 'lost'; DELETE FROM memd.change_log WHERE seq = 2;"
        " UPDATE memd.namespace_head SET seq = 1",
    )
    await b.poll()
    assert b.found(N) == ({"first"}, 1)


async def test_what_is_not_followed_any_more_leaves_the_disk(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b", most=2)
    for name in ("n1", "n2", "n3"):
        await a.remember(name, "m")
        await b.follower.follow(name, 0, REPLICA_WAIT_S)
        await b.follower.settled()
    await b.close()
    again = await open_sidecar("b", most=2)
    assert set(await again.local.replica.heads()) == {"n2", "n3"}


async def test_a_pool_of_one_connection_is_enough(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a", pool=1), await open_sidecar("b", pool=1)
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    seqs = await asyncio.gather(*(a.remember(N, f"m{number}") for number in range(WRITES)))
    await b.follower.follow(N, max(seqs), REPLICA_WAIT_S)
    await b.poll()
    assert b.found(N) == a.found(N) == ({f"m{number}" for number in range(WRITES)}, WRITES)


async def test_what_hints_are_about_goes_along_with_what_is_in_a_hurry(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    names = [f"n{number}" for number in range(30)]
    for name in names:
        await b.follower.follow(name, 0, REPLICA_WAIT_S)
        await a.remember(name, "m")
    b.follower.hint([*names, "nobody follows this"])
    await b.follower.follow(names[0], 1, REPLICA_WAIT_S)  # it is in a hurry, and the others go along
    await b.follower.settled()
    assert all(b.found(name) == ({"m"}, 1) for name in names)


async def test_hints_are_quicker_than_polls(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    listening = asyncio.ensure_future(b.follower.listen())
    async with asyncio.timeout(10):
        while "m" not in b.found(N)[0]:  # nothing polls: only a hint brings it; the first may come before it listens
            await a.remember(N, "m", content=str(time.monotonic()))
            await asyncio.sleep(0.02)
    await b.follower.close()
    listening.cancel()
    await asyncio.wait([listening])


async def test_a_batch_that_does_not_continue_the_replica_is_refused(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.remember(N, "m1")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    head = (await b.local.replica.heads())[N]
    await a.remember(N, "m2")
    batch = await b.postgres.changes.changes(N, head)
    assert batch is not None
    assert await b.local.replica.apply(batch)
    assert not await b.local.replica.apply(batch)
    assert b.found(N) == ({"m1", "m2"}, 2)


async def test_a_load_that_was_interrupted_is_never_shown_as_whole(open_sidecar: OpenSidecar) -> None:
    a = await open_sidecar("a")
    await a.remember(N, "m1")
    await a.follower.close()
    await a.local.replica.begin(N)
    assert N not in await a.local.replica.heads()
    await a.close()
    again = await open_sidecar("a")
    assert not (await again.follower.follow(N, 0, REPLICA_WAIT_S)).reason
    assert again.found(N) == ({"m1"}, 1)


async def _run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()
