"""The worker queue alone: order, bounds, cancellation; steps are plain functions held back by events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from memd.adapters.embed_onnx.workers import Job, Workers
from memd.domain.errors import LimitExceeded
from memd.limits import EMBED_QUERIES_BEFORE_WRITE, EMBED_QUEUE_DEPTH


class Bench:
    """One worker thread that stands still until ``go``, and a log of the steps in the order they ran."""

    def __init__(self) -> None:
        self.workers = Workers(1)
        self.ran: list[str] = []
        self._gate = threading.Event()
        self._started = threading.Event()

    async def hold(self) -> asyncio.Task[None]:
        def wait() -> None:
            self._started.set()
            self._gate.wait(10)

        held = asyncio.ensure_future(self.workers.submit(Job([wait], lambda: None), bulk=False))
        await asyncio.to_thread(self._started.wait, 10)
        return held

    def go(self) -> None:
        self._gate.set()

    def submit(self, *names: str, bulk: bool) -> asyncio.Task[str]:
        steps: list[Callable[[], None]] = [lambda name=name: self.ran.append(name) for name in names]  # type: ignore[misc]
        return asyncio.ensure_future(self.workers.submit(Job(steps, lambda: names[-1]), bulk=bulk))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.go()
    made.workers.close()


async def test_queries_run_before_bulk_and_batches_take_turns(bench: Bench) -> None:
    held = await bench.hold()
    jobs = [bench.submit("a1", "a2", bulk=True), bench.submit("b1", "b2", bulk=True), bench.submit("q", bulk=False)]
    await asyncio.sleep(0)
    assert bench.workers.depth() == 5
    bench.go()
    assert await asyncio.gather(*jobs) == ["a2", "b2", "q"]
    await held
    assert bench.ran == ["q", "a1", "b1", "a2", "b2"]


async def test_a_flood_of_queries_does_not_stop_writes(bench: Bench) -> None:
    held = await bench.hold()
    queries = [bench.submit(f"q{n}", bulk=False) for n in range(3 * EMBED_QUERIES_BEFORE_WRITE)]
    write = bench.submit("w1", "w2", bulk=True)
    await asyncio.sleep(0)
    bench.go()
    await asyncio.gather(held, write, *queries)
    assert bench.ran.index("w1") == EMBED_QUERIES_BEFORE_WRITE
    assert bench.ran.index("w2") == 2 * EMBED_QUERIES_BEFORE_WRITE + 1


@pytest.mark.parametrize("bulk", [False, True])
async def test_over_the_bound_is_refused_with_a_hint_and_the_rest_runs(bench: Bench, bulk: bool) -> None:
    held = await bench.hold()
    jobs = [bench.submit(str(n), bulk=bulk) for n in range(EMBED_QUEUE_DEPTH)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded) as refused:
        await bench.submit("over", bulk=bulk)
    assert refused.value.retry_after_s > 0
    other = bench.submit("other queue", bulk=not bulk)
    bench.go()
    await asyncio.gather(held, other, *jobs)
    assert len(bench.ran) == EMBED_QUEUE_DEPTH + 1
    assert "over" not in bench.ran


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_cancelled_callers_steps_leave_the_queue_and_never_run(bench: Bench, bulk: bool) -> None:
    held = await bench.hold()
    doomed = bench.submit("x1", "x2", "x3", bulk=bulk)
    kept = bench.submit("kept", bulk=bulk)
    await asyncio.sleep(0)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert bench.workers.depth() == 1
    bench.go()
    await asyncio.gather(held, kept)
    assert bench.ran == ["kept"]


async def test_the_first_error_ends_a_job(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("step")

    steps = [lambda: bench.ran.append("before"), fail, lambda: bench.ran.append("after")]
    with pytest.raises(ValueError, match="step"):
        await bench.workers.submit(Job(steps, lambda: None), bulk=True)
    assert bench.ran == ["before"]
    assert await bench.submit("next", bulk=True) == "next"


async def test_a_step_may_add_steps_to_its_own_job(bench: Bench) -> None:
    def grow() -> None:
        bench.workers.extend(job, [lambda: bench.ran.append("more"), lambda: bench.ran.append("most")])

    job = Job([grow], lambda: len(bench.ran))
    assert await bench.workers.submit(job, bulk=True) == 2


async def test_a_thousand_cancels_leave_nothing_behind(bench: Bench) -> None:
    for n in range(1_000):
        task = bench.submit("a", "b", bulk=bool(n % 2))
        if n % 3:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert bench.workers.depth() == 0
    assert await asyncio.wait_for(bench.submit("alive", bulk=False), 5) == "alive"
    assert not bench.workers._waiting


async def test_what_a_query_adds_runs_before_the_next_query(bench: Bench) -> None:
    def grow() -> None:
        bench.workers.extend(job, [lambda: bench.ran.append("beside")])

    held = await bench.hold()
    job = Job([grow], lambda: None)
    first = asyncio.ensure_future(bench.workers.submit(job, bulk=False))
    await asyncio.sleep(0)
    second = bench.submit("second", bulk=False)
    await asyncio.sleep(0)
    bench.go()
    await asyncio.gather(held, first, second)
    assert bench.ran == ["beside", "second"]


async def test_an_error_beside_a_query_is_the_querys(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("beside")

    def grow() -> None:
        bench.workers.extend(job, [fail, lambda: bench.ran.append("after")])

    job = Job([grow], lambda: None)
    with pytest.raises(ValueError, match="beside"):
        await bench.workers.submit(job, bulk=False)
    assert await bench.submit("next", bulk=False) == "next"
    assert bench.ran == ["next"]
