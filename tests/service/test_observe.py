"""Observe: what is kept of an event, and what the server adds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest

from memd._core import TokenCounter
from memd.domain.errors import InvalidArgument, RequestIdReused
from memd.domain.model import Event, EventKind, Outcome
from memd.limits import EVENT_EXTRACT_BYTES, MAX_EVENT_BYTES, TOOL_EXTRACT_TOKENS, TOOL_OUTPUT_BYTES
from tests.service.conftest import SCOPE, House
from tests.service.writing import request, say, turn


async def stored(house: House) -> list[Event]:
    return list((await house.sessions.working(SCOPE)).items)


async def test_the_server_adds_id_importance_tokens_and_times(house: House) -> None:
    written = await say(house, turn("Remember that I prefer tea", event_time=5), "yes")
    first, second = await stored(house)
    assert first.event_id != second.event_id
    assert [one.event_id for one in written.value] == [first.event_id, second.event_id]
    assert first.tokens == TokenCounter().count("Remember that I prefer tea")
    assert "explicit_mark" in first.importance_reasons
    assert first.importance > second.importance == 0.1
    assert first.event_time == 5
    assert second.event_time == second.last_seen > 5
    assert (first.position, second.position) == (1, 2)


async def test_what_the_caller_gives_is_kept(house: House) -> None:
    given = Event(
        "mine",
        EventKind.TOOL_CALL,
        "exit status 2",
        role="tool",
        tool_name="make",
        tool_call_id="c1",
        outcome=Outcome.FAILURE,
        importance=0.0,
        event_time=7,
        metadata={"ms": 12, "tags": ["a"]},
    )
    await say(house, given)
    (kept,) = await stored(house)
    expected = replace(
        given,
        importance_reasons=("given",),
        tokens=kept.tokens,
        position=1,
        last_seen=kept.last_seen,
        count=1,
    )
    assert kept == expected


async def test_repeats_merge_and_a_second_yes_later_stays(house: House) -> None:
    await say(house, "yes", "yes", "no", "yes")
    assert [(event.content, event.count) for event in await stored(house)] == [("yes", 2), ("no", 1), ("yes", 1)]
    again = await say(house, turn("once", event_id="e1"), turn("once more", event_id="e1"))
    assert [one.merged for one in again.value] == [False, True]
    assert (await stored(house))[-1].content == "once"


async def test_too_long_is_refused_or_kept_as_head_and_tail(house: House) -> None:
    long = "ü" * (MAX_EVENT_BYTES // 2) + "tail"
    with pytest.raises(InvalidArgument) as refused:
        await say(house, "fine", turn(long))
    assert refused.value.field == "events[1].content"
    assert await stored(house) == [], "all or none"
    await say(house, turn("x" * MAX_EVENT_BYTES))
    await say(house, turn(long), extract=True)
    exact, cut = (await house.sessions.episodes(SCOPE, size=10)).items[::-1]
    assert (exact.original_bytes, len(exact.content)) == (0, MAX_EVENT_BYTES)
    assert len(cut.content.encode()) <= EVENT_EXTRACT_BYTES
    assert cut.content.endswith("tail")
    assert cut.original_bytes == len(long.encode())
    assert cut.original_sha256 == hashlib.sha256(long.encode()).digest()
    assert cut.tokens == TokenCounter().count(cut.content)


def output(content: str, **more: object) -> Event:
    return replace(turn(content, role="tool"), kind=EventKind.TOOL_CALL, tool_name="build", **more)  # type: ignore[arg-type]


async def test_a_long_tool_output_is_an_extract_unless_the_caller_insists(house: House) -> None:
    long = "\n".join(f"line {n} of the build" for n in range(2_000))
    short = output("x" * TOOL_OUTPUT_BYTES)
    written = await say(house, output(long), short, turn(long))
    again = await say(house, output(long, event_id="whole"), keep_whole=True, request=request("r1"))
    assert [one.extracted for one in (*written.value, *again.value)] == [True, False, False, False]
    cut, same, said, whole = (await house.sessions.episodes(SCOPE, size=10)).items[::-1]
    assert cut.tokens == written.value[0].tokens <= TOOL_EXTRACT_TOKENS
    assert (cut.original_bytes, cut.original_sha256) == (len(long), hashlib.sha256(long.encode()).digest())
    assert (same.content, same.original_bytes, same.kept_whole) == (short.content, 0, False)
    assert (said.content, said.original_bytes) == (long, 0)
    assert (whole.content, whole.original_bytes, whole.kept_whole) == (long, 0, True)


async def test_a_tool_output_over_the_limit_is_an_extract_and_refused_only_as_a_whole(house: House) -> None:
    huge = output("y" * (MAX_EVENT_BYTES + 1))
    with pytest.raises(InvalidArgument):
        await say(house, huge, keep_whole=True)
    first = await say(house, huge, request=request("r1"))
    again = await say(house, huge, request=request("r1"))
    assert again.replayed
    assert again.value == first.value
    assert first.value[0].extracted
    (kept,) = await stored(house)
    assert kept.original_bytes == MAX_EVENT_BYTES + 1


async def test_a_retry_has_one_effect(house: House) -> None:
    first = await say(house, "hello", request=request("r1"))
    again = await say(house, "hello", request=request("r1"))
    assert again.replayed
    assert again.value == first.value
    assert len(await stored(house)) == 1
    with pytest.raises(RequestIdReused):
        await say(house, "other", request=request("r1", "other body"))


async def test_observing_needs_no_model_and_little_time(house: House) -> None:
    """The event loop's part of one event, the store aside: no embedding, and well under a millisecond."""
    before = house.embedder.stats()
    event = turn("I think we should book the flight on Tuesday, the one with the window seat and a stop in Vienna.")
    started = time.perf_counter()
    for _ in range(1_000):
        await house.observe._ready([event], extract=False)
    assert (time.perf_counter() - started) / 1_000 < 1e-3
    await say(house, event)
    assert house.embedder.stats() == before
