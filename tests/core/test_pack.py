"""Packing never exceeds the budget and gives every section its share."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memd._core import Section, TokenCounter, pack_context

LINE = "- one two three four five six seven eight nine ten"


def test_layout() -> None:
    sections = [
        Section("## Current session", ["- newest", "- older"], 0.5, reverse=True),
        Section("## Recent context", [], 0.2),
        Section("## Relevant knowledge", ["- [0.82] tea"], 0.3),
    ]
    packed = pack_context(TokenCounter(), sections, 500)
    assert packed.text == "## Current session\n\n- older\n- newest\n\n---\n\n## Relevant knowledge\n\n- [0.82] tea"
    assert packed.taken == [[0, 1], [], [0]]
    assert packed.tokens == TokenCounter().count(packed.text)


def test_a_large_first_section_does_not_starve_the_others() -> None:
    sections = [Section("## A", [LINE] * 50, 0.5), Section("## B", [LINE] * 50, 0.5)]
    packed = pack_context(TokenCounter(), sections, 400)
    assert min(map(len, packed.taken)) >= 12
    assert packed.tokens > 370
    alone = pack_context(TokenCounter(), [sections[0], Section("## B", [], 0.5)], 400)
    assert len(alone.taken[0]) > 25, "what the others leave over is handed out"


def test_an_item_that_does_not_fit_is_skipped_whole() -> None:
    packed = pack_context(TokenCounter(), [Section("## A", ["- " + "word " * 400, "- small"], 1.0)], 40)
    assert packed.text == "## A\n\n- small"
    assert pack_context(TokenCounter(), [Section("## A", [LINE], 1.0)], 3).text == ""


@settings(max_examples=400, deadline=None)
@given(
    given_sections=st.lists(
        st.tuples(
            st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=6), st.floats(0, 1), st.booleans()
        ),
        max_size=4,
    ),
    budget=st.integers(0, 150),
    encoding=st.sampled_from(["o200k_base", "cl100k_base"]),
)
def test_the_budget_is_never_exceeded(
    given_sections: list[tuple[list[str], float, bool]], budget: int, encoding: str
) -> None:
    counter = TokenCounter(encoding)
    sections = [Section("## Head", items, share, reverse) for items, share, reverse in given_sections]
    packed = pack_context(counter, sections, budget)
    assert packed.tokens == counter.count(packed.text) <= budget
    for (items, _, _), taken in zip(given_sections, packed.taken, strict=True):
        assert taken == sorted(set(taken))
        assert all(items[at] in packed.text for at in taken)


def test_bad_shares_and_budgets_are_refused() -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share"):
            Section("## A", [], share)
    with pytest.raises(ValueError, match="budget"):
        pack_context(TokenCounter(), [], -1)


def test_a_divisible_item_shows_its_newest_sentences() -> None:
    summary = "- summary: " + " ".join(f"Fact {n} was noted down." for n in range(200))
    section = Section("## S", ["- user: hello", summary], 1.0, reverse=True, divisible=[1])
    packed = pack_context(TokenCounter(), [section], 100)
    assert packed.text.startswith("## S\n\n- summary: [...] Fact ")
    assert packed.text.endswith("Fact 199 was noted down.\n- user: hello")
    assert 80 < packed.tokens <= 100
    assert packed.taken == [[0, 1]]
    with pytest.raises(ValueError, match="divisible"):
        Section("## S", ["- a"], 1.0, divisible=[1])
