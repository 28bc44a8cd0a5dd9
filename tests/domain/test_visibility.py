"""The one visibility function: who sees what, and that a request only narrows its credential."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memd.domain.errors import PermissionDenied
from memd.domain.filters import matches, to_json
from memd.domain.identity import Caller
from memd.domain.model import Memory, Scope
from memd.domain.visibility import fields_of, forgettable, owned, resolve_scope, visible

NAMES = ["", "a", "b"]
NOW = 1_000
names = st.sampled_from(NAMES)
times = st.none() | st.integers(990, 1_010)


def memory(user: str = "", agent: str = "", session: str = "") -> Memory:
    return Memory("m", Scope("ns", user, agent, session), "text")


def sees(scope: Scope, row: Memory) -> bool:
    return matches(visible(scope, at_us=NOW, now_us=NOW), fields_of(row))


@pytest.mark.parametrize(("user", "agent", "session"), list(product(NAMES, repeat=3)))
def test_a_scope_sees_its_users_memories_that_no_other_agent_claimed(user: str, agent: str, session: str) -> None:
    scope = Scope("ns", user, agent, session)
    for their_user, their_agent, their_session in product(NAMES, repeat=3):
        expected = their_user == user and their_agent in ("", agent)
        assert sees(scope, memory(their_user, their_agent, their_session)) is expected


@given(names, names, names, names, names, names)
def test_forget_everything_removes_what_the_scope_names(
    user: str, agent: str, session: str, their_user: str, their_agent: str, their_session: str
) -> None:
    row = memory(their_user, their_agent, their_session)
    expected = their_user == user and agent in ("", their_agent) and session in ("", their_session)
    assert matches(forgettable(Scope("ns", user, agent, session)), fields_of(row)) is expected


@given(times, times, times)
def test_validity_is_half_open_and_expiry_is_final(
    valid_from: int | None, valid_to: int | None, expire_time: int | None
) -> None:
    row = replace(memory("a"), valid_from=valid_from, valid_to=valid_to, expire_time=expire_time)
    scope = Scope("ns", "a")
    valid = (valid_from is None or valid_from <= NOW) and (valid_to is None or valid_to > NOW)
    alive = expire_time is None or expire_time > NOW
    assert sees(scope, row) is (valid and alive)
    everything = visible(scope, at_us=NOW, now_us=NOW, include_invalid=True)
    assert matches(everything, fields_of(row)) is alive
    assert matches(owned(scope), fields_of(row))


def test_as_of_moves_validity_and_not_expiry() -> None:
    row = replace(memory("a"), valid_from=10, valid_to=20, expire_time=NOW + 1)
    at = {t: matches(visible(Scope("ns", "a"), at_us=t, now_us=NOW), fields_of(row)) for t in (9, 10, 19, 20)}
    assert at == {9: False, 10: True, 19: True, 20: False}
    assert not matches(visible(Scope("ns", "a"), at_us=15, now_us=NOW + 1), fields_of(row))


def test_names_are_compared_whole_and_never_as_patterns() -> None:
    for odd in ("a%", "_", "a*", ".", "a/b", "A", "a "):
        assert not sees(Scope("ns", odd), memory("a"))
        assert not sees(Scope("ns", "a"), memory(odd))
        assert sees(Scope("ns", odd), memory(odd))


def test_the_predicate_is_plain_json() -> None:
    where = visible(Scope("ns", 'quote " and \\ and \u2028', "agent"), at_us=NOW, now_us=NOW)
    assert set(json.loads(to_json(where))) == {"and"}


@given(names, names, names, names)
def test_a_request_narrows_and_never_widens(user: str, agent: str, asked_user: str, asked_agent: str) -> None:
    caller = Caller("w", "ns", user, agent)
    asked = Scope("", asked_user, asked_agent, "s")
    if asked_user not in ("", user or asked_user) or asked_agent not in ("", agent or asked_agent):
        with pytest.raises(PermissionDenied):
            resolve_scope(caller, asked)
    else:
        assert resolve_scope(caller, asked) == Scope("ns", user or asked_user, agent or asked_agent, "s")


def test_the_namespace_is_the_credentials() -> None:
    caller = Caller("w", "ns")
    assert resolve_scope(caller, Scope("ns")).namespace == resolve_scope(caller, Scope("")).namespace == "ns"
    with pytest.raises(PermissionDenied) as denied:
        resolve_scope(caller, Scope("other"))
    assert "other" not in denied.value.message
    with pytest.raises(PermissionDenied):
        resolve_scope(Caller("w", ""), Scope("ns"))
