"""What the core's ``extract_sentences`` computes, in plain Python: the same steps, in the same order of additions."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CountTokens = Callable[[str], int]

_WORD = re.compile(r"\w+(?:[-'.]\w+)*")


@dataclass(slots=True)
class Sentence:
    text: str
    label: int
    place: int
    words: Counter[str]
    value: float
    tokens: int
    vector: Mapping[str, float] = field(default_factory=dict)
    likeness: float = 0.0


def extract(given: Sequence[tuple[str, int, float]], labels: Sequence[str], max_tokens: int, count: CountTokens) -> str:
    sentences = [
        Sentence(text, label, place, words, value, max(1, count(f"{text} ")))
        for place, (text, label, value) in enumerate(given)
        if (words := Counter(word.lower() for word in _WORD.findall(text)))
    ]
    if sentences:
        _weigh(sentences)
    chosen = _choose(sentences, [count(label) for label in labels], max_tokens)
    while count(text := _text(chosen, labels)) > max_tokens:
        chosen.pop()
    return text


def _weigh(sentences: Sequence[Sentence]) -> None:
    distinct = {one.text: one.words for one in sentences}
    seen_in = Counter(word for words in distinct.values() for word in words)
    vectors = {text: _unit(words, seen_in, len(distinct)) for text, words in distinct.items()}
    centroid: defaultdict[str, float] = defaultdict(float)
    for vector in vectors.values():
        for word, weight in vector.items():
            centroid[word] += weight
    nearness = {text: _dot(vector, centroid) for text, vector in vectors.items()}
    for one in sentences:
        one.vector = vectors[one.text]
        one.value += 0.3 * (nearness[one.text] / max(nearness.values()))


def _unit(words: Counter[str], seen_in: Mapping[str, int], texts: int) -> dict[str, float]:
    weights = {word: (1 + math.log(times)) * math.log(1 + texts / seen_in[word]) for word, times in words.items()}
    norm = math.sqrt(_sum(weight * weight for weight in weights.values()))
    return {word: weight / norm for word, weight in weights.items()}


def _choose(left: list[Sentence], label_costs: Sequence[int], room: int) -> list[Sentence]:
    chosen: list[Sentence] = []
    labelled: set[int] = set()

    def cost(one: Sentence) -> int:
        return one.tokens + (0 if one.label in labelled else label_costs[one.label])

    while left := [one for one in left if cost(one) <= room and one.likeness < 0.9]:
        best = max(left, key=lambda one: (one.value - 0.8 * one.likeness) / cost(one) ** 0.2)
        room -= cost(best)
        chosen.append(best)
        labelled.add(best.label)
        left.remove(best)
        for one in left:
            one.likeness = max(one.likeness, _dot(one.vector, best.vector))
    return chosen


def _text(chosen: Sequence[Sentence], labels: Sequence[str]) -> str:
    lines: dict[int, list[str]] = {}
    for one in sorted(chosen, key=lambda one: one.place):
        lines.setdefault(one.label, []).append(one.text)
    return "\n".join(labels[label] + " ".join(texts) for label, texts in lines.items())


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return _sum(weight * other.get(word, 0.0) for word, weight in one.items())


def _sum(numbers: Iterable[float]) -> float:
    """Plain addition: ``sum`` compensates its rounding from Python 3.12 on."""
    total = 0.0
    for number in numbers:
        total += number
    return total
