"""An extractive summary: the sentences of events that are most worth keeping, in their order, within a token budget.

Deterministic and offline. A sentence scores by how close it is to what the whole is about (centroid centrality, Radev et
al. 2004, "Centroid-based summarization of multiple documents"), by what kind of event it is from, and by what it says that
could not be said again from memory: numbers, names, identifiers, decisions, errors. Chosen greedily by marginal relevance
(Carbonell and Goldstein 1998), so that near-copies do not fill it. The weights were set on half A of benches/data/facts.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memd.domain.importance import marked
from memd.domain.model import Event, EventKind

CountTokens = Callable[[Sequence[str]], list[int]]
"""Exact counts of texts, in order."""

MAX_SENTENCE_CHARS = 400
"""A longer run of text without an end of sentence is cut into pieces of this size: it is data, not a sentence."""
KIND_WEIGHT = {
    EventKind.DECISION: 0.9,
    EventKind.ERROR: 0.8,
    EventKind.SUMMARY: 0.25,
    EventKind.TURN: 0.25,
    EventKind.TOOL_CALL: 0.1,
}
USER_WEIGHT = 0.1
"""More for what a user said: the agent can find its own words again."""
CENTRALITY_WEIGHT = 0.3
IMPORTANCE_WEIGHT = 0.2
NAME_WEIGHT, NUMBER_WEIGHT, IDENTIFIER_WEIGHT, TURN_WEIGHT, FAILURE_WEIGHT, MARK_WEIGHT = 0.25, 0.2, 0.45, 0.3, 0.4, 0.5
QUESTION_WEIGHT = -0.3
REPEAT_WEIGHT = 0.8
"""Of the likeness to the most alike sentence that was chosen before."""
SAME_AS = 0.9
"""From this likeness on a sentence says nothing new."""
BREVITY = 0.2
"""The score counts per token to this power: 0 prefers long sentences, 1 short ones."""

_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_WORD = re.compile(r"\w+(?:[-'.]\w+)*")
_NUMBER = re.compile(r"\d")
_NAME = re.compile(r"(?<!^)(?<![.!?:] )\b[A-Z][a-z]+")
_IDENTIFIER = re.compile(
    r"\b\w+[_/]\w+|\b\w+\.\w{1,5}\b(?!\.)|\b[A-Z]{2,}[\w-]*\d*\b|\b[a-z]+-\w+-?\w*\d\b|\b[a-z]+[A-Z]\w*"
)
_TURNING = re.compile(
    r"\b(?:decid\w+|decision|agreed?|chosen?|going with|instead of|because|cause[ds]?|turn(?:s|ed) out|must|never|always"
    r"|prefer\w*|deadline|until|only|limit\w*|budget|fixed|solved)\b",
    re.IGNORECASE,
)
_FAILING = re.compile(
    r"\b(?:error|fail\w*|exception|refused|rejected|denied|timed? ?out|crash\w*|died|broken|blocked|deprecated|reset"
    r"|does not|cannot|can't)\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Sentence:
    text: str
    event: int
    place: int
    words: Counter[str]
    tokens: int = 0
    score: float = 0.0
    vector: dict[str, float] = field(default_factory=dict)
    likeness: float = 0.0
    """To the most alike of the chosen ones."""


def extract(events: Sequence[Event], label: Callable[[Event], str], max_tokens: int, count: CountTokens) -> str:
    """At most ``max_tokens`` of the events, one line an event that has something left: ``label: sentences``."""
    sentences = _sentences(events)
    if not sentences:
        return ""
    _weigh(sentences)
    for sentence in sentences:
        sentence.score = _score(sentence, events[sentence.event])
    labels = [f"{label(event)}: " for event in events]
    costs = count([*labels, *(f"{sentence.text} " for sentence in sentences)])
    for sentence, tokens in zip(sentences, costs[len(labels) :], strict=True):
        sentence.tokens = max(1, tokens)
    chosen = _choose(sentences, costs[: len(labels)], max_tokens)
    return _fit(chosen, labels, max_tokens, count)


def _sentences(events: Sequence[Event]) -> list[_Sentence]:
    found: list[_Sentence] = []
    for number, event in enumerate(events):
        for text in _pieces(event.content):
            words = Counter(word.lower() for word in _WORD.findall(text))
            if words:
                found.append(_Sentence(text, number, len(found), words))
    return found


def _pieces(content: str) -> Iterator[str]:
    for part in _END.split(content):
        text = " ".join(part.split())
        if len(text) <= MAX_SENTENCE_CHARS:
            yield text
        else:
            yield from textwrap.wrap(text, MAX_SENTENCE_CHARS, break_on_hyphens=False)


def _weigh(sentences: Sequence[_Sentence]) -> None:
    """A unit vector of term weights each, rare words weighing more, and how near it is to the centre of them all. What is
    said again and again counts once: a phrase is not central for being a habit."""
    distinct = {sentence.text: sentence.words for sentence in sentences}
    seen_in = Counter(word for words in distinct.values() for word in words)
    vectors = {text: _unit(words, seen_in, len(distinct)) for text, words in distinct.items()}
    centroid: defaultdict[str, float] = defaultdict(float)
    for vector in vectors.values():
        for word, weight in vector.items():
            centroid[word] += weight
    nearness = {text: _dot(vector, centroid) for text, vector in vectors.items()}
    most = max(nearness.values())
    for sentence in sentences:
        sentence.vector = vectors[sentence.text]
        sentence.score = nearness[sentence.text] / most


def _unit(words: Counter[str], seen_in: Mapping[str, int], texts: int) -> dict[str, float]:
    weights = {word: (1 + math.log(times)) * math.log(1 + texts / seen_in[word]) for word, times in words.items()}
    norm = math.sqrt(sum(weight * weight for weight in weights.values()))
    return {word: weight / norm for word, weight in weights.items()}


def _score(sentence: _Sentence, event: Event) -> float:
    text = sentence.text
    value = KIND_WEIGHT[event.kind] + IMPORTANCE_WEIGHT * event.importance + CENTRALITY_WEIGHT * sentence.score
    value += USER_WEIGHT * (event.role == "user")
    value += MARK_WEIGHT * marked(text) + TURN_WEIGHT * bool(_TURNING.search(text))
    value += FAILURE_WEIGHT * bool(_FAILING.search(text)) + NUMBER_WEIGHT * bool(_NUMBER.search(text))
    value += NAME_WEIGHT * bool(_NAME.search(text)) + IDENTIFIER_WEIGHT * bool(_IDENTIFIER.search(text))
    return value + QUESTION_WEIGHT * text.endswith("?")


def _choose(sentences: Sequence[_Sentence], label_costs: Sequence[int], max_tokens: int) -> list[_Sentence]:
    """Best first. A label is paid for by the first sentence of its event."""
    chosen: list[_Sentence] = []
    labelled: set[int] = set()
    room = max_tokens

    def cost(one: _Sentence) -> int:
        return one.tokens + (0 if one.event in labelled else label_costs[one.event])

    left = list(sentences)
    while left := [one for one in left if cost(one) <= room and one.likeness < SAME_AS]:
        best = max(left, key=lambda one: (one.score - REPEAT_WEIGHT * one.likeness) / cost(one) ** BREVITY)
        room -= cost(best)
        chosen.append(best)
        labelled.add(best.event)
        left.remove(best)
        for one in left:
            one.likeness = max(one.likeness, _dot(one.vector, best.vector))
    return chosen


def _fit(chosen: list[_Sentence], labels: Sequence[str], max_tokens: int, count: CountTokens) -> str:
    """Tokens of parts do not quite add up: what was chosen last goes until the whole fits."""
    while chosen:
        text = _text(chosen, labels)
        if count([text])[0] <= max_tokens:
            return text
        chosen = chosen[:-1]
    return ""


def _text(chosen: Sequence[_Sentence], labels: Sequence[str]) -> str:
    lines: dict[int, list[str]] = {}
    for one in sorted(chosen, key=lambda one: one.place):
        lines.setdefault(one.event, []).append(one.text)
    return "\n".join(labels[event] + " ".join(texts) for event, texts in lines.items())


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(weight * other.get(word, 0.0) for word, weight in one.items())
