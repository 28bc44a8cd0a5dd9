"""Questions to a running daemon, some in flight at a time, under any ranking settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from memd_client import AsyncClient, Recall

from benches.scoring import Question

LIMIT = 20
QUESTIONS_IN_FLIGHT = 4
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Recall brought: ids, best first, and the time spent in the daemon."""

    ids: tuple[str, ...]
    elapsed_ms: float
    nothing_relevant: bool


async def ask(client: AsyncClient, conv: str, text: str, **settings: Any) -> Answer:
    """One Recall with limit 20, or the one in ``settings``. A conversation is a namespace."""
    found: Recall = await client.scoped(namespace=conv).recall(text, **{"limit": LIMIT, **settings})
    ids = tuple(hit.memory.memory_id for hit in found.memories)
    return Answer(ids, found.elapsed.total_seconds() * 1e3, found.nothing_relevant)


async def ask_all(client: AsyncClient, questions: Sequence[Question], **settings: Any) -> dict[str, Answer]:
    """By question id."""
    answers = await each(questions, lambda q: ask(client, q.conv, q.text, **settings))
    return {q.question_id: answer for q, answer in zip(questions, answers, strict=True)}


async def each(items: Iterable[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """The results in order; QUESTIONS_IN_FLIGHT calls at a time."""
    waiting = iter(enumerate(items))
    results: dict[int, R] = {}

    async def caller() -> None:
        for at, item in waiting:
            results[at] = await call(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(QUESTIONS_IN_FLIGHT):
            group.create_task(caller())
    return [results[at] for at in range(len(results))]


def ranked(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    """Question id to ids."""
    return {question_id: list(answer.ids) for question_id, answer in answers.items()}
