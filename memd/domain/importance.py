"""How much an event matters, by fixed rules, with its reasons: cheap enough for the write path, and explainable.

A base for the kind, then additions for what is likely to be needed again. The figures order events against each other;
nothing compares them with anything else.
"""

from __future__ import annotations

import re

from memd.domain.model import Event, EventKind, Outcome

_BASE = {
    EventKind.TURN: 0.3,
    EventKind.TOOL_CALL: 0.25,
    EventKind.DECISION: 0.7,
    EventKind.ERROR: 0.6,
    EventKind.SUMMARY: 0.6,
}
_SMALL_TALK_BYTES = 12
_SMALL_TALK = 0.1
_LOOKED_AT = 4_096
"""Characters of the content the rules read: marks stand at the start of what people say."""

_MARK = re.compile(
    r"\b(?:remember (?:that|this|to|my|i|we)|don'?t forget|keep in mind|note that|important:|for the record"
    r"|from now on|never again|my name is)\b|\bremember\s*:",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^\s*(?:note|important|todo)\s*:", re.IGNORECASE | re.MULTILINE)
_PREFERENCE = re.compile(
    r"\b(?:i|we) (?:always|never|usually|(?:really )?(?:prefer|like|love|hate|dislike|want|need))\b"
    r"|\bmy (?:name|favou?rite)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d")
_MARK_HINTS = (
    "remember",
    "t forget",
    "keep in mind",
    "note that",
    "important:",
    "for the record",
    "from now on",
    "never again",
    "my name is",
)
"""One of these is part of whatever the pattern finds: a search for a fixed string costs a hundredth of the pattern's."""
_PREFERENCE_HINT = re.compile(
    r"[iwm][ey]? (?:always|never|usually|really|prefer|like|love|hate|dislike|want|need|name|favo)"
)
"""Found in lower case wherever the pattern is, in a fifth of the time: it begins with a letter, not with a place."""

Scored = tuple[float, tuple[str, ...]]


def score(event: Event) -> Scored:
    """Importance in 0..1 and the words that tell why: ``kind:...`` first, then each rule that applied."""
    kind = event.kind
    text = event.content if len(event.content) <= _LOOKED_AT else event.content[:_LOOKED_AT]
    if kind is EventKind.TURN and len(text) <= _SMALL_TALK_BYTES and not _NUMBER.search(text):
        return _SMALL_TALK, ("kind:turn", "short")
    value = _BASE[kind]
    reasons = [f"kind:{kind.value}"]
    if event.outcome is Outcome.FAILURE:
        value += 0.25
        reasons.append("failure")
    if event.resolves:
        value += 0.25
        reasons.append("resolves_error")
    lower = text.lower()
    if _has_mark(text, lower):
        value += 0.4
        reasons.append("explicit_mark")
    if kind is EventKind.TURN and _PREFERENCE_HINT.search(lower) and _PREFERENCE.search(text):
        value += 0.2
        reasons.append("preference")
    if _NUMBER.search(text):
        value += 0.05
        reasons.append("number")
    return min(1.0, round(value, 2)), tuple(reasons)


def marked(text: str) -> bool:
    """Whether the text says by itself that it is to be kept: "remember that", "note:", "from now on"."""
    return _has_mark(text, text.lower())


def _has_mark(text: str, lower: str) -> bool:
    hinted = any(map(lower.__contains__, _MARK_HINTS))
    return (hinted and _MARK.search(text) is not None) or _LABEL.search(text) is not None
