"""What an append to the embedded store costs by itself, without gRPC: beside a bare insert with its commit on the same
disk, and from many callers while the event loop is busy with something else, as it is in a daemon.

Bundled and one by one are the same store: the second undoes the bundling (docs/adr/0005-sqlite-group-commit.md).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import apsw

from benches import report
from benches.report import Figure, percentile, progress
from memd.adapters.clock import SystemClock
from memd.adapters.sqlite import SqliteStores
from memd.adapters.sqlite.append import AppendBundle
from memd.domain.model import Event, EventKind, RequestKey, Scope
from memd.ports import SessionPolicy

POLICY = SessionPolicy(working_max_items=20, working_max_tokens=8_000, episodic_max_items=1_000, ttl_us=10**11)
SWITCH_INTERVAL_S = 5e-4
_number = count()


class Appender:
    """Single events of about 200 bytes, each with a request_id."""

    def __init__(self, stores: SqliteStores, k: int) -> None:
        self._stores = stores
        self._scope = Scope("bench", f"user{k % 8}", "agent", f"session{k}")

    async def append(self) -> float:
        """Milliseconds."""
        n = next(_number)
        event = Event(f"event{n}", EventKind.TURN, f"{n} " + "x" * 200, role="user", tokens=50, event_time=1)
        request = RequestKey("bench", f"request{n}", b"x" * 32)
        started = time.perf_counter()
        await self._stores.sessions.append(self._scope, [event], POLICY, request)
        return (time.perf_counter() - started) * 1e3


class Floor:
    """One row, one commit, one fsync, nothing else."""

    def __init__(self, path: Path) -> None:
        self._database = apsw.Connection(str(path))
        self._database.execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (v TEXT)"
        ).fetchall()

    def insert(self) -> float:
        """Milliseconds."""
        started = time.perf_counter()
        self._database.execute("INSERT INTO t VALUES (?)", ("x" * 200,))
        return (time.perf_counter() - started) * 1e3

    def close(self) -> None:
        self._database.close()


def spin(us: int) -> None:
    """What an RPC costs the event loop beside the store."""
    end = time.perf_counter() + us / 1e6
    while time.perf_counter() < end:
        pass


async def alone(stores: SqliteStores, floor: Floor, events: int) -> dict[str, Figure]:
    appender = Appender(stores, 0)
    times, floors = [], []
    for _ in range(events):
        times.append(await appender.append())
        floors.append(await asyncio.to_thread(floor.insert))
    return {
        "p50_ms": percentile(times, 50),
        "p99_ms": percentile(times, 99),
        "floor_p50_ms": percentile(floors, 50),
        "floor_p99_ms": percentile(floors, 99),
        "over_floor_ms": percentile(times, 50) - percentile(floors, 50),
    }


async def many(stores: SqliteStores, callers: int, seconds: float, loop_us: int) -> tuple[float, float]:
    """Events a second, and microseconds of processor time an event (without what ``spin`` took)."""
    end = time.perf_counter() + seconds

    async def caller(k: int) -> int:
        appender = Appender(stores, k)
        done = 0
        while time.perf_counter() < end:
            spin(loop_us)
            await appender.append()
            done += 1
        return done

    started, cpu = time.perf_counter(), time.process_time()
    done = sum(await asyncio.gather(*(caller(k) for k in range(callers))))
    used = time.process_time() - cpu
    return done / (time.perf_counter() - started), used / done * 1e6 - loop_us


@contextmanager
def one_by_one(active: bool) -> Iterator[None]:
    """Requests in savepoints of their own, as everything but an append runs."""
    bundled = AppendBundle.run

    def refuse(self: AppendBundle, tx: object, jobs: object) -> None:
        raise RuntimeError

    if active:
        AppendBundle.run = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        AppendBundle.run = bundled  # type: ignore[method-assign]


async def measure(args: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    stores = SqliteStores.open(directory / "data", model=None, clock=SystemClock(), sink=lambda changes: None)
    floor = Floor(directory / "floor.db")
    figures = await alone(stores, floor, args.events)
    for name, unbundled in (("bundled", False), ("one_by_one", True)):
        for interval in (5e-3, SWITCH_INTERVAL_S):
            sys.setswitchinterval(interval)
            progress(f"{name}, interpreter switch interval {interval * 1e3:g} ms")
            with one_by_one(unbundled):
                rate, cpu_us = await many(stores, args.callers, args.seconds, args.loop_us)
            figures[f"{name}_{interval * 1e3:g}ms_events_per_s"] = rate
            figures[f"{name}_{interval * 1e3:g}ms_cpu_us"] = cpu_us
    await asyncio.to_thread(stores.close)
    floor.close()
    return figures


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=500, help="of the one caller")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each rate")
    parser.add_argument("--loop-us", type=int, default=150, help="work of the event loop beside each append")
    parser.add_argument("--dir", default=None, help="where the databases go: the disk to measure")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        figures = asyncio.run(measure(args, Path(directory)))
    report.publish("store_append", args, figures)


if __name__ == "__main__":
    main()
