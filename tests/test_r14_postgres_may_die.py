"""R14: Postgres may die, hang, turn read-only, fail over, and lose connections during COMMIT.

Writers go on through every fault, each write repeated under its request_id until it is acknowledged. A fault lasts until
the writers have met it and ends with writes that go through. Afterwards everything acknowledged is there, once, and nothing
else: a lost acknowledged write, a second effect and a phantom all show.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from memd.adapters.postgres import PostgresSettings, PostgresStores, database
from tests.contract.builders import MODEL
from tests.reliability.postgres_pair import Pair
from tests.reliability.server_writers import Writer
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher

FAULTS = scaled(20)
WRITERS = 4
BETWEEN = 8
"""Acknowledged writes before a fault, and after it."""
TIMEOUT_S = 1.0
WAIT_S = 60.0
CUTS = 6
POLL_S = 0.005


async def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        if done():
            return
        assert time.monotonic() < end, f"waited {WAIT_S:.0f} s for {what}"
        await asyncio.sleep(POLL_S)


class Load:
    def __init__(self, writers: list[Writer]) -> None:
        self.writers = writers

    async def refused(self) -> None:
        """Until a writer has met the fault."""
        before = sum(writer.refused for writer in self.writers)
        await until(lambda: sum(writer.refused for writer in self.writers) > before, "a writer to meet the fault")

    async def going(self, writes: int = BETWEEN) -> None:
        """Until every writer has had as many acknowledgements since now."""
        wanted = [writer.acknowledged + writes for writer in self.writers]
        await until(
            lambda: all(w.acknowledged >= n for w, n in zip(self.writers, wanted, strict=True)), "writes to go through"
        )


async def die(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.kill)
    await load.refused()
    await asyncio.to_thread(pair.primary.start)


async def hang(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.hang)
    await load.refused()
    await asyncio.to_thread(pair.primary.resume)


async def turn_read_only(pair: Pair, load: Load) -> None:
    await asyncio.to_thread(pair.primary.set, default_transaction_read_only="on")
    await load.refused()
    await asyncio.to_thread(pair.primary.set, default_transaction_read_only="off")


async def fail_over(pair: Pair, load: Load) -> None:
    await pair.fail_over()


async def cut_commits(pair: Pair, load: Load) -> None:
    pair.line.cuts += ["before", "after"] * (CUTS // 2)
    await until(lambda: not pair.line.cuts, "commits to be cut")


Fault = Callable[[Pair, Load], Awaitable[None]]
KINDS: tuple[Fault, ...] = (die, hang, turn_read_only, fail_over, cut_commits)


async def test_acknowledged_writes_survive_every_fault_of_postgres(
    postgres18: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POSTGRES_UNCLEAR_S", TIMEOUT_S)  # the writers ask again themselves
    faults = [KINDS[n % len(KINDS)] for n in range(FAULTS)]
    random.Random(14).shuffle(faults)
    async with Pair.start(postgres18) as pair:
        settings = PostgresSettings(pair.line.url, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S)
        stores = await PostgresStores.open(settings, model=MODEL)
        load = Load([Writer(stores, f"u{n}") for n in range(WRITERS)])
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as running:
            for writer in load.writers:
                running.create_task(writer.run(stop))
            await load.going()
            for fault in faults:
                await fault(pair, load)
                await load.going()
            stop.set()
        for writer in load.writers:
            await writer.check()
        assert sum(writer.replayed for writer in load.writers) > 0, "no unclear commit was resolved"
        await stores.close()
