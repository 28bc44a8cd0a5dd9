"""What events mean to each other: failures and what ends them, what is said again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memd.domain.model import Event, EventKind, Outcome
from memd.domain.relations import emphasized, repeated, resolutions, resolved, resolving, says_fixed
from memd.limits import RESOLVE_REACH, SAID_TIMES

FAILURE, SUCCESS = Outcome.FAILURE, Outcome.SUCCESS


def turn(content: str, **more: Any) -> Event:
    return Event(more.pop("event_id", content), more.pop("kind", EventKind.TURN), content, **{"role": "user", **more})


def error(content: str, **more: Any) -> Event:
    return turn(content, kind=EventKind.ERROR, **more)


def call(content: str, outcome: Outcome, tool: str = "deploy", **more: Any) -> Event:
    return turn(content, kind=EventKind.TOOL_CALL, outcome=outcome, **{"tool_name": tool, "role": "tool", **more})


def session(*events: Event) -> list[Event]:
    return [replace(event, position=place) for place, event in enumerate(events, 1)]


def links(*events: Event) -> list[tuple[str, str]]:
    return [(failure.event_id, by.event_id) for failure, by in resolutions(session(*events))]


RESOLVED: dict[str, list[Event]] = {
    "the same tool later": [call("no disk", FAILURE), turn("hm"), call("deployed", SUCCESS)],
    "the same call": [call("x", FAILURE, "", tool_call_id="c"), call("y", SUCCESS, "", tool_call_id="c")],
    "the caller says which": [error("boom"), error("bang"), turn("a cable", resolves="boom")],
    "somebody says so, and of what": [
        error("postgres refuses connections"),
        error("the linter crashed"),
        turn("I fixed the postgres thing"),
    ],
    "somebody says so right after": [error("no route to host"), turn("ok"), turn("works now, it was the cable")],
    "the same command of a shell": [
        call("pytest tests/login: 3 failed", FAILURE, "bash"),
        call("pytest tests/login: 12 passed", SUCCESS, "bash"),
    ],
}
OPEN: dict[str, list[Event]] = {
    "another tool": [call("no disk", FAILURE), call("found", SUCCESS, "search")],
    "another command of a shell": [call("pytest: 3 failed", FAILURE, "bash"), call("README.md", SUCCESS, "bash")],
    "success before": [call("deployed", SUCCESS), call("no disk", FAILURE)],
    "it fails again": [call("no disk", FAILURE), call("still no disk", FAILURE)],
    "somebody asks": [error("no route to host"), turn("is it fixed?")],
    "somebody denies it": [error("no route to host"), turn("no, that is not fixed")],
    "somebody hopes": [error("no route to host"), turn("we hope it works now")],
    "something else is fixed, much later": [
        error("no route to host"),
        *(turn(f"about lunch {n}") for n in range(9)),
        turn("the lamp in the kitchen works again"),
    ],
    "named too late": [
        error("postgres refuses connections"),
        *(turn(f"about lunch {n}") for n in range(RESOLVE_REACH)),
        turn("I fixed the postgres thing"),
    ],
    "an output that has the word": [error("no route to host"), call("3 issues fixed", Outcome.NONE, "lint")],
}


@pytest.mark.parametrize("events", RESOLVED.values(), ids=RESOLVED)
def test_a_failure_that_is_over_is_linked_to_its_end(events: list[Event]) -> None:
    assert links(*events) == [(events[0].event_id, events[-1].event_id)]


@pytest.mark.parametrize("events", OPEN.values(), ids=OPEN)
def test_a_failure_that_is_not_over_stays_open(events: list[Event]) -> None:
    assert links(*events) == []


def test_one_success_ends_all_failures_of_its_call_and_none_twice() -> None:
    events = session(call("no disk", FAILURE), call("no net", FAILURE), call("done", SUCCESS), call("again", SUCCESS))
    found = list(resolutions(events))
    assert [(failure.event_id, by.event_id) for failure, by in found] == [("no net", "done"), ("no disk", "done")]
    linked = [replace(events[0], resolved_by="done"), replace(events[1], resolved_by="done"), *events[2:]]
    assert list(resolutions(linked)) == []


def test_the_reasons_say_what_moved_the_importance() -> None:
    failure = replace(call("no disk", FAILURE), importance=0.5, importance_reasons=("kind:tool_call", "failure"))
    success = replace(call("done", SUCCESS), importance=0.25, importance_reasons=("kind:tool_call",))
    over, end = resolved(failure, success), resolving(success, failure)
    assert (over.resolved_by, over.importance, over.importance_reasons[-1]) == ("done", 0.3, "resolved")
    assert (end.resolves, end.importance, end.importance_reasons[-1]) == ("no disk", 0.5, "resolves_error")
    assert resolving(replace(success, resolves="x"), failure).resolves == "x", "as the caller said"
    given = replace(failure, importance=0.9, importance_reasons=("given",))
    assert resolved(given, success).importance == 0.9


@pytest.mark.parametrize(
    ("text", "so"),
    [
        ("Fixed it.", True),
        ("That was the cause. The tests pass now? No. It is resolved.", True),
        ("the build works again", True),
        ("it no longer crashes", True),
        ("it is not fixed", False),
        ("this isn't resolved yet", False),
        ("is it fixed?", False),
        ("it should be fixed by tomorrow", False),
        ("trying to get it fixed", False),
        ("unresolved", False),
        ("a fixed price", True),
        ("prefixed names", False),
    ],
)
def test_who_says_that_it_is_fixed(text: str, so: bool) -> None:
    """ "A fixed price" is a false one: alone it links to nothing but a failure just before it."""
    assert says_fixed(text) is so


def test_what_the_user_says_three_times_is_emphasized() -> None:
    events = session(
        turn("I want a window seat", importance=0.5, event_id="a"),
        turn("ok", event_id="b"),
        turn("i want a WINDOW seat!", importance=0.5, event_id="c"),
        turn("please, I want a window seat.", importance=0.5, event_id="d"),
    )
    (third,) = repeated(events)
    assert third.event_id == "d"
    marked = emphasized(third)
    assert (marked.importance, marked.importance_reasons) == (0.7, ("repeated",))
    assert list(repeated([*events[:3], marked])) == [], "once"
    assert not list(repeated(events[:3]))


@pytest.mark.parametrize(
    "texts",
    [
        ["yes", "yes", "yes"],
        ["go on please"] * 3,
        ["use port 5432", "use port 5433", "use port 5434"],
        ["I want a window seat", "I do not want a window seat", "I want a window seat"],
        ["rent the red car for the trip", "rent the blue car for the trip", "rent the old car for the trip"],
    ],
    ids=lambda texts: texts[0],
)
def test_what_differs_or_says_little_is_no_repeat(texts: list[str]) -> None:
    events = session(*(turn(text, event_id=str(n)) for n, text in enumerate(texts)))
    assert not list(repeated(events))


def test_merged_repeats_count_and_others_words_do_not() -> None:
    assert list(repeated(session(turn("no window seats, please", count=SAID_TIMES))))
    assert not list(repeated(session(turn("no window seats, please", count=SAID_TIMES, role="assistant"))))
