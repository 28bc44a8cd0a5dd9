"""The writer thread: what waits together shares an fsync, and nothing else."""

from __future__ import annotations

import asyncio
import threading

import pytest

from memd.adapters.sqlite import heads, writer
from memd.domain.errors import LimitExceeded, NotFound, ShuttingDown
from memd.domain.model import EventKind, Scope
from memd.domain.visibility import EVERYTHING
from tests import faultvfs
from tests.contract.builders import POLICY, SESSION, draft, event, request
from tests.sqlite.conftest import Open

ALL = frozenset[EventKind]()


def session(k: int) -> Scope:
    return Scope("n", "u", "a", f"s{k}")


async def test_one_write_costs_one_fsync(open_stores: Open, faults: faultvfs.Faults) -> None:
    stores = open_stores(vfs=faultvfs.NAME)
    await stores.sessions.append(SESSION, [event("first")], POLICY, None)
    before = faults.counts["sync"]
    for i in range(10):
        await stores.sessions.append(SESSION, [event(f"e{i}")], POLICY, request(f"r{i}"))
    assert faults.counts["sync"] - before == 10


async def test_writes_that_wait_together_share_their_fsync(open_stores: Open, faults: faultvfs.Faults) -> None:
    stores = open_stores(vfs=faultvfs.NAME)
    await stores.sessions.append(SESSION, [event("first")], POLICY, None)
    before = faults.counts["sync"]
    appends = [stores.sessions.append(session(k), [event("e")], POLICY, request(f"r{k}")) for k in range(200)]
    await asyncio.gather(*appends)
    assert faults.counts["sync"] - before <= 8


async def test_different_writes_share_their_fsync(open_stores: Open, faults: faultvfs.Faults) -> None:
    stores = open_stores(vfs=faultvfs.NAME)
    await stores.sessions.append(SESSION, [event("first")], POLICY, None)
    before = faults.counts["sync"]
    fence = await stores.memories.fence("n")
    await asyncio.gather(
        *(stores.sessions.append(session(k), [event("e")], POLICY, None) for k in range(20)),
        *(stores.memories.remember("n", [draft(f"m{k}")], fence=fence, writer="w", request=None) for k in range(20)),
        *(
            stores.tasks.save("n", f"t{k}", b"x", expected_version=0, ttl_us=10**9, keep=1, request=None)
            for k in range(20)
        ),
    )
    assert faults.counts["sync"] - before <= 6
    assert len((await stores.memories.page("n", EVERYTHING, size=100, cursor="")).items) == 20


