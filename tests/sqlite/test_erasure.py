"""What was deleted leaves the bytes of every file, not only the rows."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from memd.adapters.sqlite import SqliteStores
from memd.adapters.sqlite.scrub import Scrubber
from memd.domain.model import Memory, NewMemory, Scope
from memd.domain.visibility import EVERYTHING
from memd.limits import LAZY_ERASE_S, SECOND_US
from memd.ports import ForgetPlan, MemoryChange, SessionPolicy
from tests.contract.builders import MODEL, POLICY, SESSION, draft, event, procedure, vector
from tests.contract.conftest import ManualClock
from tests.sqlite.conftest import Open

WIDE = replace(MODEL, dimensions=96)
LONG = SessionPolicy(20, 8_000, 1_000, 3_600 * SECOND_US)


async def erased(stores: SqliteStores, clock: ManualClock, within_s: float = 1.0) -> None:
    clock.advance(int(within_s * SECOND_US))
    for _ in range(200):
        if stores.stats().erased:
            return
        clock.advance(SECOND_US // 10)
        await stores.sessions.clear_working(Scope("wake", "the", "writer", "up"), None)
        await asyncio.sleep(0.01)
    pytest.fail("the log was not emptied")


def leaks(directory: Path, secrets: list[bytes]) -> list[tuple[str, bytes]]:
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    return [(name, one[:16]) for one in secrets for name, data in files.items() if one in data]


async def test_a_random_life_leaves_nothing_of_what_it_forgot(
    open_stores: Open, clock: ManualClock, tmp_path: Path
) -> None:
    chance = random.Random(11)
    stores = open_stores(model=WIDE)
    living: dict[str, list[bytes]] = {}
    gone: list[bytes] = []
    number = 0

    def secret(length: int) -> str:
        nonlocal number
        number += 1
        return f"secret{number:06d}." + "x" * length

    for _ in range(10):
        drafts = []
        for _ in range(30):
            text, embedding = secret(chance.choice([5, 50, 300, 1_500, 6_000])), chance.randbytes(384)
            memory = Memory(f"m{number}", Scope("n", f"u{number % 3}"), text)
            drafts.append(NewMemory(memory, (embedding,) * chance.choice([1, 1, 3])))
            living[memory.memory_id] = [text[:13].encode(), embedding[:24], embedding[-24:]]
        fence = await stores.memories.fence("n")
        await stores.memories.remember("n", drafts, fence=fence, writer="w", request=None)
        for memory_id in chance.sample(sorted(living), 15):
            text, embedding = secret(chance.choice([3, 900, 5_000])), chance.randbytes(384)
            living[memory_id] += [text[:13].encode(), embedding[:24]]
            change = MemoryChange({"content": text}, (embedding,))
            await stores.memories.update(
                "n", memory_id, EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
            )
        victims = chance.sample(sorted(living), chance.choice([5, 20, 40]))
        plan = ForgetPlan(Scope("n"), EVERYTHING, memory_ids=tuple(victims))
        await stores.memories.forget(plan, writer="w", request=None)
        gone += [one for memory_id in victims for one in living.pop(memory_id)]
    await erased(stores, clock)
    assert leaks(tmp_path / "data", gone) == []
    assert leaks(tmp_path / "data", [living[next(iter(living))][0]]) != [], "the search itself must find what is there"
    for i in range(40):  # pages in memory must not bring it back
        fence = await stores.memories.fence("n")
        new = NewMemory(Memory(f"n{i}", Scope("n", "u1"), "y" * chance.choice([9, 900])), (chance.randbytes(384),))
        await stores.memories.remember("n", [new], fence=fence, writer="w", request=None)
    assert leaks(tmp_path / "data", gone) == []
    assert (await stores.memories.verify("n"))[2] == []


async def test_every_way_to_delete(open_stores: Open, clock: ManualClock, tmp_path: Path) -> None:
    stores = open_stores()
    fence = await stores.memories.fence("n")
    events = [event(f"e{i}", f"secret event {i}", ephemeral=i % 2 == 0) for i in range(4)]
    await stores.sessions.append(SESSION, events, LONG, None)
    await stores.sessions.append(replace(SESSION, session_id="gone"), [event("x", "secret session")], LONG, None)
    await stores.sessions.append(replace(SESSION, session_id="old"), [event("x", "secret expired")], POLICY, None)
    soon = draft("soon", "secret short", expire_time=clock.wall_us + 1_000)
    await stores.memories.remember("n", [soon, draft("m", "secret first")], fence=fence, writer="w", request=None)
    change = MemoryChange({"content": "public second"}, (vector(),))
    await stores.memories.update(
        "n", "m", EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
    )
    put = procedure("key", "secret procedure", trigger="secret trigger")
    await stores.procedures.put(put, (), expected_version=None, fence=fence, writer="w", request=None)
    for task_id in ("deleted", "forgotten"):
        state = f"secret state {task_id}".encode()
        await stores.tasks.save("n", task_id, state, expected_version=0, ttl_us=10**9, keep=1, request=None)
    assert len({secret for _, secret in leaks(tmp_path / "data", [b"secret event 1", b"secret first"])}) == 2

    await stores.sessions.clear_working(SESSION, None)
    await stores.sessions.forget(replace(SESSION, session_id="gone"), all_users=False, receipt_id="r")
    await stores.memories.forget(ForgetPlan(Scope("n"), EVERYTHING, memory_ids=("m",)), writer="w", request=None)
    await stores.procedures.delete("n", put.procedure_id, writer="w", request=None)
    await stores.tasks.delete("n", "deleted", None)
    await stores.tasks.forget("n", ["forgotten"], all_tasks=False, receipt_id="r")
    clock.advance(POLICY.ttl_us + 1_000)
    assert await stores.sessions.sweep(100) > 0
    assert await stores.memories.sweep(100) > 0
    await erased(stores, clock, LAZY_ERASE_S)
    secrets = [b"secret event 0", b"secret event 2", b"secret session", b"secret expired", b"secret short"]
    secrets += [b"secret first", b"public second", b"secret procedure", b"secret trigger"]
    secrets += [b"secret state deleted", b"secret state forgotten"]
    assert leaks(tmp_path / "data", secrets) == []
    assert leaks(tmp_path / "data", [b"secret event 1"]) == [("memd.db", b"secret event 1")]


async def test_a_reader_only_delays_it(open_stores: Open, clock: ManualClock, tmp_path: Path) -> None:
    stores = open_stores()
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("m", "secret")], fence=fence, writer="w", request=None)
    _, batches = stores.memories.load("n", "memory")
    await stores.memories.forget(ForgetPlan(Scope("n"), EVERYTHING, memory_ids=("m",)), writer="w", request=None)
    await asyncio.sleep(0.05)
    assert not stores.stats().erased
    assert [row.text for batch in batches for row in batch] == ["secret"], "its snapshot is intact"
    await erased(stores, clock)
    assert leaks(tmp_path / "data", [b"secret"]) == []


async def test_what_a_crash_left_in_the_log_goes_at_the_next_start(
    open_stores: Open, clock: ManualClock, tmp_path: Path
) -> None:
    stores = open_stores()
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("m", "secret")], fence=fence, writer="w", request=None)
    _, batches = stores.memories.load("n", "memory")  # keeps the log from being emptied
    await stores.memories.forget(ForgetPlan(Scope("n"), EVERYTHING, memory_ids=("m",)), writer="w", request=None)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("memd.db", "memd.db-wal"):
        (crashed / name).write_bytes((tmp_path / "data" / name).read_bytes())
    list(batches)
    assert leaks(crashed, [b"secret"]) != []
    again = open_stores(data_dir=crashed)
    await erased(again, clock)
    assert leaks(crashed, [b"secret"]) == []


class TestScrubber:
    """Balancing a b-tree leaves copies of cells in the gaps of pages, which ``secure_delete`` does not know of."""

    def residue(self, path: Path) -> tuple[apsw.Connection, list[bytes]]:
        """A database that has such copies of deleted rows."""
        chance = random.Random(5)
        database = apsw.Connection(str(path))
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = DELETE", "secure_delete = ON", "synchronous = OFF"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
        number, living = 0, {}
        for _ in range(400):
            with database:
                for _ in range(20):
                    number += 1
                    key = chance.randrange(1 << 40)
                    living[key] = f"secret{number:06d}."
                    value = living[key] + "x" * chance.choice([5, 300, 1_500])
                    database.execute("INSERT INTO t VALUES (?, ?)", (key, value))
                for key in chance.sample(sorted(living), min(len(living), 19)):
                    del living[key]
                    database.execute("DELETE FROM t WHERE k = ?", (key,))
            data = path.read_bytes()
            kept = set(living.values())
            gone = [s for s in (f"secret{i:06d}." for i in range(1, number + 1)) if s not in kept]
            left = [one.encode() for one in gone if one.encode() in data]
            if left:
                return database, left
        pytest.fail("SQLite leaves no residue any more: scrub.py is not needed")

    def test_it_removes_them_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "t.db"
        database, left = self.residue(path)
        rows = database.execute("SELECT * FROM t ORDER BY k").fetchall()
        scrubber = Scrubber(path)
        scrubber.note_everything()
        assert scrubber.scrub(sync=True) >= 1
        data = path.read_bytes()
        assert [one for one in left if one in data] == []
        scrubber.note_everything()
        assert scrubber.scrub(sync=True) == 0, "once is enough"
        database.close()
        database = apsw.Connection(str(path))
        assert database.execute("SELECT * FROM t ORDER BY k").fetchall() == rows
        assert database.pragma("integrity_check") == "ok"
        database.close()
        scrubber.close()
