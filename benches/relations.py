"""What it costs an Observe, and the process, to find out what events mean to each other (``memd/service/relating.py``).

The same service over SQLite in this process, with relations and without, in blocks that take turns: there is no daemon in
which they are off. Two kinds of sessions, each of one event at a steady pace: an agent at work (turns, tool outputs of 2 KB,
some of them of the same file as before, failures and what resolves them), and talk alone, in which hardly anything can mean
something to something else. The looks go on between the Observes, as they do in a daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benches import report
from benches.corpus import Corpus
from benches.daemon import temporary_directory
from benches.report import Figure, Target, median, percentile, progress
from memd._core import TokenCounter
from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Event, EventKind, Outcome, Scope, TierName
from memd.domain.settings import DEFAULT_TIERS, DaemonDefaults
from memd.service.observe import UNSCORED, ObserveService
from memd.service.policy import PolicySource
from memd.service.relating import EventRelations

TARGETS = (Target("agent_p50_ratio", "<=", 1.5), Target("agent_p99_ratio", "<=", 3))
PACE_S = 0.005
"""From one Observe to the next: 200 a second."""
TO_A_SESSION = 100
FILES = 8
"""That the agent of a session reads, again and again, each time a little changed."""


@dataclass(slots=True)
class Subject:
    """A service and what was measured of it: milliseconds of Observes, seconds of CPU, looks at sessions."""

    observe: ObserveService
    relations: EventRelations | None
    taken: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    looks: int = 0

    async def look(self) -> None:
        """Again and again."""
        while self.relations is not None:
            await self.relations.work()
            self.looks += 1

    async def block(self, kind: str, number: int, events: Sequence[Event]) -> None:
        """One session."""
        scope = Scope("ns", "ada", "", f"{kind}-{number}")
        looking = asyncio.ensure_future(self.look())
        cpu_s, begun = time.process_time(), time.perf_counter()
        for turn, event in enumerate(events):
            await asyncio.sleep(max(0.0, begun + turn * PACE_S - time.perf_counter()))
            sent = time.perf_counter()
            await self.observe.observe(scope, [event])
            self.taken.append((time.perf_counter() - sent) * 1e3)
        while self.relations is not None and not self.relations.settled(scope):
            await asyncio.wait([looking], timeout=PACE_S)
        self.cpu_s += time.process_time() - cpu_s
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def talk(corpus: Corpus) -> Iterator[Event]:
    for text in corpus.events():
        yield Event("", EventKind.TURN, text, role="user", importance=UNSCORED)


def agent(corpus: Corpus, rng: random.Random) -> Iterator[Event]:
    """Of ten events four are turns, five read a file, one is a test that fails; the next test of it passes."""
    said, failing = talk(corpus), ""
    files = [sentences.split(". ") for sentences in corpus.documents(FILES, 32)]
    while True:
        lot = rng.randrange(10)
        if lot < 4:
            yield next(said)
        elif lot < 9:
            number = rng.randrange(FILES)
            files[number][rng.randrange(len(files[number]))] = f"Line {rng.randrange(10_000)} was changed"
            yield _output("read_file", f"file-{number}.py\n" + "\n".join(files[number]), Outcome.SUCCESS)
        elif failing:
            yield _output(failing, "1 passed", Outcome.SUCCESS)
            failing = ""
        else:
            failing = f"test_{rng.randrange(5)}"
            yield _output(failing, "1 failed: expected 3, found 4", Outcome.FAILURE)


def _output(tool: str, content: str, outcome: Outcome) -> Event:
    return Event("", EventKind.TOOL_CALL, content, tool_name=tool, outcome=outcome, importance=UNSCORED)


@contextlib.asynccontextmanager
async def subject(directory: Path, *, related: bool) -> AsyncIterator[Subject]:
    clock, counter = SystemClock(), TokenCounter()
    stores = SqliteStores.open(directory, model=None, clock=clock, sink=IndexFeed())
    policy = PolicySource(stores.settings, DaemonDefaults({tier: DEFAULT_TIERS[tier] for tier in TierName}))
    relations = EventRelations(stores.sessions, counter) if related else None
    relate = relations.observed if relations else None
    try:
        yield Subject(ObserveService(stores.sessions, counter, policy, clock, relate=relate), relations)
    finally:
        stores.close()


async def measure(args: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for kind in ("talk", "agent"):
        async with (
            subject(directory / f"{kind}-on", related=True) as on,
            subject(directory / f"{kind}-off", related=False) as off,
        ):
            for number in range(args.blocks + 1):
                corpus, rng = Corpus(args.seed + number), random.Random(args.seed + number)
                source = talk(corpus) if kind == "talk" else agent(corpus, rng)
                events = [next(source) for _ in range(TO_A_SESSION)]
                for one in (on, off) if number % 2 else (off, on):
                    await one.block(kind, number, events)
                if not number:  # the first block warms up
                    on, off = (Subject(one.observe, one.relations) for one in (on, off))
            found |= _figures(kind, on, off)
            progress(f"{kind}: {median(on.taken):.3g} ms of {median(off.taken):.3g}")
    return found


def _figures(kind: str, on: Subject, off: Subject) -> dict[str, Figure]:
    found: dict[str, Figure] = {f"{kind}_events": len(on.taken), f"{kind}_looks": on.looks}
    for percent in (50, 99):
        with_them, without = percentile(on.taken, percent), percentile(off.taken, percent)
        found |= {f"{kind}_on_p{percent}_ms": with_them, f"{kind}_off_p{percent}_ms": without}
        found[f"{kind}_p{percent}_ratio"] = with_them / without
    for name, one in (("on", on), ("off", off)):
        found[f"{kind}_{name}_cpu_us_per_event"] = one.cpu_s / len(one.taken) * 1e6
    return found


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--blocks", type=int, default=20, help="sessions of each kind, with relations and without")
    args = parser.parse_args()
    with temporary_directory() as directory:
        found = asyncio.run(measure(args, directory))
    report.publish("relations", args, found, TARGETS)


if __name__ == "__main__":
    main()
