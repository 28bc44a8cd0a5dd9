"""What events mean to each other, found behind the replies, over a real SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memd._core import TokenCounter
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Event, EventKind, Outcome, Scope
from memd.domain.settings import DaemonDefaults
from memd.domain.shared_body import restored
from memd.limits import RELATE_QUEUE
from memd.service.observe import UNSCORED, ObserveService
from memd.service.policy import PolicySource
from memd.service.relating import EventRelations
from tests.contract.builders import MODEL
from tests.service.conftest import SettableClock

SCOPE = Scope("n", "ada", "", "s1")
LISTING = "\n".join(f"-rw-r--r-- ada {n * 91:6} part_{n}.py" for n in range(60))


class Daemon:
    """As much of one as this needs."""

    def __init__(self, stores: SqliteStores) -> None:
        self.stores = stores
        self.counter = TokenCounter()
        self.clock = SettableClock()
        self.policy = PolicySource(stores.settings, DaemonDefaults())
        self.restart()

    def restart(self) -> None:
        self.relations = EventRelations(self.stores.sessions, self.counter)
        self.observe = ObserveService(
            self.stores.sessions, self.counter, self.policy, self.clock, relate=self.relations.observed
        )

    async def say(self, *events: Event, scope: Scope = SCOPE, **more: Any) -> None:
        await self.observe.observe(scope, events, **more)

    async def settle(self) -> None:
        while not self.relations.settled(SCOPE):
            await self.relations.work()

    async def episodes(self) -> dict[str, Event]:
        policy = await self.policy.policy("n")
        page = await self.stores.sessions.episodes(SCOPE, policy, kinds=frozenset(), size=999, cursor="")
        return {event.event_id: event for event in page.items}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    opened = SqliteStores.open(tmp_path / "data", model=MODEL, clock=SettableClock(), sink=lambda changes: None)
    yield Daemon(opened)
    opened.close()


def turn(event_id: str, content: str, **more: Any) -> Event:
    return Event(event_id, EventKind.TURN, content, **{"role": "user", "importance": UNSCORED, **more})


def call(event_id: str, content: str, outcome: Outcome = Outcome.NONE, tool: str = "deploy") -> Event:
    return Event(event_id, EventKind.TOOL_CALL, content, "tool", tool, "", outcome, importance=UNSCORED)


async def test_a_failure_and_its_end_are_linked_both_ways(daemon: Daemon) -> None:
    await daemon.say(call("f", "no disk left on node 3", Outcome.FAILURE), turn("t", "let me clean up"))
    assert daemon.relations.settled(SCOPE), "nothing to look at yet"
    await daemon.say(call("s", "rolled out", Outcome.SUCCESS))
    before = await daemon.episodes()
    await daemon.settle()
    after = await daemon.episodes()
    assert (after["f"].resolved_by, after["s"].resolves) == ("s", "f")
    assert after["f"].importance < before["f"].importance
    assert after["s"].importance > before["s"].importance
    assert after["f"].importance_reasons == (*before["f"].importance_reasons, "resolved")
    assert after["t"] == before["t"]


async def test_after_a_restart_what_was_open_is_known_again(daemon: Daemon) -> None:
    await daemon.say(call("f", "no disk", Outcome.FAILURE))
    await daemon.settle()
    daemon.restart()
    await daemon.say(turn("t", "we look into it"))
    await daemon.settle()
    await daemon.say(turn("u", "about lunch"), call("s", "done", Outcome.SUCCESS))
    await daemon.settle()
    assert (await daemon.episodes())["f"].resolved_by == "s"


async def test_what_is_said_three_times_is_marked(daemon: Daemon) -> None:
    for n in range(3):
        await daemon.say(turn(f"w{n}", f"I want a window seat{'!' * n}"), turn(f"o{n}", f"lunch number {n} is ready"))
    await daemon.settle()
    events = await daemon.episodes()
    assert [("repeated" in events[f"w{n}"].importance_reasons) for n in range(3)] == [False, False, True]
    assert events["w2"].importance > events["w1"].importance


async def test_outputs_nearly_the_same_share_the_newest_body(daemon: Daemon) -> None:
    texts = [f"{LISTING}\ntotal {n}" for n in (7, 8, 9)]
    for n, text in enumerate(texts):
        await daemon.say(call(f"o{n}", text, tool="ls"), turn(f"t{n}", f"look number {n}"))
    working = await daemon.stores.sessions.working(SCOPE, await daemon.policy.policy("n"))
    await daemon.settle()
    events = await daemon.episodes()
    assert [events[f"o{n}"].body_event_id for n in range(3)] == ["o1", "o2", ""]
    second = restored(events["o1"].content, events["o2"].content)
    assert [restored(events["o0"].content, second), second, events["o2"].content] == texts
    assert events["o0"].tokens == daemon.counter.count(events["o0"].content) < 60
    assert events["o0"].original_bytes == len(texts[0].encode())
    after = await daemon.stores.sessions.working(SCOPE, await daemon.policy.policy("n"))
    assert after.tokens < working.tokens / 2, "and working memory has room again"


async def test_what_is_to_be_kept_whole_is(daemon: Daemon) -> None:
    for n in range(2):
        await daemon.say(call(f"o{n}", LISTING * 4 + str(n), tool="ls"), keep_whole=True)
    await daemon.settle()
    events = await daemon.episodes()
    assert [events[f"o{n}"].content for n in range(2)] == [LISTING * 4 + "0", LISTING * 4 + "1"]


async def test_two_daemons_come_to_the_same(daemon: Daemon) -> None:
    await daemon.say(call("f", "no disk", Outcome.FAILURE), call("s", "done", Outcome.SUCCESS))
    first, second = daemon.relations, EventRelations(daemon.stores.sessions, daemon.counter)
    policy = await daemon.policy.policy("n")
    page = await daemon.stores.sessions.episodes(SCOPE, policy, kinds=frozenset(), size=9, cursor="")
    revisions = second._revisions(page.items[::-1], 0)
    await first.work()
    seen = await daemon.episodes()
    assert await daemon.stores.sessions.revise(SCOPE, revisions) == 0
    assert await daemon.episodes() == seen


async def test_sessions_over_the_queue_are_looked_at_by_their_next_observe(daemon: Daemon) -> None:
    policy = await daemon.policy.policy("n")
    other = [Scope("n", "ada", "", f"o{n}") for n in range(RELATE_QUEUE)]
    for scope in other:
        daemon.relations._wait(scope, policy)
    await daemon.say(call("f", "no disk", Outcome.FAILURE), call("s", "done", Outcome.SUCCESS))
    assert daemon.relations.settled(SCOPE), "it found no room"
    for _ in other:
        await daemon.relations.work()
    await daemon.say(turn("t", "about lunch"))
    await daemon.settle()
    assert (await daemon.episodes())["f"].resolved_by == "s"


async def test_ordinary_events_are_not_looked_at(daemon: Daemon) -> None:
    for n in range(20):
        await daemon.say(turn(f"t{n}", f"we talk about thing number {n}"), call(f"c{n}", f"found {n}", Outcome.SUCCESS))
    assert daemon.relations.settled(SCOPE)
