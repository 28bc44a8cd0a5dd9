"""Filters from the wire: closed grammar, closed field list, bounded."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memd_client._proto.v1 import common_pb2 as pb

from memd import limits
from memd.domain.errors import InvalidArgument
from memd.domain.filters import And, Compare, Exists, In, Not, Or
from memd.rpc.filters import parse


def _value(value: object) -> pb.FilterValue:
    if isinstance(value, bool):
        return pb.FilterValue(bool_value=value)
    if isinstance(value, float):
        return pb.FilterValue(number_value=value)
    if isinstance(value, Timestamp):
        return pb.FilterValue(time_value=value)
    return pb.FilterValue(string_value=str(value))


def _compare(field: str, op: int, value: object) -> pb.Filter:
    return pb.Filter(compare=pb.Comparison(field=field, op=op, value=_value(value)))  # type: ignore[arg-type]


def _list(kind: str, *parts: pb.Filter) -> pb.Filter:
    return pb.Filter(**{kind: pb.FilterList(filters=parts)})  # type: ignore[arg-type]


EQ = pb.Comparison.OP_EQ


def test_every_node_has_its_domain_form() -> None:
    message = _list(
        "and",
        _list("or", _compare("speaker", EQ, "ada"), _compare("metadata.n", pb.Comparison.OP_GE, 2.0)),
        pb.Filter(**{"not": pb.Filter(exists="tags")}),  # type: ignore[arg-type]
        pb.Filter(**{"in": pb.Membership(field="tags", values=[_value("a"), _value("b")])}),  # type: ignore[arg-type]
        _compare("event_time", pb.Comparison.OP_LT, Timestamp(seconds=2, nanos=5_000)),
        _compare("pinned", pb.Comparison.OP_NE, True),
    )
    assert parse(message) == And(
        (
            Or((Compare("eq", "speaker", "ada"), Compare("ge", "metadata.n", 2.0))),
            Not(Exists("tags")),
            In("tags", ("a", "b")),
            Compare("lt", "event_time", 2_000_005),
            Compare("ne", "pinned", True),
        )
    )


def _deep(depth: int) -> pb.Filter:
    message = pb.Filter(exists="tags")
    for _ in range(depth - 1):
        message = pb.Filter(**{"not": message})  # type: ignore[arg-type]
    return message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("filter", pb.Filter()),
        ("filter.and[0]", _list("and", pb.Filter())),
        ("filter.compare.field", _compare("namespace", EQ, "x")),
        ("filter.compare.field", _compare("metadata.", EQ, "x")),
        ("filter.compare.field", _compare("", EQ, "x")),
        ("filter.compare.op", _compare("speaker", 0, "x")),
        ("filter.compare.op", _compare("speaker", 77, "x")),
        ("filter.compare.value", pb.Filter(compare=pb.Comparison(field="speaker", op=EQ))),
        ("filter.compare.value", _compare("speaker", EQ, Timestamp(seconds=1))),
        ("filter.compare.value", _compare("event_time", EQ, 1.0)),
        ("filter.compare.value", _compare("metadata.n", EQ, float("nan"))),
        ("filter.exists", pb.Filter(exists="content")),
        ("filter", _deep(limits.MAX_FILTER_DEPTH + 1)),
        ("filter", _list("or", *[pb.Filter(exists="tags")] * limits.MAX_FILTER_NODES)),
        (
            "filter",
            pb.Filter(**{"in": pb.Membership(field="tags", values=[_value("x")] * (limits.MAX_FILTER_VALUES + 1))}),  # type: ignore[arg-type]
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_in_the_grammar_or_over_a_bound_is_refused(field: str, message: pb.Filter) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(message)
    assert caught.value.field == field


def test_the_deepest_and_the_largest_filters_pass() -> None:
    parse(_deep(limits.MAX_FILTER_DEPTH))
    parse(_list("or", *[pb.Filter(exists="tags")] * (limits.MAX_FILTER_NODES - 1)))


def test_an_empty_or_is_kept_and_matches_nothing_rather_than_everything() -> None:
    assert parse(_list("or")) == Or(())
