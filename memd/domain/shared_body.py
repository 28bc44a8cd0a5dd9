"""Tool outputs that are nearly the same: the older one as what differs from the newer one, from which it can be made again.

The newer one keeps the body, since older events go first when a session is over its caps. Lines are aligned by those that
occur once on either side (patience diff, B. Cohen), so that the work is bounded by n log n whatever the texts are.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from memd.domain.extract import is_tool_output
from memd.domain.model import Event
from memd.limits import SHARED_BODY_CHARS, SHARED_BODY_SHARE, SHARED_BODY_TRIES

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_PART = re.compile(r"[^,;\s]{1,200}[,;\s]*|[,;\s]+")
_LONG_LINE = 200
"""A longer line is compared in parts, cut at its commas and blanks: it is data."""
_HUNK = re.compile(r'^at (\d+), for (\d+) characters: (".*")$', re.MULTILINE)


def shared(events: Sequence[Event], since: int) -> Iterator[tuple[Event, Event]]:
    """Of a session's events, oldest first: each output that has a nearly equal one after it, at a position after ``since``,
    and what it becomes, its tokens not counted."""
    outputs = [event for event in events if _may_share(event)]
    for place, older in enumerate(outputs):
        later = [event for event in outputs[place + 1 :] if event.tool_name == older.tool_name]
        for newer in later[:SHARED_BODY_TRIES]:
            if newer.position > since and (content := referring(older, newer)):
                yield older, _reference(older, newer, content)
                break


def _may_share(event: Event) -> bool:
    return (
        len(event.content) >= SHARED_BODY_CHARS
        and is_tool_output(event)
        and not (event.ephemeral or event.kept_whole or event.body_event_id)
    )


def _reference(older: Event, newer: Event, content: str) -> Event:
    data = older.content.encode()
    return replace(
        older,
        content=content,
        body_event_id=newer.event_id,
        original_bytes=older.original_bytes or len(data),
        original_sha256=older.original_sha256 or hashlib.sha256(data).digest(),
    )


def referring(older: Event, newer: Event) -> str:
    """What is left to say of ``older`` with ``newer`` at hand; "" where that is more than SHARED_BODY_SHARE of it."""
    lines = [
        f"at {at}, for {length} characters: {json.dumps(text, ensure_ascii=False)}"
        for at, length, text in differences(older.content, newer.content)
    ]
    if sum(map(len, lines)) > SHARED_BODY_SHARE * len(older.content):
        return ""
    told = "; what differs from it:" if lines else ""
    made = "\n".join([f"[the output of event {newer.event_id}{told}]", *lines])
    return made if restored(made, newer.content) == older.content else ""


def restored(content: str, body: str) -> str:
    """The whole text of which ``referring`` made ``content``; ``body`` is that of the event it names."""
    made, at = [], 0
    for start, length, text in _HUNK.findall(content):
        made += [body[at : int(start)], json.loads(text)]
        at = int(start) + int(length)
    return "".join([*made, body[at:]])


def differences(older: str, newer: str) -> Iterator[tuple[int, int, str]]:
    """(place in ``newer``, characters of it, what ``older`` has instead), in order."""
    ours, theirs = _segments(older), _segments(newer)
    ends = [0]
    for segment in theirs:
        ends.append(ends[-1] + len(segment))
    a = b = 0
    for next_a, next_b in [*_anchors(ours, theirs), (len(ours), len(theirs))]:
        while a < next_a and b < next_b and ours[a] == theirs[b]:
            a, b = a + 1, b + 1
        end_a, end_b = next_a, next_b
        while a < end_a and b < end_b and ours[end_a - 1] == theirs[end_b - 1]:
            end_a, end_b = end_a - 1, end_b - 1
        if a < end_a or b < end_b:
            yield ends[b], ends[end_b] - ends[b], "".join(ours[a:end_a])
        a, b = next_a, next_b


def _segments(text: str) -> list[str]:
    return [
        segment
        for line in _LINE.findall(text)
        for segment in ([line] if len(line) <= _LONG_LINE else _PART.findall(line))
    ]


def _anchors(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Places of segments that occur once in each, as many as stand in the same order in both."""
    once = {segment for segment, times in Counter(ours).items() if times == 1}
    once &= {segment for segment, times in Counter(theirs).items() if times == 1}
    place = {segment: b for b, segment in enumerate(theirs) if segment in once}
    return _rising([(a, place[segment]) for a, segment in enumerate(ours) if segment in once])


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest rising sequence of second numbers (patience sorting)."""
    tops: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, b) in enumerate(pairs):
        pile = bisect_left(tops, b)
        before.append(last[pile - 1] if pile else -1)
        if pile == len(tops):
            tops.append(b)
            last.append(number)
        else:
            tops[pile], last[pile] = b, number
    found, number = [], last[-1] if last else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]
