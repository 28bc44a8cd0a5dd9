"""What is compressed, and when: pure rules."""

from __future__ import annotations

import random

from memd.domain.compression import CompressionPolicy, new_summary, plan
from memd.domain.model import Event, EventKind, WorkingSet

POLICY = CompressionPolicy(max_items=20, max_tokens=8_000)


def items(*tokens: int, calls: dict[int, str] | None = None) -> tuple[Event, ...]:
    return tuple(
        Event(
            event_id=f"e{position}",
            kind=EventKind.TURN,
            content="x",
            tokens=count,
            position=position,
            tool_call_id=(calls or {}).get(position, ""),
        )
        for position, count in enumerate(tokens, 1)
    )


def working(*events: Event) -> WorkingSet:
    return WorkingSet(events, sum(event.tokens for event in events), 1)


def through(*events: Event) -> int:
    made = plan(working(*events), POLICY)
    return made.through if made else 0


def test_at_the_caps_nothing_is_compressed() -> None:
    assert through(*items(*[320] * 20)) == 0


def test_one_item_more_and_all_but_five_go() -> None:
    assert through(*items(*[10] * 21)) == 16


def test_one_token_over_the_share_and_all_but_five_go() -> None:
    assert through(*items(*[640] * 9, 641)) == 5


def test_the_summary_is_a_fifth_and_never_longer_than_what_it_replaces() -> None:
    made = plan(working(*items(*[400] * 20)), POLICY)
    assert made is not None
    assert made.max_tokens == 15 * 400 // 5
    short = plan(working(*items(*[1] * 21)), POLICY)
    assert short is not None
    assert short.max_tokens == 16


def test_of_large_items_fewer_than_five_stay() -> None:
    assert through(*items(*[3_000] * 5)) == 2
    assert through(*items(5_000, 5_000, 5_000)) == 1


def test_one_huge_item_alone_stays() -> None:
    assert through(*items(50_000)) == 0


def test_an_item_larger_than_the_budget_goes_by_itself() -> None:
    assert through(*items(50_000, 10, 10)) == 1
    assert through(*items(10, 50_000)) == 1


def test_no_more_than_a_full_working_set_goes_at_once() -> None:
    assert through(*items(*[1_000] * 30)) == 8


def test_a_tool_call_stays_with_its_result() -> None:
    assert through(*items(*[10] * 21, calls={16: "c", 17: "c"})) == 15
    assert through(*items(*[10] * 21, calls={1: "c", 17: "c"})) == 17
    assert through(*items(*[10] * 21, calls={1: "c", 21: "c"})) == 0


def test_ephemeral_items_leave_but_are_not_summarized() -> None:
    events = list(items(*[10] * 21))
    events[2] = Event(event_id="x", kind=EventKind.TURN, content="x", tokens=10, position=3, ephemeral=True)
    made = plan(working(*events), POLICY)
    assert made is not None
    assert made.through == 16
    assert 3 not in {event.position for event in made.events}


def test_summaries_stand_side_by_side_until_they_are_folded() -> None:
    small = new_summary("s", 500, 1, 10, 1, "test")
    made = plan(working(small, *items(*[400] * 20)), POLICY)
    assert made is not None
    assert (made.kept, made.folded) == ((small,), ())
    large = new_summary("s", 1_500, 1, 10, 1, "test")
    made = plan(working(small, large, *items(*[400] * 20)), POLICY)
    assert made is not None
    assert (made.kept, made.folded, made.max_tokens) == ((), (small, large), 1_000)


def test_every_plan_makes_it_less_and_cuts_no_call() -> None:
    dice = random.Random(6)
    for _ in range(2_000):
        count = dice.randint(1, 60)
        calls = {dice.randint(1, count): f"c{dice.randint(1, 5)}" for _ in range(dice.randint(0, 12))}
        events = items(*[dice.choice((1, 40, 400, 4_000, 20_000)) for _ in range(count)], calls=calls)
        made = plan(working(*events), POLICY)
        if made is None:
            continue
        assert 1 <= made.through < count
        assert made.max_tokens <= sum(event.tokens for event in events[: made.through])
        gone, kept = calls_of(events[: made.through]), calls_of(events[made.through :])
        assert not gone & kept


def calls_of(events: tuple[Event, ...]) -> set[str]:
    return {event.tool_call_id for event in events} - {""}
