"""Memories that say the same in the same words: when one may take the place of another without anything being lost."""

from __future__ import annotations

import re

from memd.domain.model import Memory, SourceKind
from memd.limits import MERGE_MAX_CHARS

_WORD = re.compile(r"[^\W_]+(?:['’.:/-][^\W_]+)*|[^\s\w.,;:!?\"'()]")
"""Words with what joins their parts (times, paths, versions), and signs that carry meaning of their own ("+", "%", "€")."""
_FILLER = frozenset(("a", "an", "the", "please", "just", "also", "that"))
"""What may be there or not: articles and politeness. Not "not", not pronouns, not prepositions, not tenses."""
_MARK = re.compile(
    r"^\s*(?:please\s+)?(?:remember(?:\s*:|\s+that\b)|note(?:\s*:|\s+that\b)|for the record,)", re.IGNORECASE
)


def statement(content: str) -> tuple[str, ...]:
    """The words in order, but for case, punctuation, fillers and a mark before them."""
    words = _WORD.findall(unmarked(content).casefold().replace("’", "'"))
    return tuple(word for word in words if word not in _FILLER)


def unmarked(content: str) -> str:
    """Without the words that only ask to keep it."""
    return _MARK.sub("", content)


def may_be_merged(memory: Memory) -> bool:
    """What is pinned, a digest, or ends by itself stays as it is."""
    if memory.pinned or memory.source is SourceKind.DIGEST or len(memory.content) > MERGE_MAX_CHARS:
        return False
    return memory.valid_to is None and memory.expire_time is None and not memory.superseded_by


def restates(newer: Memory, older: Memory, writer: str) -> bool:
    """Whether all that ``older`` says, about whom and when, is said by ``newer``. What was said at another time, or is a turn
    with its place in a conversation, is another event, unless both were made of events by ``writer``."""
    if not (may_be_merged(newer) and may_be_merged(older)) or newer.memory_id == older.memory_id:
        return False
    no_turns = newer.position is None and older.position is None and newer.event_time == older.event_time
    return (
        (no_turns or newer.writer == older.writer == writer)
        and _labels(newer) == _labels(older)
        and _said(newer) == _said(older)
    )


def _labels(memory: Memory) -> tuple[object, ...]:
    scope = memory.scope
    return scope.user_id, scope.agent_id, memory.speaker, memory.source, memory.tags, dict(memory.metadata)


def _said(memory: Memory) -> tuple[object, ...]:
    """Without words (signs alone, say) the whole content."""
    return statement(memory.content) or (memory.content,)
