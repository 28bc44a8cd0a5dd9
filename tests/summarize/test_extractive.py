"""The extractive summarizer: exact, deterministic, in order, without near-copies; nothing it says is its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benches.corpus import Corpus
from memd import _core
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.domain.model import Event, EventKind
from memd.ports import SummaryRequest
from tests.summarize import reference

COUNTER = _core.TokenCounter()
SUMMARIZER = ExtractiveSummarizer(COUNTER)


def turn(content: str, role: str = "user", kind: EventKind = EventKind.TURN) -> Event:
    return Event("e", kind, content, role=role, importance=0.3)


CHATTER = [turn("Hello there, nice to see you again. How was the weekend?"), turn("It was fine, thanks.", "assistant")]


def extract(events: list[Event], max_tokens: int, earlier: str = "") -> str:
    summary = SUMMARIZER.extract(SummaryRequest(tuple(events), max_tokens, earlier))
    assert summary.tokens == COUNTER.count(summary.text) <= max_tokens
    return summary.text


def test_what_matters_is_kept_and_chatter_is_not() -> None:
    events = [
        *CHATTER * 5,
        turn("By the way, the staging database listens on port 5433. What a day."),
        turn("db-7 refused the connection", kind=EventKind.ERROR),
        turn("We migrate on Tuesday.", kind=EventKind.DECISION),
        *CHATTER * 5,
    ]
    kept = [
        "user: By the way, the staging database listens on port 5433.",
        "error: db-7 refused the connection",
        "decision: We migrate on Tuesday.",
    ]
    assert extract(events, 38).splitlines() == kept


def test_near_copies_are_kept_once() -> None:
    events = [turn(f"The limit is 4,200 euros for order {n % 2}.") for n in range(20)]
    assert len(extract(events, 1_000).splitlines()) == 2


def test_an_earlier_summary_is_compressed_with_the_rest() -> None:
    text = extract(
        [*CHATTER, turn("Malik owns it now.")], 40, earlier="decision: We migrate on Tuesday.\nuser: I use port 5433."
    )
    assert "decision: We migrate on Tuesday." in text
    assert "user: I use port 5433." in text


def test_running_text_without_an_end_is_cut_into_pieces() -> None:
    text = extract([turn("x1 " * 5_000)], 200)
    assert text.startswith("user: x1 x1")


@pytest.mark.parametrize("events", [[], [turn("")], [turn("...")], [turn(" \n ")]])
def test_nothing_to_say(events: list[Event]) -> None:
    assert extract(events, 100) == ""


def test_a_budget_in_which_nothing_fits() -> None:
    assert extract([turn("This sentence has more than three tokens.")], 3) == ""
    assert extract([turn("This one too.")], 0) == ""


WORDS = st.text(st.sampled_from("ab 1.!?\n\u4f60\u597d\U0001f642_/A:-"), max_size=80)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.sampled_from(list(EventKind))), max_size=12), st.integers(0, 120))
def test_exact_deterministic_and_only_what_was_said(said: list[tuple[str, EventKind]], max_tokens: int) -> None:
    events = [replace(turn(text), kind=kind) for text, kind in said]
    first = extract(events, max_tokens)
    assert extract(events, max_tokens) == first
    source = " ".join(" ".join(text.split()) for text, _ in said)
    for line in first.splitlines():
        for word in line.partition(": ")[2].split():
            assert word in source


SENTENCE = st.lists(
    st.sampled_from(["port ", "Port ", "5432", "db-7", "is ", "the ", "a", "'", ".", "-", "\u4f60", "! "]), max_size=12
).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(SENTENCE, st.integers(0, 3), st.integers(-4, 16)), max_size=14),
    st.integers(0, 90),
)
def test_the_core_chooses_what_the_arithmetic_in_python_does(said: list[tuple[str, int, int]], max_tokens: int) -> None:
    labels = ["user: ", "assistant: ", "error: ", "tool psql [ok]: "]
    given_ = sorted(((text, label, value / 8) for text, label, value in said), key=lambda one: one[1])
    chosen = _core.extract_sentences(COUNTER, given_, labels, max_tokens)
    assert chosen == reference.extract(given_, labels, max_tokens, COUNTER.count)


def test_the_core_chooses_the_same_of_a_conversation() -> None:
    texts = Corpus(7).documents(30, 12)
    said = [(one, place // 12, place % 5 / 4) for place, one in enumerate(". ".join(texts).split(". "))]
    labels = [f"user {place}: " for place in range(len(said) // 12 + 1)]
    for max_tokens in (50, 200, 1_500, 20_000):
        chosen = _core.extract_sentences(COUNTER, said, labels, max_tokens)
        assert chosen == reference.extract(said, labels, max_tokens, COUNTER.count)


@pytest.mark.parametrize("sentence", [("One.", 1, 0.5), ("One.", 0, float("nan"))])
def test_the_core_refuses_sentences_that_make_no_sense(sentence: tuple[str, int, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        _core.extract_sentences(COUNTER, [sentence], ["user: "], 10)
