"""benches.compression and its set: the committed files are what the generator makes, the halves share nothing."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from benches import compression
from benches.data.facts import generate


@pytest.mark.parametrize("half", generate.HALVES)
def test_the_generator_gives_the_committed_files(half: str) -> None:
    assert (generate.HERE / f"conversations_{half}.jsonl").read_text(encoding="utf-8") == generate.lines(half)


def test_the_halves_share_no_sentence_and_no_value() -> None:
    first, second = (_texts(half) for half in generate.HALVES)
    assert len(first) > 100
    assert not first & second


def _texts(half: str) -> set[str]:
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, str):
            found.add(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(part)

    templates = tomllib.loads((generate.HERE / f"templates_{half}.toml").read_text(encoding="utf-8"))
    collect([templates["slots"], templates["filler"], [fact["say"] for fact in templates["facts"]]])
    return found


def test_a_fact_is_kept_by_one_line_that_has_all_of_it() -> None:
    facts = [("5432", "db-7")]
    assert compression.kept("user: db-7 is on 5432", facts) == 1
    assert compression.kept("user: db-7\nuser: 5432", facts) == 0


def test_every_fact_is_in_the_whole_conversation() -> None:
    for half in generate.HALVES:
        for one in compression.conversations(half):
            assert compression.kept(one.text, one.facts) == len(one.facts)
