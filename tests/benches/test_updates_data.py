"""The updates set: what its generator makes, and that no sentence of one half is in the other."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from benches.data.updates import generate

USES = ("first", "change", "now", "then", "plan", "quote", "aside")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (generate.HERE / name).read_text(encoding="utf-8").splitlines()]


def templates(half: str) -> Mapping[str, Any]:
    return tomllib.loads((generate.HERE / f"templates_{half}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("half", generate.HALVES)
def test_the_generator_gives_the_committed_files(half: str) -> None:
    for name, text in generate.files(half).items():
        assert (generate.HERE / name).read_bytes() == text.encode()


def test_another_seed_gives_another_set() -> None:
    assert generate.files("a", 1) != generate.files("a", 2)


def test_the_halves_share_no_sentence_no_name_and_no_value() -> None:
    for half in generate.HALVES:
        sentences = _sentences(templates(half))
        assert len(sentences) == len(set(sentences))
    for first, second in itertools.combinations(map(templates, generate.HALVES), 2):
        assert not set(_sentences(first)) & set(_sentences(second))
        assert not _names(first) & _names(second)


def _sentences(half: Mapping[str, Any]) -> list[str]:
    return [sentence.lstrip("~") for attribute in half["attributes"] for use in USES for sentence in attribute[use]]


def _names(half: Mapping[str, Any]) -> set[str]:
    values = {value for attribute in half["attributes"] for value in attribute["values"]}
    return values | set(half["projects"]) | {part for name in half["people"] for part in (name, name.split()[0])}


@pytest.mark.parametrize("half", generate.HALVES)
def test_every_question_has_its_gold_valid_at_the_moment_it_is_about(half: str) -> None:
    begins: dict[str, datetime] = {}
    ends: dict[str, datetime] = {}
    texts: dict[str, str] = {}
    last = datetime.min
    for line in lines(f"writes_{half}.jsonl"):
        at = datetime.fromisoformat(line["at"])
        assert at.replace(tzinfo=None) >= last, "in the order of time"
        last = at.replace(tzinfo=None)
        if line["op"] == "remember":
            begins[line["id"]] = at
        if "supersedes" in line:
            ends[line["supersedes"]] = at
        if "valid_to" in line:
            ends[line["id"]] = datetime.fromisoformat(line["valid_to"])
        texts[line["id"]] = line.get("text", texts.get(line["id"], ""))
    for question in lines(f"questions_{half}.jsonl"):
        if "ended" in question:
            assert question["ended"] in ends
            continue
        gold = question["gold"]
        assert question.get("content", texts[gold]) == texts[gold]
        if "as_of" in question:
            as_of = datetime.fromisoformat(question["as_of"])
            assert begins[gold] <= as_of
            assert gold not in ends or as_of < ends[gold]
        else:
            assert gold not in ends
