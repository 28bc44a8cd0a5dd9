"""What each cue of the ranking is worth: asked with it and without it, question by question.

Intervals are of the paired difference, bootstrapped over questions (2,000 resamples). Leave-one-conversation-out: each
weight is chosen among 0, 0.5, 1 and 1.5 times its default on all conversations but one (by recall at 10 plus nDCG at 10,
one weight at a time), all choices together are measured on the one left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from memd_client import AsyncClient
from numpy.typing import NDArray

from benches.asking import ask_all, ranked
from benches.report import Figure, progress
from benches.scoring import Question, counted, means, measures
from memd._core import default_cues

RESAMPLES = 2_000
FACTORS = (0.0, 0.5, 1.5)
Rows: TypeAlias = Mapping[str, Mapping[str, float]]
"""Question id to its measures."""


async def rows(client: AsyncClient, questions: Sequence[Question], cues: Mapping[str, float]) -> Rows:
    """The measures of every question that counts, with these weights."""
    asked = counted(questions)
    found = ranked(await ask_all(client, asked, cues=cues))
    return {q.question_id: measures(q, found[q.question_id]) for q in asked}


def interval(differences: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Mean and the 95 % interval, in points."""
    values: NDArray[np.float64] = 100 * np.asarray(differences)
    picks = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def _gain(with_it: Rows, without: Rows, ids: Sequence[str], measure: str, seed: int) -> str:
    mean, low, high = interval([with_it[i][measure] - without[i][measure] for i in ids], seed)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


async def each_cue(client: AsyncClient, questions: Sequence[Question], default: Rows, seed: int) -> dict[str, Figure]:
    """By cue: the points it gives to recall at 10 and nDCG at 10, and to recall at 10 of each conversation."""
    asked = counted(questions)
    convs = sorted({q.conv for q in asked})
    found: dict[str, Figure] = {}
    for name, weight in sorted(default_cues().items()):
        if weight == 0:
            continue
        without = await rows(client, questions, {name: 0.0})
        gains: dict[str, Figure] = {
            measure: _gain(default, without, [q.question_id for q in asked], measure, seed)
            for measure in ("recall_at_10", "ndcg_at_10")
        }
        for conv in convs:
            ids = [q.question_id for q in asked if q.conv == conv]
            gains[f"recall_at_10 {conv}"] = _gain(default, without, ids, "recall_at_10", seed)
        found[name] = gains
        progress(f"{name}: {gains['recall_at_10']}")
    return found


async def leave_one_out(client: AsyncClient, questions: Sequence[Question], default: Rows) -> dict[str, Figure]:
    """Measures of weights fitted on all conversations, and of weights fitted without the conversation they are used on."""
    asked = counted(questions)
    convs = sorted({q.conv for q in asked})
    tried: dict[tuple[str, float], Rows] = {}
    for name, weight in sorted(default_cues().items()):
        for factor in FACTORS if weight else ():
            tried[name, factor * weight] = await rows(client, questions, {name: min(1.0, factor * weight)})
        progress(f"{name}: tried")

    def fitted(on: Sequence[Question]) -> dict[str, float]:
        def worth(found: Rows) -> float:
            return sum(found[q.question_id]["recall_at_10"] + found[q.question_id]["ndcg_at_10"] for q in on)

        best: dict[str, tuple[float, float]] = {}
        for (name, weight), found in tried.items():
            worths = best.get(name, (worth(default), default_cues()[name]))
            best[name] = max(worths, (worth(found), min(1.0, weight)))
        return {name: weight for name, (_, weight) in best.items()}

    held_out: list[Mapping[str, float]] = []
    for conv in convs:
        weights = fitted([q for q in asked if q.conv != conv])
        held_out += (await rows(client, [q for q in asked if q.conv == conv], weights)).values()
    on_all = await rows(client, asked, fitted(asked))
    return {"fitted": dict(means(on_all.values())), "held_out": dict(means(held_out))}
