"""The small pure rules: ids, importance, extracts, the record of a procedure, the tier table."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memd.domain.errors import ConfigError
from memd.domain.extract import head_and_tail
from memd.domain.ids import event_id, memory_id, procedure_id
from memd.domain.importance import score
from memd.domain.model import Event, EventKind, Outcome, Scope, TierName
from memd.domain.record import success_lower_bound
from memd.domain.settings import DEFAULT_TIERS, DaemonDefaults, check_defaults, check_tier

text = st.text(max_size=20)
scopes = st.builds(Scope, text, text, text)


@given(st.tuples(scopes, text), st.tuples(scopes, text))
def test_ids_differ_exactly_when_scope_or_content_do(one: tuple[Scope, str], other: tuple[Scope, str]) -> None:
    assert (memory_id(*one) == memory_id(*other)) is (one == other)
    assert (procedure_id(*one) == procedure_id(*other)) is (one == other)


def test_ids_are_frozen() -> None:
    """A change of the recipe would turn every repeated Remember into a duplicate."""
    assert memory_id(Scope("default", "ada"), "likes tea") == "m_74fe0c6150314b35cd63436513d4a7dd"
    assert memory_id(Scope("n", "ab", "c"), "d") != memory_id(Scope("n", "a", "bc"), "d")


def test_the_session_is_not_part_of_an_id() -> None:
    assert memory_id(Scope("n", "u", "", "s1"), "x") == memory_id(Scope("n", "u", "", "s2"), "x")


def test_event_ids_sort_by_time() -> None:
    ids = [event_id(t, b"\xff" * 8) for t in (1, 9, 10, 1_700_000_000_000_000)]
    assert ids == sorted(ids)
    assert len({event_id(1, bytes([n]) * 8) for n in range(9)}) == 9


def turn(content: str, **more: Any) -> Event:
    return Event("e", EventKind.TURN, content, role="user", **more)


def test_importance_orders_what_matters() -> None:
    small_talk = score(turn("yes"))[0]
    chat = score(turn("the weather is nice in the mountains today"))[0]
    preference = score(turn("I prefer window seats on long flights"))[0]
    marked = score(turn("Remember that I prefer tea"))[0]
    assert small_talk < chat < preference < marked
    call = Event("e", EventKind.TOOL_CALL, "exit status 1", tool_name="make")
    assert score(call)[0] < score(replace(call, outcome=Outcome.FAILURE))[0]
    error = Event("e", EventKind.ERROR, "connection refused by the host")
    fixed = turn("it was the firewall on the host", resolves="e0")
    assert chat < score(fixed)[0] < score(error)[0] <= score(replace(error, outcome=Outcome.FAILURE))[0]


@pytest.mark.parametrize(
    "said",
    [
        "Remember that the key is under the mat",
        "Remember: the key is under the mat",
        "please remember : window seats",
        "please don't forget the milk today",
        "Keep in mind we close at noon",
        "Note that the build needs a compiler",
        "IMPORTANT: never push on Fridays",
        "for the record, it was Tuesday",
        "From now on use tabs, not spaces",
        "never again through the night train",
        "TODO: renew the certificate soon",
    ],
)
def test_every_way_to_mark_something_is_seen(said: str) -> None:
    assert "explicit_mark" in score(turn(said))[1]


@pytest.mark.parametrize(
    "verb", ["always", "never", "usually", "prefer", "really prefer", "like", "love", "hate", "want"]
)
def test_preferences_are_seen(verb: str) -> None:
    assert "preference" in score(turn(f"I {verb} early trains to work"))[1]
    assert "preference" not in score(turn(f"They {verb} early trains to work"))[1]
    assert "preference" in score(turn("my favorite colour is a dark green"))[1]


def test_importance_says_why() -> None:
    assert score(turn("yes")) == (0.1, ("kind:turn", "short"))
    value, reasons = score(turn("Remember that I prefer tea at 5"))
    assert reasons == ("kind:turn", "explicit_mark", "preference", "number")
    assert value == 0.95


@given(st.sampled_from(EventKind), st.text(), st.sampled_from(Outcome), st.booleans())
def test_importance_is_within_bounds(kind: EventKind, content: str, outcome: Outcome, resolves: bool) -> None:
    value, reasons = score(Event("e", kind, content, outcome=outcome, resolves="x" if resolves else ""))
    assert 0.0 <= value <= 1.0
    assert reasons[0] == f"kind:{kind.value}"


@given(st.text(min_size=300, max_size=3_000), st.integers(200, 290))
def test_an_extract_is_head_and_tail_with_the_digest_of_all(content: str, most: int) -> None:
    data = content.encode()
    cut = head_and_tail(data, most)
    assert len(cut.content.encode()) <= most
    head, _, tail = cut.content.partition("\n[... ")
    assert content.startswith(head)
    assert content.endswith(tail.partition(" ...]\n")[2])
    assert (cut.original_bytes, cut.original_sha256) == (len(data), hashlib.sha256(data).digest())


def test_the_lower_bound_is_wilsons() -> None:
    assert success_lower_bound(0, 0) == 0.0
    assert success_lower_bound(12, 2) == pytest.approx(0.6006, abs=1e-4)
    assert success_lower_bound(1, 0) == pytest.approx(0.2065, abs=1e-4)
    assert success_lower_bound(0, 5) == 0.0
    assert success_lower_bound(100, 0) > success_lower_bound(10, 0) > success_lower_bound(9, 1)


def test_the_default_table_is_served() -> None:
    check_defaults(DaemonDefaults())


@pytest.mark.parametrize("tier", TierName)
@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("store", "mysql"),
        ("store", "SQLITE"),
        ("retrieval", "magic"),
        ("max_items", -1),
        ("max_items", 10**10),
        ("max_tokens", -1),
        ("max_tokens", 10**7),
        ("ttl_us", 0),
        ("ttl_us", -1),
        ("ttl_us", 10**18),
    ],
)
def test_a_cell_out_of_range_is_refused_by_name(tier: TierName, cell: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        check_tier(tier, replace(DEFAULT_TIERS[tier], **{cell: value}))
    assert f"tiers.{tier.value}.{cell.removesuffix('_us')}" in refused.value.message


def test_a_session_is_never_unbounded() -> None:
    for tier, change in (
        (TierName.WORKING, {"max_items": 0}),
        (TierName.WORKING, {"max_tokens": 0}),
        (TierName.EPISODIC, {"max_items": 0}),
        (TierName.EPISODIC, {"ttl_us": None}),
    ):
        with pytest.raises(ConfigError):
            check_tier(tier, replace(DEFAULT_TIERS[tier], **change))


@pytest.mark.parametrize("tier", TierName)
def test_a_retrieval_of_another_tier_is_refused(tier: TierName) -> None:
    for other in TierName:
        if other is not tier:
            with pytest.raises(ConfigError):
                check_tier(tier, replace(DEFAULT_TIERS[tier], retrieval=DEFAULT_TIERS[other].retrieval))
