"""The compact job: a file that is mostly free gets shorter, the rows stay, writers go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from memd.domain.model import Memory, NamespaceSettings, NewMemory, Scope
from memd.ports import Space
from memd.service.compaction import Compactor
from memd.service.jobs import Ran
from tests.service.conftest import House
from tests.service.test_retention import VECTOR

SCOPE = Scope("ns", "ada")
MEMORIES = 1_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test are small."""
    monkeypatch.setattr("memd.service.compaction.COMPACT_MIN_BYTES", 64 * 1024)
    monkeypatch.setattr("memd.service.compaction.COMPACT_STEP_BYTES", 64 * 1024)
    monkeypatch.setattr("memd.service.compaction.COMPACT_PAUSE_S", 0.0)


async def fill(house: House, start: int = 0, count: int = MEMORIES) -> None:
    for at in range(start, start + count, 250):
        names = [f"m{n:05}" for n in range(at, min(at + 250, start + count))]
        drafts = [NewMemory(Memory(memory_id=one, scope=SCOPE, content=f"{one} " * 40), (VECTOR,)) for one in names]
        fence = await house.stores.memories.fence("ns")
        await house.stores.memories.remember("ns", drafts, fence=fence, writer="w", request=None)


async def halve(house: House) -> None:
    settings = NamespaceSettings(retention_max_count=MEMORIES // 2)
    await house.admin.update_settings("ns", settings, writer="w", confirmed=True)
    assert (await house.retention.run_once()).changed == MEMORIES // 2


async def test_the_file_gets_shorter_and_the_rows_stay(house: House, tmp_path: Path) -> None:
    await fill(house)
    job = Compactor(house.stores.compaction)
    assert await job.run_once() == Ran(0, 0)
    await halve(house)
    before = await house.stores.compaction.space()
    assert before.free_bytes > 0.4 * before.bytes
    due = await job.due()
    ran = await job.run_once()
    assert ran.examined == ran.changed
    assert due <= ran.changed < due + 64 * 1024, "in whole pages, the last ones of which may only have told of others"
    after = await house.stores.compaction.space()
    assert after.bytes == before.bytes - ran.changed
    assert after.free_bytes < 0.15 * after.bytes, "a part stays for the next rows"
    assert await job.run_once() == Ran(0, 0)
    assert (await house.admin.verify("ns")).ok
    house.index.close()
    house.stores.close()
    file = (tmp_path / "data" / "memd.db").read_bytes()
    assert len(file) == after.bytes
    assert b"m00999 m00999" in file
    assert b"m00001 m00001" not in file, "a page that moved brought back what had been deleted"


async def test_a_run_is_bounded_and_the_next_one_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memd.service.compaction.COMPACT_STEPS", 3)
    await fill(house)
    await halve(house)
    job = Compactor(house.stores.compaction)
    total, runs = await job.due(), 0
    assert total > 4 * 3 * 64 * 1024
    given = 0
    while (ran := await job.run_once()).changed:
        assert ran.changed <= 3 * 64 * 1024
        given += ran.changed
        runs += 1
    assert runs > 4, "below the share at which it begins it goes on until it is done"
    assert given >= total


async def test_writers_go_on_beside_it(house: House) -> None:
    await fill(house)
    await halve(house)
    job = Compactor(house.stores.compaction)
    running = asyncio.create_task(job.run_once())
    await asyncio.gather(*(fill(house, MEMORIES + 10 * n, 10) for n in range(20)))
    assert (await running).changed > 0
    assert (await house.admin.stats("ns")).memories == MEMORIES // 2 + 200
    assert (await house.admin.verify("ns")).ok


async def test_little_free_space_is_left_alone(house: House) -> None:
    class Full:
        async def space(self) -> Space:
            return Space(bytes=100_000_000, free_bytes=24_000_000)

        async def give_back(self, max_bytes: int) -> int:
            raise AssertionError("there is nothing to give back")

    assert await Compactor(Full()).run_once() == Ran(0, 0)
