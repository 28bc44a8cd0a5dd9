"""Knowing when nothing is there: questions put to the store of another conversation, with names masked.

The speakers' names of a conversation are "someone" in all its questions, so that a name does not give the answer away. A
question's evidence is the smallest ``nothing_below`` at which ``nothing_relevant`` is set, found by bisection. Each
threshold is the 2.5 % quantile of the answerable questions of the other conversations (so that not many more than 3 % are
false alarms on any); it is used on its own conversation alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from memd_client import AsyncClient, Tier

from benches.asking import ask, each
from benches.report import Figure
from benches.scoring import Question, counted

FALSE_ALARMS = 0.025
STEPS = 7
LOWEST, HIGHEST = 0.0, 1.0
CURVE = (0.30, 0.34, 0.38, 0.40, 0.42, 0.44, 0.46, 0.50, 0.54)


def masked(question: Question, names: Sequence[str]) -> Question:
    text = question.text
    for name in names:
        text = re.sub(rf"\b{re.escape(name)}\b", "someone", text)
    return replace(question, text=text)


async def evidence(client: AsyncClient, conv: str, text: str) -> float:
    """To 1 / 128."""
    low, high = LOWEST, HIGHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        answer = await ask(client, conv, text, tiers=[Tier.SEMANTIC], nothing_below=middle)
        low, high = (low, middle) if answer.nothing_relevant else (middle, high)
    return (low + high) / 2


async def study(
    client: AsyncClient, questions: Sequence[Question], speakers: Mapping[str, Sequence[str]]
) -> dict[str, Figure]:
    """Shares of false "nothing relevant" and of unanswerable questions recognised; ``speakers`` by conversation."""
    asked = [masked(q, speakers[q.conv]) for q in counted(questions)]
    convs = sorted({q.conv for q in asked})
    if len(convs) < 2:
        return {}
    other = dict(zip(convs, [*convs[1:], convs[0]], strict=True))
    own = np.array(await each(asked, lambda q: evidence(client, q.conv, q.text)))
    foreign = np.array(await each(asked, lambda q: evidence(client, other[q.conv], q.text)))
    of = np.array([q.conv for q in asked])
    false: list[float] = []
    recognised: list[float] = []
    for conv in convs:
        threshold = np.quantile(own[of != conv], FALSE_ALARMS)
        false += [float(x) for x in own[of == conv] < threshold]
        recognised += [float(x) for x in foreign[of == conv] < threshold]
    curve: dict[str, Figure] = {
        f"{t:.2f}": {"false": float((own < t).mean()), "recognised": float((foreign < t).mean())} for t in CURVE
    }
    return {
        "held_out_false": float(np.mean(false)),
        "held_out_recognised": float(np.mean(recognised)),
        "by_threshold": curve,
    }
