"""How well ranked ids find the gold evidence of questions. All measures 0..1, means over questions.

For a question with gold ids G and the ranked list R without repeats:
recall at k is the share of G among the first k of R (LoCoMo's "recall accuracy"); the reciprocal rank is 1 / the rank of the
first gold id, 0 without one; nDCG at 10 is the discounted gain of R's first 10, 1 / log2(rank + 1) a gold id, by that of the
best possible list.
A question without an answer counts as 0; a question without gold is left out. So is LoCoMo's category 5: its questions
are asked of the wrong speaker, and what is marked as evidence does not answer them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ADVERSARIAL_CATEGORY = 5
DEPTHS = (5, 10, 20)
_NDCG_DEPTH = 10
MEASURES = (*(f"recall_at_{k}" for k in DEPTHS), "mrr", "ndcg_at_10")


@dataclass(frozen=True, slots=True)
class Question:
    """One line of ``questions.jsonl``."""

    question_id: str
    conv: str
    text: str
    category: int
    gold: frozenset[str]


def counted(questions: Iterable[Question]) -> list[Question]:
    """Those with gold that are not adversarial."""
    return [q for q in questions if q.gold and q.category != ADVERSARIAL_CATEGORY]


def measures(question: Question, ranked: Sequence[str]) -> dict[str, float]:
    """Of one question with gold."""
    found = _without_repeats(ranked)
    values = {f"recall_at_{k}": _recall(question.gold, found[:k]) for k in DEPTHS}
    return {**values, "mrr": _reciprocal_rank(question.gold, found), "ndcg_at_10": _ndcg(question.gold, found)}


def score(questions: Iterable[Question], ranked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Means over the questions that count. ``ranked``: question id to memory ids, best first."""
    return means(measures(q, ranked.get(q.question_id, ())) for q in counted(questions))


def means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean by measure; all 0 without rows."""
    listed = list(rows)
    return {name: _mean(row[name] for row in listed) for name in MEASURES}


def _without_repeats(found: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _recall(gold: frozenset[str], found: Sequence[str]) -> float:
    return len(gold.intersection(found)) / len(gold)


def _reciprocal_rank(gold: frozenset[str], found: Sequence[str]) -> float:
    return next((1 / rank for rank, memory_id in enumerate(found, 1) if memory_id in gold), 0.0)


def _ndcg(gold: frozenset[str], found: Sequence[str]) -> float:
    gain = sum(_discount(rank) for rank, memory_id in enumerate(found[:_NDCG_DEPTH], 1) if memory_id in gold)
    return gain / sum(_discount(rank) for rank in range(1, min(len(gold), _NDCG_DEPTH) + 1))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
