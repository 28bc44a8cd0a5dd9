"""What events of a session mean to each other: which failure was resolved by what, what is said again and again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from memd.domain.model import Event, EventKind, Outcome
from memd.limits import NEAR_DUPLICATE_COSINE, NOVEL_COSINE, RESOLVE_REACH, SAID_TIMES

GIVEN, RESOLVED, RESOLVES, REPEATED = "given", "resolved", "resolves_error", "repeated"
NOVEL, KNOWN = "novel", "known"
RESOLVED_WEIGHT = -0.2
"""A failure that is over matters less than one that is not."""
RESOLVES_WEIGHT = 0.25
REPEATED_WEIGHT = 0.2
NOVELTY_WEIGHT = 0.1

_GENERIC_TOOLS = frozenset(("bash", "sh", "shell", "terminal", "exec", "execute", "run", "python", "command", "cmd"))
"""They do everything: a later success of one says nothing about another command."""
_LOOKED_AT = 4_096
_SAID_CHARS = 400
"""Nobody says more again and again; and it is on the way of a reply."""
_NEAR = 3
"""Events after the only open failure in which "fixed" can mean no other."""
_FIXED = re.compile(
    r"\b(?:fixed|resolved|solved|(?:works?|working|passes|passing|succeeds) (?:now|again)|now (?:works|passes)"
    r"|no longer (?:fails?|crash\w*|happens))\b",
    re.IGNORECASE,
)
_NOT_FIXED = re.compile(
    r"\b(?:not|never|isn'?t|wasn'?t|hasn'?t|haven'?t|can'?t|cannot|still|should|will|would|could|must|if|until|unless"
    r"|try|trying|hope\w*|needs?|to be|once|when|un(?:resolved|solved))\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_FILLER = re.compile(
    r"an?|the|i|we|you|it|is|are|was|were|be|been|am|to|of|in|on|at|for|with|and|or|so|that|this|please|just|again|really"
    r"|well|oh|hey|ok|okay|said|told|as|my|your|our"
)
_COMMON = re.compile(
    r"errors?|fail(?:s|ed|ure|ing)?|fixed|resolved|solved|works|again|tool|with|from|that|this|line|file|tests?"
)


def failed(event: Event) -> bool:
    return event.outcome is Outcome.FAILURE or (event.kind is EventKind.ERROR and event.outcome is Outcome.NONE)


def may_resolve(event: Event) -> bool:
    """Whether it could be the end of a failure before it."""
    succeeded = event.outcome is Outcome.SUCCESS and bool(event.tool_name or event.tool_call_id)
    return bool(event.resolves) or succeeded or (not failed(event) and _says_fixed(event))


def resolutions(events: Sequence[Event]) -> Iterator[tuple[Event, Event]]:
    """Of a session's events, oldest first: each failure that is over, with what resolved it."""
    waiting: list[Event] = []
    for event in events:
        found = _resolved_by(event, waiting) if waiting and may_resolve(event) else []
        for failure in reversed(found):
            waiting.remove(failure)
            if not failure.resolved_by:
                yield failure, event
        if failed(event):
            waiting.append(event)


def _resolved_by(event: Event, waiting: Sequence[Event]) -> list[Event]:
    if event.resolves:
        return [failure for failure in waiting if failure.event_id == event.resolves]
    if event.outcome is Outcome.SUCCESS:
        same = [failure for failure in waiting if _same_call(failure, event)]
        if same:
            return same
    if not _says_fixed(event):
        return []
    near = [failure for failure in waiting if event.position - failure.position <= RESOLVE_REACH]
    named = [failure for failure in near if _telling_words(failure) & _telling_words(event)]
    if not named and len(near) == 1 and event.position - near[0].position <= _NEAR:
        named = near
    return named[-1:]


def _same_call(failure: Event, success: Event) -> bool:
    if failure.tool_call_id and failure.tool_call_id == success.tool_call_id:
        return True
    name = success.tool_name
    if not name or failure.tool_name != name:
        return False
    return name.lower() not in _GENERIC_TOOLS or bool(_telling_words(failure) & _telling_words(success))


def _telling_words(event: Event) -> frozenset[str]:
    words = _WORD.findall(event.content[:_LOOKED_AT].lower())
    return frozenset(word for word in words if len(word) > 3 and not word.isdigit() and not _COMMON.fullmatch(word))


def _says_fixed(event: Event) -> bool:
    return event.kind in (EventKind.TURN, EventKind.DECISION) and says_fixed(event.content[:_LOOKED_AT])


def says_fixed(text: str) -> bool:
    """Whether some sentence states that something works now; not one that asks, hopes or denies it."""
    if not _FIXED.search(text):
        return False
    sentences = _SENTENCE.findall(text)
    return any(_FIXED.search(one) and not one.endswith("?") and not _NOT_FIXED.search(one) for one in sentences)


def still_failing(events: Sequence[Event]) -> bool:
    """Whether there is a failure that nothing is known to have resolved."""
    return any(failed(event) and not event.resolved_by for event in events)


def resolved(failure: Event, by: Event) -> Event:
    return _reasoned(replace(failure, resolved_by=by.event_id), RESOLVED, RESOLVED_WEIGHT)


def resolving(event: Event, failure: Event) -> Event:
    """The other side of it; one that named the failure itself was scored for it when it came."""
    return event if event.resolves else _reasoned(replace(event, resolves=failure.event_id), RESOLVES, RESOLVES_WEIGHT)


def said(event: Event) -> tuple[str, ...]:
    """What of a user's turn makes it the same as another one: its words but for fillers, in order; () for all that is not
    worth counting. Numbers and negations are words."""
    if event.kind is not EventKind.TURN or event.role != "user" or len(event.content) > _SAID_CHARS:
        return ()
    words = tuple(word for word in _WORD.findall(event.content.casefold()) if not _FILLER.fullmatch(word))
    return words if len(words) > 1 else ()


def repeated(events: Sequence[Event]) -> Iterator[Event]:
    """What the user says for the SAID_TIMES-th time or more and is not marked as that."""
    times: Counter[tuple[str, ...]] = Counter()
    for event in events:
        words = said(event)
        times[words] += event.count if words else 0
        if times[words] >= SAID_TIMES and REPEATED not in event.importance_reasons:
            yield event


def emphasized(event: Event) -> Event:
    return _reasoned(event, REPEATED, REPEATED_WEIGHT)


def compared(event: Event, relevance: float) -> Event:
    """``relevance``: the cosine of the nearest thing that is known, -1 where nothing is."""
    if relevance >= NEAR_DUPLICATE_COSINE:
        return _reasoned(event, KNOWN, -NOVELTY_WEIGHT)
    return _reasoned(event, NOVEL, NOVELTY_WEIGHT) if relevance < NOVEL_COSINE else event


def _reasoned(event: Event, reason: str, weight: float) -> Event:
    """One reason more, and its weight, except where the caller gave the importance."""
    given = GIVEN in event.importance_reasons
    importance = event.importance if given else min(1.0, max(0.0, round(event.importance + weight, 2)))
    return replace(event, importance=importance, importance_reasons=(*event.importance_reasons, reason))
