"""Questions that gather while another round is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from memd.adapters.postgres.rounds import Rounds


class Source:
    """Answers each question with its double, once ``go`` lets it."""

    def __init__(self, most: int = 10) -> None:
        self.asked: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Semaphore(0)
        self.rounds: Rounds[int, int] = Rounds(self._answer, most)

    async def _answer(self, questions: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(questions))
        self.begun.release()
        await self.go.acquire()
        if -1 in questions:
            raise ValueError("refused")
        return [2 * one for one in questions]

    def ask(self, *questions: int) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.rounds.ask(one)) for one in questions]


async def test_what_is_asked_meanwhile_is_the_next_round() -> None:
    source = Source()
    first = source.ask(1, 2)
    await source.begun.acquire()
    later = source.ask(3, 4)
    await asyncio.sleep(0)
    later += source.ask(5)
    source.go.release()
    assert await asyncio.gather(*first) == [2, 4]
    source.go.release()
    assert await asyncio.gather(*later) == [6, 8, 10]
    assert source.asked == [[1, 2], [3, 4, 5]]


async def test_a_round_has_no_more_than_it_may() -> None:
    source = Source(most=2)
    answers = source.ask(1, 2, 3, 4, 5)
    for _ in range(3):
        source.go.release()
    assert await asyncio.gather(*answers) == [2, 4, 6, 8, 10]
    assert source.asked == [[1, 2], [3, 4], [5]]


async def test_an_error_is_everybodys_and_the_next_round_goes_on() -> None:
    source = Source()
    failing = source.ask(1, -1)
    source.go.release()
    for one in failing:
        with pytest.raises(ValueError, match="refused"):
            await one
    source.go.release()
    assert await asyncio.gather(*source.ask(7)) == [14]


async def test_who_gives_up_leaves_the_round_to_the_others() -> None:
    source = Source()
    given_up, waiting = source.ask(1, 2)
    await source.begun.acquire()
    given_up.cancel()
    await asyncio.wait([given_up])
    source.go.release()
    assert await waiting == 4
    await source.rounds.join()
