"""Which memories say the same in the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memd.domain.model import Memory, Scope, SourceKind
from memd.domain.restatement import restates

WRITER = "memd"
SAME = [
    ("The build needs a compiler", "the build needs the compiler."),
    ("Ada prefers tea over coffee!", "Ada prefers tea over coffee"),
    ("Remember that I prefer window seats", "I prefer window seats"),
    ("remember: I prefer window seats", "Please remember that I prefer window seats."),
    ("Deploys happen on Thursdays, at 9:00", "Deploys happen on Thursdays at 9:00"),
    ("I don't eat fish", "I don’t eat fish"),
    ("The office is in Graz; the lab is in Linz", "The office is in Graz. The lab is in Linz."),
]
DIFFERENT = [
    ("The database listens on port 5432", "The database listens on port 5433"),
    ("Ada likes fish", "Ada does not like fish"),
    ("I eat fish", "I never eat fish"),
    ("Ada lives in Graz", "Eve lives in Graz"),
    ("I prefer tea", "You prefer tea"),
    ("a flight to Rome", "a flight from Rome"),
    ("the build is red", "the build was red"),
    ("Ada beats Eve at chess", "Eve beats Ada at chess"),
    ("version 1.2 is out", "version 12 is out"),
    ("we use C", "we use C++"),
    ("we use C#", "we use C"),
    ("a rise of 5 %", "a rise of 5"),
    ("meet at 9:30", "meet at 93:0"),
    ("budget is 5 €", "budget is 5 $"),
    ("Ada prefers tea", "Ada prefers green tea"),
    ("the files are in /srv/a", "the files are in /srv/b"),
    ("...", "!!!"),
]


def memory(content: str, memory_id: str = "m", **fields: Any) -> Memory:
    return Memory(memory_id, fields.pop("scope", Scope("n", "ada")), content, **fields)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_says_the_same_restates(one: str, other: str) -> None:
    assert restates(memory(one), memory(other, "o"), WRITER)
    assert restates(memory(other), memory(one, "o"), WRITER)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_says_something_else_does_not(one: str, other: str) -> None:
    assert not restates(memory(one), memory(other, "o"), WRITER)
    assert not restates(memory(other), memory(one, "o"), WRITER)


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": Scope("n", "eve")},
        {"scope": Scope("n", "ada", "agent")},
        {"speaker": "Eve"},
        {"source": SourceKind.TOOL},
        {"tags": ("home",)},
        {"metadata": {"page": 3}},
        {"event_time": 5},
        {"position": 5},
        {"pinned": True},
        {"valid_to": 9},
        {"expire_time": 9},
        {"superseded_by": "x"},
        {"source": SourceKind.DIGEST},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_the_same_words_about_something_else_stay(fields: dict[str, Any]) -> None:
    plain, other = memory("Ada prefers tea"), memory("Ada prefers tea", "o", **fields)
    assert not restates(plain, other, WRITER)
    assert not restates(other, plain, WRITER)


def test_the_session_it_was_said_in_does_not_matter_nor_when_memd_was_told() -> None:
    one = memory("I prefer tea", scope=Scope("n", "ada", "", "s1"), event_time=5, writer=WRITER)
    other = replace(one, memory_id="o", scope=Scope("n", "ada", "", "s2"), event_time=9)
    assert restates(one, other, WRITER)
    assert not restates(one, replace(other, writer="a client"), WRITER), "turns of a conversation are events"
    assert not restates(one, one, WRITER)
    turn = memory("Thanks, see you!", position=4, event_time=5)
    assert not restates(turn, replace(turn, memory_id="o"), WRITER)