async def test_a_request_that_fails_rolls_back_alone(open_stores: Open) -> None:
    """In one batch: a failing one between others of the same and of another kind."""
    stores = open_stores()
    fence = await stores.memories.fence("n")
    results = await asyncio.gather(
        stores.sessions.append(SESSION, [event("a")], POLICY, None),
        stores.memories.remember("n", [draft("m1")], fence=fence, writer="w", request=None),
        stores.memories.remember(
            "n", [draft("m2"), draft("m3", supersedes="?")], fence=fence, writer="w", request=None
        ),
        stores.sessions.end(session(99), None),
        stores.memories.remember("n", [draft("m4")], fence=fence, writer="w", request=None),
        stores.sessions.append(SESSION, [event("b")], POLICY, None),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == [
        "Appended",
        "Written",
        "NotFound",
        "NotFound",
        "Written",
        "Appended",
    ]
    assert [memory.memory_id for memory in stores.memories.fetch("n", ["m1", "m2", "m3", "m4"])] == ["m1", "m4"]
    assert [one.event_id for one in (await stores.sessions.working(SESSION, POLICY)).items] == ["a", "b"]


async def test_one_session_too_many_fails_alone(open_stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_SESSIONS_PER_USER", 3)
    stores = open_stores()
    appends = [stores.sessions.append(session(k), [event("e")], POLICY, None) for k in range(5)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert [isinstance(result, LimitExceeded) for result in results] == [False] * 3 + [True] * 2
    assert (await stores.sessions.count(Scope("n"), all_users=True)) == {"events": 3, "sessions": 3}
    await stores.sessions.append(session(1), [event("f")], POLICY, None)


async def test_bookkeeping_in_memory_equals_the_rows(open_stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions fall out of the cache, requests roll back around them, and every position stays right."""
    monkeypatch.setattr(heads, "SESSION_HEADS", 2)
    stores = open_stores()
    for i in range(12):
        await asyncio.gather(
            *(
                stores.sessions.append(session(k), [event(f"{i}", ephemeral=i % 3 == 0)], POLICY, None)
                for k in range(5)
            ),
            stores.sessions.append(session(0), [event("0"), event("0")], POLICY, None),
            *(stores.sessions.end(session(9), None) for _ in range(2)),
            return_exceptions=True,
        )
    for k in range(5):
        working = await stores.sessions.working(session(k), POLICY)
        assert [(one.event_id, one.position) for one in working.items] == [("9", 10), ("10", 11), ("11", 12)]
        page = await stores.sessions.episodes(session(k), POLICY, kinds=ALL, size=9, cursor="")
        assert [one.event_id for one in page.items] == ["11", "10", "8", "7", "5"]


async def test_a_cancelled_callers_write_is_kept(open_stores: Open) -> None:
    gate = threading.Event()
    stores = open_stores(sink=lambda changes: gate.wait(10) and None)
    fence = await stores.memories.fence("n")
    holding = asyncio.create_task(stores.memories.remember("n", [draft("m0")], fence=fence, writer="w", request=None))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(stores.sessions.append(session(k), [event("e")], POLICY, None)) for k in range(5)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    gate.set()
    await holding
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await stores.sessions.append(SESSION, [event("after")], POLICY, None)
    assert (await stores.sessions.count(Scope("n"), all_users=True))["sessions"] == 6


async def test_the_queue_is_bounded(open_stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WRITE_QUEUE_DEPTH", 3)
    gate = threading.Event()
    stores = open_stores(sink=lambda changes: gate.wait(10) and None)
    fence = await stores.memories.fence("n")
    holding = asyncio.create_task(stores.memories.remember("n", [draft("m0")], fence=fence, writer="w", request=None))
    await asyncio.sleep(0.05)
    appends = [stores.sessions.append(session(k), [event("e")], POLICY, None) for k in range(5)]
    tasks = [asyncio.create_task(one) for one in appends]
    await asyncio.sleep(0)
    assert stores.stats().queue_depth == 3
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, LimitExceeded) for result in results] == [False] * 3 + [True] * 2
    assert results[3].retry_after_s > 0  # type: ignore[union-attr]
    await holding


async def test_closing_finishes_what_waits_and_refuses_the_rest(open_stores: Open) -> None:
    stores = open_stores()
    tasks = [asyncio.create_task(stores.sessions.append(session(k), [event("e")], POLICY, None)) for k in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(stores.close)
    assert all(result.seq == 1 for result in await asyncio.gather(*tasks))
    with pytest.raises(ShuttingDown):
        await stores.sessions.append(SESSION, [event("e")], POLICY, None)
    with pytest.raises(ShuttingDown):
        await stores.sessions.working(SESSION, POLICY)
    again = open_stores()
    assert (await again.sessions.count(Scope("n"), all_users=True))["sessions"] == 50


async def test_a_bug_in_one_request_reaches_its_caller_alone(open_stores: Open) -> None:
    stores = open_stores()
    broken = event("e", metadata={"not json": object()})
    with pytest.raises(TypeError):
        await stores.sessions.append(SESSION, [broken], POLICY, None)
    fence = await stores.memories.fence("n")
    results = await asyncio.gather(
        stores.memories.remember("n", [draft("m1", metadata={"x": object()})], fence=fence, writer="w", request=None),
        stores.memories.remember("n", [draft("m2")], fence=fence, writer="w", request=None),
        return_exceptions=True,
    )
    assert isinstance(results[0], TypeError)
    assert not isinstance(results[1], BaseException)
    with pytest.raises(NotFound):
        await stores.sessions.end(session(1), None)
