"""S3: filters fail closed. Random filters through Recall (evaluated in Rust) and ListMemories against an oracle.

The oracle below is written from the contract's words, not from the code: it shares nothing with ``domain/filters.py``.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
from memd_client import Client, Expr, F, NewMemory, errors
from memd_client._proto.v1 import common_pb2 as pb
from memd_client.filters import Field

from tests.daemon import Daemon
from tests.reliability.size import scaled

FILTERS = scaled(2_000)
MEMORIES = 60
SEED = 20_261_122
START = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = "what is known about the harbour"

Spec: TypeAlias = tuple[Any, ...]
"""("and" | "or", spec, ...), ("not", spec), ("exists", field), ("in", field, values) or (operator, field, value)."""

OPERATORS: dict[str, Any] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
ALL_OPERATORS = {**OPERATORS, "==": operator.eq, "!=": operator.ne}


def memories(choose: random.Random) -> list[NewMemory]:
    return [
        NewMemory(
            f"note {n} about the harbour: {choose.choice(['crane', 'ferry', 'gull', 'rope'])}",
            memory_id=f"m{n}",
            tags=choose.sample(["red", "green", "blue", "_%"], choose.randrange(4)),
            speaker=choose.choice(["", "ada", "bob", "Ada"]),
            position=choose.choice([None, 0, 1, 7]),
            importance=choose.choice([0.1, 0.5, 0.9]),
            pinned=choose.random() < 0.3,
            event_time=choose.choice([None, START, START + timedelta(days=n)]),
            metadata=metadata(choose),
        )
        for n in range(MEMORIES)
    ]


def metadata(choose: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in ("a", "b", "c d", "1"):
        if choose.random() < 0.6:
            values[key] = choose.choice(["x", "y", "", 1, 2.5, -3, True, False, ["x", "z"], [1, 2], []])
    return values


def fields(memory: NewMemory) -> dict[str, Any]:
    found: dict[str, Any] = {
        "memory_id": memory.memory_id,
        "user_id": "u",
        "source": "user",
        "speaker": memory.speaker or None,
        "position": memory.position,
        "importance": memory.importance,
        "pinned": memory.pinned,
        "event_time": memory.event_time,
        "tags": sorted(memory.tags) or None,
    }
    found.update({f"metadata.{key}": value for key, value in memory.metadata.items()})
    return found


# -- random filters

FIELDS = [
    *("memory_id", "user_id", "agent_id", "session_id", "source", "speaker", "position", "importance", "pinned"),
    *("event_time", "valid_to", "tags", "metadata.a", "metadata.b", "metadata.c d", "metadata.1", "metadata.none"),
]
TIMES = frozenset({"event_time", "valid_to"})
VALUES = ("x", "y", "z", "", "ada", "m7", "u", "user", "red", "_%", "%", 0, 1, 2, 2.5, 0.5, -3, True, False)


def random_filter(choose: random.Random, depth: int) -> Spec:
    kind = choose.choice(["leaf", "leaf", "and", "or", "not"]) if depth else "leaf"
    if kind == "not":
        return ("not", random_filter(choose, depth - 1))
    if kind in ("and", "or"):
        return (kind, *(random_filter(choose, depth - 1) for _ in range(choose.randint(2, 3))))
    field = choose.choice(FIELDS)
    shape = choose.choice(["exists", "in", "compare", "compare", "compare"])
    if shape == "exists":
        return ("exists", field)
    if shape == "in":
        return ("in", field, tuple(random_value(choose, field) for _ in range(choose.randrange(4))))
    return (choose.choice(["==", "!=", "<", "<=", ">", ">="]), field, random_value(choose, field))


def random_value(choose: random.Random, field: str) -> Any:
    return START + timedelta(days=choose.randrange(-1, MEMORIES)) if field in TIMES else choose.choice(VALUES)


def expression(spec: Spec) -> Expr:
    match spec:
        case ("not", part):
            return ~expression(part)
        case ("and" | "or", *parts):
            operands = [expression(part) for part in parts]
            joined = operands[0]
            for operand in operands[1:]:
                joined = joined & operand if spec[0] == "and" else joined | operand
            return joined
        case ("exists", name):
            return F.exists(name)
        case ("in", name, values):
            return Field(name).in_(values)
        case (symbol, name, value):
            compared: Expr = ALL_OPERATORS[symbol](Field(name), value)
            return compared
    raise AssertionError(spec)


# -- the oracle


def holds(spec: Spec, memory: dict[str, Any]) -> bool:
    match spec:
        case ("not", part):
            return not holds(part, memory)
        case ("and", *parts):
            return all(holds(part, memory) for part in parts)
        case ("or", *parts):
            return any(holds(part, memory) for part in parts)
        case ("exists", name):
            return memory.get(name) not in (None, [])
        case ("in", name, values):
            return any(equal(memory.get(name), value) for value in values)
        case ("==", name, value):
            return equal(memory.get(name), value)
        case ("!=", name, value):
            return not equal(memory.get(name), value)
        case (symbol, name, value):
            have = memory.get(name)
            return ordered(have, value) and bool(OPERATORS[symbol](have, value))
    raise AssertionError(spec)


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def equal(have: Any, want: Any) -> bool:
    if isinstance(have, list):
        return any(equal(element, want) for element in have)
    return have is not None and kind(have) == kind(want) and have == want


def ordered(have: Any, want: Any) -> bool:
    return kind(have) == kind(want) and kind(want) in ("number", "str", "datetime")


# -- the tests


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, dict[str, Any]]]]:
    made = memories(random.Random(SEED))
    with Daemon(tmp_path_factory.mktemp("s3")) as daemon, Client(daemon.address, user_id="u", timeout_s=30) as client:
        client.remember(made)
        yield client, {memory.memory_id: fields(memory) for memory in made}


def test_random_filters_agree_with_the_oracle(stored: tuple[Client, dict[str, dict[str, Any]]]) -> None:
    client, known = stored
    choose = random.Random(SEED + 1)

    def recalled(filter: Expr | None) -> set[str]:
        found = client.recall(QUERY, limit=MEMORIES, candidates=MEMORIES, trim_ratio=0.0, filter=filter)
        return {hit.memory.memory_id for hit in found.memories}

    reachable = recalled(None)
    assert reachable == set(known)
    matched = 0
    for _ in range(FILTERS):
        spec = random_filter(choose, 3)
        expected = {memory_id for memory_id, memory in known.items() if holds(spec, memory)}
        matched += bool(expected) and expected != set(known)
        listed = {memory.memory_id for memory in client.list(filter=expression(spec))}
        assert listed == expected, spec
        assert recalled(expression(spec)) == expected, spec
    assert matched > FILTERS // 5, "too few filters told memories apart to show anything"


UNKNOWN = pb.FilterValue(string_value="x")
REFUSED = {
    "no node": pb.Filter(),
    "unknown field": pb.Filter(exists="colour"),
    "metadata without a key": pb.Filter(exists="metadata."),
    "a field's name as a prefix": pb.Filter(exists="user_id.x"),
    "sql for a field": pb.Filter(exists="1=1; --"),
    "no operator": pb.Filter(compare=pb.Comparison(field="speaker", value=UNKNOWN)),
    "unknown operator": pb.Filter(compare=pb.Comparison(field="speaker", op=99, value=UNKNOWN)),  # type: ignore[arg-type]
    "no value": pb.Filter(compare=pb.Comparison(field="speaker", op=pb.Comparison.OP_EQ)),
    "not a number": pb.Filter(
        compare=pb.Comparison(
            field="importance", op=pb.Comparison.OP_LT, value=pb.FilterValue(number_value=float("nan"))
        )
    ),
    "an empty value in a list": pb.Filter(**{"in": pb.Membership(field="speaker", values=[pb.FilterValue()])}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_filter_is_refused_and_never_ignored(
    stored: tuple[Client, dict[str, dict[str, Any]]], name: str
) -> None:
    client, known = stored
    bad = Expr(REFUSED[name])
    for call in (
        lambda: client.recall(QUERY, filter=bad),
        lambda: list(client.list(filter=bad)),
        lambda: client.forget(filter=bad),
        lambda: client.recall(QUERY, filter=(F.speaker == "ada") | bad),
    ):
        with pytest.raises(errors.InvalidArgument) as refused:
            call()
        assert refused.value.field.startswith("filter")
    assert client.stats().namespace.memories == len(known)


def test_bounds_of_a_filter_are_refused(stored: tuple[Client, dict[str, dict[str, Any]]]) -> None:
    client, _ = stored
    deep = F.speaker == "ada"
    for _ in range(20):
        deep = ~deep
    wide = F.speaker == "ada"
    for _ in range(100):
        wide = wide | (F.speaker == "bob")
    for bad in (deep, wide, F.speaker.in_([str(n) for n in range(1_000)])):
        with pytest.raises(errors.InvalidArgument):
            client.recall(QUERY, filter=bad)
