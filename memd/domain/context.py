"""How what was found reads in the context block: one Markdown list item each, that content cannot break out of.

Content is written by users and tools. It stays inside its item: every kind of line break in it becomes a line break and
two spaces, and a continuation line that would read as a heading, a rule or an underline is escaped, so that no content can
forge a section of the block.
"""

from __future__ import annotations

from memd.domain.model import Event, EventKind, Memory, Outcome, Procedure
from memd.domain.spoken import spoken

SESSION_HEADING = "## Current session"
RECENT_HEADING = "## Recent context"
KNOWLEDGE_HEADING = "## Relevant knowledge"
PROCEDURES_HEADING = "## Known procedures"

SESSION_SHARE = 0.35
"""Parts of the token budget each section may take before the others have had theirs; they add up to one. The session
and the knowledge get most: the one is what the agent is doing, the other what it cannot know otherwise."""
RECENT_SHARE = 0.15
KNOWLEDGE_SHARE = 0.35
PROCEDURES_SHARE = 0.15

_RULES = "-=*_"
"""A line of one of these alone is a rule, or makes a heading of the line above it."""
_OUTCOMES = {Outcome.NONE: "", Outcome.SUCCESS: " [ok]", Outcome.FAILURE: " [failed]"}
_LABELS = {EventKind.DECISION: "decision", EventKind.ERROR: "error", EventKind.SUMMARY: "summary"}


def event_item(event: Event) -> str:
    """``- user: text``, ``- tool NAME [ok|failed]: text``, ``- decision: text``, ``- error: text`` or
    ``- summary: text``."""
    return f"- {event_label(event)}: {inside(event.content)}"


def memory_item(memory: Memory, relevance: float) -> str:
    """``- [0.82] text``, with its speaker where it has one; a negative relevance reads 0.00."""
    return f"- [{max(0.0, relevance):.2f}] {inside(spoken(one_line(memory.speaker), memory.content))}"


def procedure_item(procedure: Procedure) -> str:
    """``- key v3 (12/14 ok): text``; without outcomes ``(untried)``; ``(12/14 ok; v4 was demoted)`` for a former version, and
    ``(12/24 ok; failing lately)`` for one that fell and has no good one to take its place."""
    tried = procedure.successes + procedure.failures
    record = f"{procedure.successes}/{tried} ok" if tried else "untried"
    if procedure.demotion:
        record += "; failing lately"
    elif procedure.offer.version == procedure.version < procedure.offer.newest:
        record += f"; v{procedure.offer.newest} was demoted"
    return f"- {one_line(procedure.key)} v{procedure.version} ({record}): {inside(procedure.content)}"


def inside(content: str) -> str:
    """``content`` such that it stays within its list item."""
    lines = content.strip().splitlines()
    if len(lines) <= 1:
        return lines[0] if lines else ""
    return "\n".join([lines[0], *map(_continuation, lines[1:])])


def one_line(name: str) -> str:
    """A name for the inside of a line: runs of white space and line breaks become one space."""
    return " ".join(name.split())


def _continuation(line: str) -> str:
    text = line.strip()
    if not text:
        return ""
    first = text[0]
    forges = first == "#" or (first in _RULES and not text.strip(f"{first} \t"))
    indent = line[: len(line) - len(line.lstrip())]
    return f"  {indent}\\{text}" if forges else f"  {indent}{text}"


def event_label(event: Event) -> str:
    if event.kind is EventKind.TOOL_CALL:
        name = f"tool {one_line(event.tool_name)}".rstrip()
        return name + _OUTCOMES[event.outcome]
    if event.kind is EventKind.TURN:
        return one_line(event.role) or "turn"
    return _LABELS[event.kind]
