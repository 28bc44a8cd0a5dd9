"""The quality benchmark's scorer: hand-made cases, and equality with the evaluation data's own scorer."""

from __future__ import annotations

import importlib.util
import math
import random
from pathlib import Path
from types import ModuleType

import pytest

from benches.quality import questions_of, read_lines
from benches.report import ROOT
from benches.scoring import ADVERSARIAL_CATEGORY, Question, score

DATA = ROOT.parent / "shared" / "data"


def question(number: int, gold: set[str], category: int = 4) -> Question:
    return Question(f"q{number}", "c", "?", category, frozenset(gold))


def test_a_perfect_list_scores_one_everywhere() -> None:
    found = score([question(1, {"a", "b"})], {"q1": ["b", "a", "c"]})
    assert found == {"recall_at_5": 1, "recall_at_10": 1, "recall_at_20": 1, "mrr": 1, "ndcg_at_10": 1}


def test_measures_follow_the_rank_of_the_gold() -> None:
    ranked = [f"x{n}" for n in range(6)] + ["gold"]  # at rank 7
    found = score([question(1, {"gold", "never"})], {"q1": ranked})
    assert found["recall_at_5"] == 0
    assert found["recall_at_10"] == found["recall_at_20"] == 0.5
    assert found["mrr"] == pytest.approx(1 / 7)
    assert found["ndcg_at_10"] == pytest.approx((1 / math.log2(8)) / (1 + 1 / math.log2(3)))


def test_repeats_take_one_rank() -> None:
    found = score([question(1, {"gold"})], {"q1": ["x", "x", "x", "x", "x", "gold"]})
    assert found["recall_at_5"] == 1
    assert found["mrr"] == 0.5


def test_an_unanswered_question_counts_as_nothing_found() -> None:
    found = score([question(1, {"a"}), question(2, {"b"})], {"q1": ["a"]})
    assert found["recall_at_10"] == 0.5


def test_questions_without_gold_and_adversarial_ones_are_left_out() -> None:
    questions = [question(1, {"a"}), question(2, set()), question(3, {"z"}, ADVERSARIAL_CATEGORY)]
    assert score(questions, {"q1": ["a"]})["recall_at_10"] == 1


def reference_scorer() -> ModuleType:
    path = DATA / "score.py"
    if not path.exists():
        pytest.skip("the evaluation data is not beside this checkout")
    spec = importlib.util.spec_from_file_location("reference_scorer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rankings(directory: Path, rng: random.Random) -> dict[str, list[str]]:
    """For most questions a list of 0 to 20 ids, some gold among them at random ranks, some twice."""
    memory_ids = [line["id"] for line in read_lines(directory / "memories.jsonl")]
    ranked = {}
    for asked in questions_of(directory):
        if rng.random() < 0.1:
            continue
        found = rng.sample(memory_ids, rng.randint(0, 15)) + [g for g in sorted(asked.gold) if rng.random() < 0.6]
        rng.shuffle(found)
        ranked[asked.question_id] = (found + found[:3])[:20]
    return ranked


def test_equals_the_reference_scorer_on_the_same_results() -> None:
    reference = reference_scorer()
    directory = DATA / "locomo-dev"
    ranked = rankings(directory, random.Random(5))
    theirs = reference.score(
        read_lines(directory / "questions.jsonl"), read_lines(directory / "memories.jsonl"), ranked
    )["overall"]
    ours = score(questions_of(directory), ranked)
    names = {"recall_at_5": "recall@5", "recall_at_10": "recall@10", "recall_at_20": "recall@20", "mrr": "mrr"}
    names["ndcg_at_10"] = "ndcg@10"
    assert 0.1 < ours["recall_at_10"] < 0.9
    assert ours == pytest.approx({name: theirs[their_name] for name, their_name in names.items()})
