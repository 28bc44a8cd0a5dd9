"""Decay: what is never recalled stands a little later, if asked for; and what was recalled is noted behind the reply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memd.domain.decay import Decay
from memd.domain.model import Scope
from memd.limits import DAY_US, RECALLS_NOTED, RECALLS_WAITING
from memd.ports import SearchOptions
from memd.service.recall import RecallReply
from tests.service.conftest import Build, House
from tests.service.writing import draft, learn

ADA = Scope("ns", "ada")
MONTH_US = 30 * DAY_US
ASKED = "what does Ada drink in the morning?"


async def ask(house: House, **decay: float) -> RecallReply:
    options = SearchOptions(5, decay=Decay(**decay))  # type: ignore[arg-type]
    return await house.ask(ASKED, ADA, options=options)


def scores(reply: RecallReply) -> dict[str, float]:
    return {memory.memory_id: hit.score for memory, hit in reply.memories}


async def test_by_default_nothing_is_taken(house: House) -> None:
    await learn(house, draft("Ada drinks tea in the morning", memory_id="tea"), scope=ADA)
    house.clock.advance(100 * MONTH_US)
    plain = await house.ask(ASKED, ADA)
    assert scores(plain) == scores(await ask(house, weight=0.0))
    assert "decay" not in plain.memories[0][1].cues()


async def test_what_is_recalled_is_young_and_what_is_not_grows_old(house: House) -> None:
    await learn(house, draft("Ada drinks tea in the morning", memory_id="tea"), scope=ADA)
    plain = scores(await ask(house))["tea"]
    house.clock.advance(MONTH_US)
    (_, hit) = (await ask(house, weight=0.2)).memories[0]
    assert hit.score == pytest.approx(plain * 0.9, rel=1e-6), "after the half-life half of the weight"
    assert hit.cues()["decay"] == pytest.approx(plain * 0.1, rel=1e-6), "and it is explained"
    assert await house.stores.recalls.flush() == 1
    assert scores(await ask(house, weight=0.2))["tea"] == pytest.approx(plain, rel=1e-6)
    house.clock.advance(1_000 * MONTH_US)
    assert scores(await ask(house, weight=0.2))["tea"] == pytest.approx(0.8 * plain), "never more than the weight"


async def test_of_two_alike_the_one_that_is_used_stands_first(house: House) -> None:
    await learn(house, draft("Ada drinks tea in the morning", memory_id="a"), scope=ADA)
    await learn(house, draft("Ada drinks coffee in the morning", memory_id="b"), scope=ADA)
    house.clock.advance(10 * MONTH_US)
    first, second = scores(await ask(house))
    house.stores.recalls.note("ns", [second], house.clock.now_us())
    house.stores.recalls._waiting.popleft()  # the recall above, which noted both
    await house.stores.recalls.flush()
    assert list(scores(await ask(house, weight=0.0))) == [first, second]
    assert list(scores(await ask(house, weight=0.9))) == [second, first]


async def test_notes_are_bounded_outlive_a_restart_and_go_with_their_memory(build: Build) -> None:
    house = build()
    await learn(house, draft("Ada drinks tea", memory_id="tea"), scope=ADA)
    recalls = house.stores.recalls
    for _ in range(RECALLS_WAITING + 9):
        recalls.note("ns", ["tea", "gone"] + ["more"] * RECALLS_NOTED, 5)
    recalls.note("ns", ["tea"], 9)
    assert await recalls.flush() == 1
    assert await recalls.flush() == 0
    house = build()
    recalls = house.stores.recalls
    assert recalls.last("ns", ["tea", "gone"]) == {"tea": 9}
    assert recalls.last("other", ["tea"]) == {}
    recalls.note("ns", ["tea"], 7)
    await house.forget.forget(ADA, everything=True, writer="ada")
    assert await recalls.flush() == 0
    assert house.stores._connection.execute("SELECT count(*) FROM memory_recall").fetchall() == [(0,)]


def test_the_demotion_is_bounded_and_a_clock_that_goes_back_takes_nothing() -> None:
    decay = Decay(0.1, MONTH_US)
    assert decay.taken(1.0, 0) == decay.taken(1.0, -5) == 0.0
    assert decay.taken(1.0, MONTH_US) == pytest.approx(0.05)
    assert decay.taken(1.0, 10**18) <= 0.1
    assert replace(decay, weight=0.0).taken(1.0, MONTH_US) == 0.0
