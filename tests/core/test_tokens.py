"""Token counts equal those of ``tiktoken`` built from the same ranks, and figures published for it."""

from __future__ import annotations

import sys

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from memd._core import TokenCounter

ENCODINGS = ("o200k_base", "cl100k_base")

# From OpenAI's cookbook, "How to count tokens with tiktoken": (o200k_base, cl100k_base).
PUBLISHED = {
    "antidisestablishmentarianism": (6, 6),
    "2 + 2 = 4": (7, 7),
    "お誕生日おめでとう": (8, 9),
}

NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \t\n\r/'\u00a0\u0085\u2028\u3000stlvemrdSTLVEMRDſʰǅ\u0301日0١.,!_-👍\u200d"),
        st.characters(codec="utf-8"),
    ),
    max_size=80,
)


@pytest.fixture(scope="module", params=ENCODINGS)
def pair(request: pytest.FixtureRequest) -> tuple[TokenCounter, tiktoken.Encoding]:
    """A counter, and ``tiktoken`` with the patterns it ships and the ranks the counter has (its own it would download)."""
    counter = TokenCounter(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: counter.vocabulary())
        return counter, tiktoken.Encoding(**getattr(openai_public, request.param)())


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_counts(text: str) -> None:
    assert tuple(TokenCounter(name).count(text) for name in ENCODINGS) == PUBLISHED[text]


def test_vocabulary_has_the_published_sizes() -> None:
    sizes = [len(TokenCounter(name).vocabulary()) for name in ENCODINGS]
    assert sizes == [199_998, 100_256]


@settings(max_examples=1500, deadline=None)
@given(text=NASTY)
def test_counts_equal_tiktoken(pair: tuple[TokenCounter, tiktoken.Encoding], text: str) -> None:
    counter, reference = pair
    assert counter.count(text) == len(reference.encode_ordinary(text))


def test_every_code_point_counts_as_in_tiktoken(pair: tuple[TokenCounter, tiktoken.Encoding]) -> None:
    counter, reference = pair
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    for at in range(0, len(characters), 256):
        block = "".join(f"a{c}B {c}{c}\n" for c in characters[at : at + 256])
        assert counter.count(block) == len(reference.encode_ordinary(block)), f"near U+{ord(characters[at]):04X}"


@pytest.mark.parametrize("unit", ["a", " ", "\n", "é", "日", "0", "=", " a", "ab\t"])
def test_long_runs_count_as_in_tiktoken(pair: tuple[TokenCounter, tiktoken.Encoding], unit: str) -> None:
    counter, reference = pair
    for times in (127, 128, 129, 1000, 20_000):
        assert counter.count(unit * times) == len(reference.encode_ordinary(unit * times))


def test_special_tokens_in_a_text_are_plain_text() -> None:
    assert TokenCounter().count("<|endoftext|>") > 1


def test_a_batch_counts_each_text() -> None:
    texts = ["", "hello world", "日本", "x" * 500]
    counter = TokenCounter("cl100k_base")
    assert counter.count_batch(texts) == [counter.count(text) for text in texts]
    assert counter.encoding == "cl100k_base"


def test_unknown_encodings_and_lone_surrogates_are_refused() -> None:
    with pytest.raises(ValueError, match="o200k_base"):
        TokenCounter("p50k_base")
    with pytest.raises(UnicodeEncodeError):
        TokenCounter().count("\ud800")
