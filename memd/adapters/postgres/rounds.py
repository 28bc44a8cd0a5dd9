"""Many questions in one round trip: while one round is asked, the questions of the next gather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from memd.adapters.postgres.detached import Detached

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Round(Generic[Question, Answer]):
    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.task: asyncio.Task[Sequence[Answer]]


class Rounds(Generic[Question, Answer]):
    """``ask_all`` answers up to ``most`` questions, in their order; one call of it runs at a time. A question is never
    answered by a call that began before it was asked."""

    def __init__(self, ask_all: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], most: int) -> None:
        self._ask_all = ask_all
        self._most = most
        self._turn = asyncio.Lock()
        self._gathering: _Round[Question, Answer] | None = None
        self._detached = Detached()

    async def ask(self, question: Question) -> Answer:
        """Whoever is cancelled leaves the round to the others; an error is everybody's."""
        joined = self._gathering or self._open()
        at = len(joined.questions)
        joined.questions.append(question)
        if len(joined.questions) == self._most:
            self._gathering = None
        return (await asyncio.shield(joined.task))[at]

    def _open(self) -> _Round[Question, Answer]:
        opened = self._gathering = _Round[Question, Answer]()
        opened.task = self._detached.start(self._run(opened))
        return opened

    async def _run(self, one: _Round[Question, Answer]) -> Sequence[Answer]:
        async with self._turn:  # in the order in which rounds were opened
            if self._gathering is one:
                self._gathering = None
            return await self._ask_all(one.questions)

    async def join(self) -> None:
        """Until the last round is over."""
        await self._detached.join()
