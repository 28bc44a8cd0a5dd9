"""Compression behind the replies, over a real SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from memd._core import TokenCounter
from memd.adapters.sqlite import SqliteStores
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.domain.model import Event, EventKind, NamespaceSettings, Scope, WorkingSet
from memd.domain.settings import DaemonDefaults
from memd.limits import COMPRESSION_QUEUE, COMPRESSION_SCAN_PAUSE_S, COMPRESSION_SCAN_SESSIONS
from memd.ports import Summarizer, Summary, SummaryRequest
from memd.service.compression import CompressionService
from memd.service.compression_scan import CompressionScan
from memd.service.observe import UNSCORED, ObserveService
from memd.service.policy import PolicySource
from tests.contract.builders import MODEL
from tests.service.conftest import SettableClock

SCOPE = Scope("n", "ada", "", "s1")
EARLY = Scope("n", "ada", "", "early")


class HandWound(SettableClock):
    def __init__(self) -> None:
        super().__init__()
        self.at_s = 1.0

    def monotonic_s(self) -> float:
        return self.at_s


class Gate:
    """A summarizer that waits until it is let go on."""

    def __init__(self, then: Summarizer) -> None:
        self._then = then
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def summarize(self, request: SummaryRequest) -> Summary:
        self.asked.set()
        await self.open.wait()
        return await self._then.summarize(request)

    async def close(self) -> None:
        await self._then.close()


class Wordy:
    """Answers with more than was asked for."""

    async def summarize(self, request: SummaryRequest) -> Summary:
        return Summary("word " * 10_000, 10_000, "wordy")

    async def close(self) -> None:
        return None


class Daemon:
    """As much of one as compression needs."""

    def __init__(self, stores: SqliteStores, summarizer: Summarizer | None = None) -> None:
        self.stores = stores
        self.counter = TokenCounter()
        self.clock = HandWound()
        self.policy = PolicySource(stores.settings, DaemonDefaults())
        self.restart(summarizer)

    def restart(self, summarizer: Summarizer | None = None) -> None:
        extractive = ExtractiveSummarizer(self.counter)
        self.compression = CompressionService(self.stores.sessions, summarizer or extractive, extractive, self.clock)
        told = self.compression.observed
        self.observe = ObserveService(self.stores.sessions, self.counter, self.policy, self.clock, told)
        self.scan = CompressionScan(
            self.compression,
            self.stores.sessions,
            lambda: PolicySource(self.stores.settings, DaemonDefaults()),
            self.clock,
        )

    async def say(self, *texts: str, scope: Scope = SCOPE) -> None:
        events = [Event("", EventKind.TURN, text, role="user", importance=UNSCORED) for text in texts]
        await self.observe.observe(scope, events)

    async def working(self, scope: Scope = SCOPE) -> WorkingSet:
        return await self.stores.sessions.working(scope, await self.policy.policy("n"))

    async def settle(self) -> None:
        while self.compression.queue_depth:
            await self.compression.work()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[SqliteStores]:
    opened = SqliteStores.open(tmp_path / "data", model=MODEL, clock=SettableClock(), sink=lambda changes: None)
    yield opened
    opened.close()


@asynccontextmanager
async def working_on(daemon: Daemon) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(daemon.compression.work())
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def lines(count: int, start: int = 1) -> list[str]:
    numbers = range(start, start + count)
    return [f"Step {n}: the deploy of service-{n} failed with error E{n:03d} because of limit {n}." for n in numbers]


def kinds(working: WorkingSet) -> Sequence[bool]:
    return [event.kind is EventKind.SUMMARY for event in working.items]


async def test_twenty_items_stay_and_one_more_is_compressed(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    await daemon.say(*lines(20))
    await daemon.settle()
    assert kinds(await daemon.working()) == [False] * 20
    await daemon.say("one more")
    before = await daemon.working()
    await daemon.settle()
    after = await daemon.working()
    assert kinds(after) == [True, *[False] * 5]
    assert (after.items[0].summarized_from, after.items[0].summarized_through) == (1, 16)
    assert after.items[1:] == before.items[-5:]
    assert after.items[0].tokens <= sum(event.tokens for event in before.items[:16]) // 5


async def test_a_long_session_keeps_to_its_budget(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    for start in range(1, 600, 10):
        await daemon.say(*lines(10, start))
        await daemon.settle()
        working = await daemon.working()
        assert sum(not summary for summary in kinds(working)) <= 20
        assert working.tokens <= 8_000
    assert working.items[0].summarized_from == 1
    stands_for = [(one.summarized_from, one.summarized_through) for one in working.items if one.summarized_through]
    assert [start for start, _ in stands_for[1:]] == [end + 1 for _, end in stands_for[:-1]], "no gap, no overlap"
    assert working.items[len(stands_for)].position == stands_for[-1][1] + 1


async def test_a_new_process_finds_what_the_old_one_left(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    await daemon.say(*lines(30))
    daemon.restart()
    await daemon.say("after the crash")
    await daemon.settle()
    assert kinds(await daemon.working()) == [True, *[False] * 5]


async def test_idle_sessions_over_their_threshold_are_found_after_a_restart(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    scopes = [replace(SCOPE, session_id=f"s{number}") for number in range(COMPRESSION_SCAN_SESSIONS + 3)]
    for number, scope in enumerate(scopes):
        await daemon.say(*lines(30 if number % 2 else 3), scope=scope)
    daemon.restart()
    assert await daemon.scan.run_once() == COMPRESSION_SCAN_SESSIONS
    assert await daemon.scan.run_once() == 0, "those that were found come first"
    await daemon.settle()
    assert await daemon.scan.run_once() == 3
    await daemon.settle()
    for number, scope in enumerate(scopes):
        assert kinds(await daemon.working(scope)) == ([True, *[False] * 5] if number % 2 else [False] * 3)
    assert await daemon.scan.run_once() == 0, "the round is over"
    daemon.clock.at_s += COMPRESSION_SCAN_PAUSE_S
    assert await daemon.scan.run_once() == COMPRESSION_SCAN_SESSIONS
    assert daemon.compression.queue_depth == 0, "all are known to be within their limits"


async def test_lowered_limits_reach_sessions_that_rest(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    await daemon.say(*lines(12))
    await daemon.settle()
    lowered = NamespaceSettings(working_max_items=8)
    await stores.settings.put_settings("n", lowered, expected_version=0, writer="", request=None)
    assert await daemon.scan.run_once() == 1
    await daemon.settle()
    assert kinds(await daemon.working()) == [True, *[False] * 5]


async def test_observe_and_reads_go_on_while_a_summary_is_made(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    gate = Gate(ExtractiveSummarizer(daemon.counter))
    daemon.restart(gate)
    await daemon.say(*lines(21))
    async with working_on(daemon) as work:
        await gate.asked.wait()
        await daemon.say("said meanwhile")
        assert (await daemon.working()).items[-1].content == "said meanwhile"
        gate.open.set()
        await work
    after = await daemon.working()
    assert kinds(after) == [True, *[False] * 6]


async def test_what_was_cleared_meanwhile_does_not_come_back(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    gate = Gate(ExtractiveSummarizer(daemon.counter))
    daemon.restart(gate)
    await daemon.say(*lines(21))
    async with working_on(daemon) as work:
        await gate.asked.wait()
        await stores.sessions.forget(Scope("n", "ada"), all_users=False, receipt_id="r")
        await daemon.say("a new start")
        gate.open.set()
        await work
    assert [event.content for event in (await daemon.working()).items] == ["a new start"]
    assert daemon.compression.counts.late == 1


async def test_a_summary_longer_than_asked_is_not_taken(stores: SqliteStores) -> None:
    daemon = Daemon(stores, Wordy())
    await daemon.say(*lines(21))
    await daemon.settle()
    summary = (await daemon.working()).items[0]
    assert summary.metadata == {"summarizer": "extractive"}
    assert daemon.compression.counts.refused == 1


async def test_huge_items(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    huge = " ".join(f"{n}" for n in range(9_000))
    await daemon.say(huge)
    await daemon.settle()
    assert kinds(await daemon.working()) == [False]
    await daemon.say("and now?")
    await daemon.settle()
    working = await daemon.working()
    assert working.items[-1].content == "and now?"
    assert working.tokens <= 8_000


async def test_switched_off_for_a_namespace(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    settings = NamespaceSettings(compress=False)
    await stores.settings.put_settings("n", settings, expected_version=0, writer="w", request=None)
    await daemon.say(*lines(30))
    await daemon.settle()
    assert kinds(await daemon.working()) == [False] * 20


async def test_a_namespace_has_its_own_numbers(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    settings = NamespaceSettings(working_max_items=4, compress_keep=2)
    await stores.settings.put_settings("n", settings, expected_version=0, writer="w", request=None)
    await daemon.say(*lines(5))
    await daemon.settle()
    assert kinds(await daemon.working()) == [True, False, False]


async def test_a_full_queue_puts_off_and_finds_again(stores: SqliteStores) -> None:
    daemon = Daemon(stores)
    policy = await daemon.policy.policy("n")
    await daemon.say(*lines(21), scope=EARLY)
    for number in range(COMPRESSION_QUEUE - 1):
        daemon.compression.observed(replace(SCOPE, session_id=f"x{number}"), (), policy)
    await daemon.say(*lines(21))
    assert (daemon.compression.queue_depth, daemon.compression.counts.put_off) == (COMPRESSION_QUEUE, 1)
    await daemon.settle()
    assert kinds(await daemon.working()) == [False] * 21
    await daemon.say("again")
    await daemon.settle()
    assert kinds(await daemon.working()) == [True, *[False] * 5]
