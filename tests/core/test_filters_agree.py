"""The index filters exactly as ``memd.domain.filters.matches`` says, whatever was changed before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memd._core import IndexEntry, NamespaceIndex
from memd.domain import filters
from memd.domain.filters import And, Compare, Exists, Filter, In, Not, Or

IDS = ["m0", "m1", "m2", "m3", "m4", "m5"]

string = st.sampled_from(["", "a", "b", "ä", "😀", "m1"])
# Around the 53 bits a float holds exactly, and at the ends of 64 bits.
integer = st.one_of(st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1]))
floating = st.one_of(
    st.sampled_from([-1.5, -0.0, 0.5, 1.0, 2.0, 2.0**53, 2.0**63, -1e300]), st.floats(-4, 4, allow_subnormal=False)
)
scalar = st.one_of(string, integer, floating, st.booleans())
metadata = st.dictionaries(
    st.sampled_from(["k", "l", "m.n", "ü"]), st.one_of(scalar, st.lists(scalar, max_size=3)), max_size=3
)
fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(filters.STRING_FIELDS - {"memory_id"}, string),
        **dict.fromkeys(filters.TIME_FIELDS | {"position"}, integer),
        "importance": st.one_of(st.integers(-3, 3), floating),
        "pinned": st.booleans(),
        "tags": st.lists(string, max_size=3),
        "metadata": metadata,
    },
)
field = st.sampled_from([*sorted(filters.FIXED_FIELDS), "metadata.k", "metadata.l", "metadata.m.n", "metadata.none"])
leaf = st.one_of(
    st.builds(Compare, st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), field, scalar),
    st.builds(In, field, st.lists(scalar, max_size=3).map(tuple)),
    st.builds(Exists, field),
)


def _inner(part: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(part, max_size=3).map(tuple)
    return st.one_of(st.builds(And, several), st.builds(Or, several), st.builds(Not, part))


filter_ = st.recursive(leaf, _inner, max_leaves=6)
changes = st.lists(st.tuples(st.sampled_from(IDS), st.one_of(st.none(), fields)), max_size=14)


def _apply(changes: list[tuple[str, dict[str, Any] | None]]) -> tuple[NamespaceIndex, dict[str, dict[str, Any]]]:
    index, model = NamespaceIndex(1), dict[str, dict[str, Any]]()
    for memory_id, fields in changes:
        if fields is None:
            assert index.remove([memory_id], 0) == (memory_id in model)
            model.pop(memory_id, None)
        else:
            index.upsert([IndexEntry(memory_id, 1, "", b"", json.dumps(fields).encode())], 0)
            model[memory_id] = fields
    return index, model


@settings(deadline=None, max_examples=600)
@given(changes=changes, chosen=filter_)
def test_the_index_agrees_with_the_reference(changes: list[tuple[str, dict[str, Any] | None]], chosen: Filter) -> None:
    index, model = _apply(changes)
    passing = [id for id, fields in model.items() if filters.matches(chosen, {**fields, "memory_id": id})]
    assert index.matching(filters.to_json(chosen)) == passing
    assert index.matching(None) == list(model)


@pytest.mark.parametrize(
    "bad",
    [b"", b"[]", b"{", b"\xff", b'{"xor":[]}', b'{"eq":["owner","a"]}', b'{"eq":["metadata.","a"]}', b'{"in":["tags","a"]}',
     b'{"eq":["user_id",null]}', b'{"lt":["importance",NaN]}', b'{"and":[],"or":[]}', b'{"not":' * 5000],
)  # fmt: skip
def test_a_malformed_filter_is_refused(bad: bytes) -> None:
    index = NamespaceIndex(1)
    with pytest.raises(ValueError, match="filter"):
        index.matching(bad)


@pytest.mark.parametrize(
    "bad",
    [b"", b"[]", b'{"user_id":1}', b'{"event_time":1.5}', b'{"tags":[1]}', b'{"metadata":{"a":{}}}', b'{"owner":"a"}'],
)
def test_malformed_fields_are_refused_without_quoting_them(bad: bytes) -> None:
    index = NamespaceIndex(1)
    with pytest.raises(ValueError, match="fields") as refused:
        index.upsert([IndexEntry("a", 1, "", b"", bad)], 1)
    assert "owner" not in str(refused.value)
    assert len(index) == 0
