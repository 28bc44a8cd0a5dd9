"""What the sentences of events are worth in a summary, by what kind of event they are from, and by what they say that could
not be said again from memory: numbers, names, identifiers, decisions, errors.

Deterministic. Which of them make the summary is chosen in the Rust core (``extract_sentences``), which adds how central and
how new each is. The weights were set on half A of benches/data/facts.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from memd.domain.importance import marked
from memd.domain.model import Event, EventKind

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
IMPORTANCE_WEIGHT = 0.2
NAME_WEIGHT, NUMBER_WEIGHT, IDENTIFIER_WEIGHT, TURN_WEIGHT, FAILURE_WEIGHT, MARK_WEIGHT = 0.25, 0.2, 0.45, 0.3, 0.4, 0.5
QUESTION_WEIGHT = -0.3

_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
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


def sentences(event: Event) -> Iterator[tuple[str, float]]:
    """Its sentences in order, on one line each, and what each is worth."""
    base = KIND_WEIGHT[event.kind] + IMPORTANCE_WEIGHT * event.importance + USER_WEIGHT * (event.role == "user")
    for text in _pieces(event.content):
        yield text, base + _telling(text)


def _pieces(content: str) -> Iterator[str]:
    for part in _END.split(content):
        text = " ".join(part.split())
        if len(text) <= MAX_SENTENCE_CHARS:
            yield text
        else:
            yield from textwrap.wrap(text, MAX_SENTENCE_CHARS, break_on_hyphens=False)


def _telling(text: str) -> float:
    value = MARK_WEIGHT * marked(text) + TURN_WEIGHT * bool(_TURNING.search(text))
    value += FAILURE_WEIGHT * bool(_FAILING.search(text)) + NUMBER_WEIGHT * bool(_NUMBER.search(text))
    value += NAME_WEIGHT * bool(_NAME.search(text)) + IDENTIFIER_WEIGHT * bool(_IDENTIFIER.search(text))
    return value + QUESTION_WEIGHT * text.endswith("?")
