"""The benchmarks' texts: the same from the same seed, all different, of the length they claim."""

from __future__ import annotations

import itertools

from benches.corpus import Corpus


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    assert Corpus(3).memories(50) == Corpus(3).memories(50)
    assert Corpus(3).queries(50) != Corpus(4).queries(50)


def test_memories_and_queries_are_distinct() -> None:
    corpus = Corpus(1)
    assert len(set(corpus.memories(10_000))) == 10_000
    assert len(set(corpus.queries(3_000))) == 3_000


def test_memories_are_of_ten_to_thirty_words() -> None:
    lengths = [len(text.split()) for text in Corpus(1).memories(500)]
    assert sorted(lengths)[len(lengths) // 20] >= 10
    assert max(lengths) <= 30


def test_no_event_repeats_the_one_before() -> None:
    events = list(itertools.islice(Corpus(1).events(), 2_000))
    assert all(text != following for text, following in itertools.pairwise(events))
