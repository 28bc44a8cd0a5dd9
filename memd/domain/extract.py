"""What is kept of content that is too long: the parts that tell most, and how much there was."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from memd.domain.model import Event, EventKind
from memd.limits import EVENT_EXTRACT_BYTES, EXTRACT_LINE_CHARS, EXTRACT_LINES, TOOL_EXTRACT_TOKENS

CountTokens = Callable[[Sequence[str]], list[int]]
"""Exact counts of texts, in order."""

HEAD_SHARE, TAIL_SHARE = 0.25, 0.35
"""Of the tokens: what was asked stands at the head of an output, how it ended at its tail. The rest is for what tells most
between them."""
MARKER_TOKENS = 16
"""More than the line takes that says how many lines were left out."""

_TELLING = {
    "traceback": 4,
    "exception": 4,
    "fatal": 4,
    "panic": 4,
    "error": 3,
    "fail": 3,
    "denied": 3,
    "refused": 3,
    "timed out": 3,
    "timeout": 3,
    "not found": 3,
    "killed": 3,
    "assert": 3,
    "decision": 3,
    "decided": 3,
    "conflict": 2,
    "cannot": 2,
    "must": 2,
    "warn": 2,
    "deprecated": 2,
    "total": 2,
    "passed": 2,
    "result": 1,
    "summary": 1,
}
"""What a line says that is worth its place: errors first, then decisions, then how things ended."""
_NUMBER_WEIGHT = 0.5
_SEEN_WEIGHT = -2.0
"""A line like one that was taken, but for its numbers."""
_HITS_A_WORD = 64
"""Lines looked at for one telling word: a log where every line says "error" tells little by it."""
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Extract:
    """Size and SHA-256 are those of the whole original."""

    content: str
    original_bytes: int
    original_sha256: bytes


def is_tool_output(event: Event) -> bool:
    return event.kind is EventKind.TOOL_CALL or bool(event.tool_name)


def head_and_tail(data: bytes, max_bytes: int) -> Extract:
    """Head and tail of UTF-8 ``data``, half of ``max_bytes`` each, cut between characters, parted by one line that says
    how many bytes were left out."""
    marker = f"\n[... {len(data):,} bytes in all, the middle is left out ...]\n"
    half = (max_bytes - len(marker)) // 2
    head = data[:half].decode(errors="ignore")
    tail = data[-half:].decode(errors="ignore")
    return Extract(f"{head}{marker}{tail}", len(data), hashlib.sha256(data).digest())


def of_tool_output(text: str, count: CountTokens, max_tokens: int = TOOL_EXTRACT_TOKENS) -> Extract:
    """Head, tail and the lines between them that tell most, in their order, at most ``max_tokens`` and
    EVENT_EXTRACT_BYTES; a line says how many were left out wherever some were. Deterministic; blocking: 2 MiB take some
    tens of milliseconds."""
    data = text.encode()
    lines, starts = _lines(text)
    head, tail = range(len(lines))[:EXTRACT_LINES], range(len(lines))[-EXTRACT_LINES:]
    places = sorted({*head, *tail, *_hits(text, starts)})
    costs = dict(zip(places, count([f"{lines[place]}\n" for place in places]), strict=True))
    kept = _first(head, costs, int(HEAD_SHARE * max_tokens))
    kept += [place for place in _first(tail[::-1], costs, int(TAIL_SHARE * max_tokens)) if place not in kept]
    room = max_tokens - 2 * MARKER_TOKENS - sum(costs[place] for place in kept)
    for place in _ranked(lines, places, kept):
        if costs[place] + MARKER_TOKENS <= room:
            room -= costs[place] + MARKER_TOKENS
            kept.append(place)
    return Extract(_fitting(lines, kept, max_tokens, count), len(data), hashlib.sha256(data).digest())


def _lines(text: str) -> tuple[list[str], list[int]]:
    """The lines, long ones in pieces, and where each begins."""
    lines: list[str] = []
    starts: list[int] = []
    at = 0
    for line in text.split("\n"):
        for start in range(0, len(line) or 1, EXTRACT_LINE_CHARS):
            lines.append(line[start : start + EXTRACT_LINE_CHARS])
            starts.append(at + start)
        at += len(line) + 1
    return lines, starts


def _hits(text: str, starts: Sequence[int]) -> Iterator[int]:
    """The lines with telling words, wherever they are: the first and the last ones of each word."""
    lower = text.lower()
    if len(lower) != len(text):  # a few characters have longer lower cases: places would be wrong
        lower = text
    for word in _TELLING:
        at = -1
        for _ in range(_HITS_A_WORD):
            if (at := lower.find(word, at + 1)) < 0:
                break
            yield bisect_right(starts, at) - 1
        end = len(lower)
        for _ in range(_HITS_A_WORD if at >= 0 else 0):
            if (end := lower.rfind(word, 0, end)) < 0:
                break
            yield bisect_right(starts, end) - 1


def _first(places: Sequence[int], costs: Mapping[int, int], room: int) -> list[int]:
    """As many as fit, one after the other."""
    total = list(accumulate(costs[place] for place in places))
    return list(places[: bisect_right(total, room)])


def _ranked(lines: Sequence[str], places: Sequence[int], kept: Sequence[int]) -> list[int]:
    """What is not kept, best first; of lines that differ in numbers alone the first one before all the others."""
    shapes = {_NUMBERS.sub("0", lines[place]) for place in kept}
    ranked = []
    for place in sorted(set(places).difference(kept)):
        shape = _NUMBERS.sub("0", lines[place])
        ranked.append((_score(lines[place]) + _SEEN_WEIGHT * (shape in shapes), -place))
        shapes.add(shape)
    return [-place for _, place in sorted(ranked, reverse=True)]


def _score(line: str) -> float:
    lower = line.lower()
    told = max((weight for word, weight in _TELLING.items() if word in lower), default=0)
    return told + _NUMBER_WEIGHT * bool(_NUMBERS.search(line))


def _fitting(lines: Sequence[str], kept: Sequence[int], max_tokens: int, count: CountTokens) -> str:
    """Tokens of parts do not quite add up: what was taken last goes until the whole fits."""
    while True:
        text = _joined(lines, sorted(kept))
        if not kept or (len(text.encode()) <= EVENT_EXTRACT_BYTES and count([text])[0] <= max_tokens):
            return text
        kept = kept[:-1]


def _joined(lines: Sequence[str], places: Sequence[int]) -> str:
    parts: list[str] = []
    before = -1
    for place in [*places, len(lines)]:
        if place > before + 1:
            parts.append(f"[... {place - before - 1:,} lines left out ...]")
        if place < len(lines):
            parts.append(lines[place].rstrip("\r"))
        before = place
    return "\n".join(parts)
