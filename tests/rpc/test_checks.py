"""Every bound on a request field: the last value that passes, the first that does not, and the field it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from memd_client._proto.v1 import common_pb2 as pb
from memd_client._proto.v1 import memory_service_pb2 as ms

from memd import limits
from memd.domain.errors import InvalidArgument
from memd.domain.model import Scope
from memd.rpc import checks, convert_memory, convert_recall, convert_session

SCOPE = Scope("n", "u")


def _struct(values: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(values)
    return made


def _refused(field: str, work: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        work()
    assert caught.value.field == field


@pytest.mark.parametrize("bad", ["a/b", "a\0b", "a\nb", "n" * (limits.MAX_NAMESPACE_BYTES + 1), "\x85"])
def test_a_namespace_is_a_plain_label(bad: str) -> None:
    _refused("scope.namespace", lambda: checks.namespace(bad))


@pytest.mark.parametrize("good", ["_ % : . *", "*", "..", "ünïcode", "n" * limits.MAX_NAMESPACE_BYTES])
def test_odd_but_harmless_namespaces_pass(good: str) -> None:
    assert checks.namespace(good) == good


def test_sizes_are_bytes_not_characters() -> None:
    assert checks.fits("é" * 4, "f", 8) == "éééé"
    _refused("f", lambda: checks.fits("é" * 5, "f", 8))


@pytest.mark.parametrize(
    ("seconds", "nanos", "passes"),
    [
        (0, 0, False),
        (-1, 0, False),
        (0, 999_999_999, False),
        (1, 0, True),
        (limits.MAX_TTL_US // limits.SECOND_US, 0, True),
        (limits.MAX_TTL_US // limits.SECOND_US + 1, 0, False),
        (100 * 365 * 86_400, 0, False),
    ],
)
def test_a_ttl_is_neither_zero_nor_a_century(seconds: int, nanos: int, passes: bool) -> None:
    value = Duration(seconds=seconds, nanos=nanos)
    if passes:
        assert checks.ttl(value, "ttl") == seconds * limits.SECOND_US
    else:
        _refused("ttl", lambda: checks.ttl(value, "ttl"))


def test_times_stay_within_protobufs_years() -> None:
    assert checks.time(Timestamp(seconds=-1, nanos=999_999_000), "t") == -1
    for seconds, nanos in ((limits.MAX_TIME_US // limits.SECOND_US + 1, 0), (-(2**62), 0), (0, -1), (0, 10**9)):
        value = Timestamp(seconds=seconds, nanos=nanos)
        _refused("t", lambda value=value: checks.time(value, "t"))  # type: ignore[misc]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 1.1])
def test_importance_is_a_ratio(bad: float) -> None:
    message = ms.NewMemory(content="x", importance=bad)
    _refused("m.importance", lambda: convert_memory.draft(message, SCOPE, "m"))


@pytest.mark.parametrize(
    "bad",
    [
        {"k": {"nested": 1}},
        {"k": None},
        {"k": [1, [2]]},
        {"k": float("nan")},
        {"k": float("inf")},
        {"": 1},
        {"a\0": 1},
        {"k" * (limits.MAX_NAME_BYTES + 1): 1},
        {"k": "x" * limits.MAX_METADATA_BYTES},
        {"k": list(range(limits.MAX_METADATA_LIST + 1))},
        {f"k{n}": 1 for n in range(limits.MAX_METADATA_KEYS + 1)},
    ],
    ids=lambda value: str(value)[:24],
)
def test_metadata_is_flat_finite_and_bounded(bad: dict[str, Any]) -> None:
    message = _struct(bad)
    with pytest.raises(InvalidArgument) as caught:
        checks.metadata(message, "metadata")
    assert caught.value.field.startswith("metadata")


def test_metadata_errors_do_not_quote_keys_or_values() -> None:
    with pytest.raises(InvalidArgument) as caught:
        checks.metadata(_struct({"CANARY": {"CANARY": 1}}), "metadata")
    assert "CANARY" not in caught.value.message + caught.value.field


def test_metadata_that_passes_is_kept_as_it_is() -> None:
    values = {"s": "x", "n": 1.5, "b": True, "l": ["a", 2.0, False]}
    assert checks.metadata(_struct(values), "metadata") == values


def test_tags_are_sorted_without_repeats_and_bounded() -> None:
    assert checks.tags(["b", "a", "b"], "tags") == ("a", "b")
    _refused("tags", lambda: checks.tags(["x"] * (limits.MAX_TAGS + 1), "tags"))
    _refused("tags[1]", lambda: checks.tags(["x", ""], "tags"))
    _refused("tags[0]", lambda: checks.tags(["x" * (limits.MAX_TAG_BYTES + 1)], "tags"))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("m.content", ms.NewMemory()),
        ("m.content", ms.NewMemory(content="x" * (limits.MAX_CONTENT_BYTES + 1))),
        ("m.memory_id", ms.NewMemory(content="x", memory_id="a\0b")),
        ("m.source", ms.NewMemory(content="x", source=99)),  # type: ignore[arg-type]
        ("m.position", ms.NewMemory(content="x", position=-1)),
        ("m.supersedes", ms.NewMemory(content="x", memory_id="a", supersedes="a")),
        ("m.event_ids", ms.NewMemory(content="x", event_ids=["e"] * (limits.MAX_LINKS + 1))),
        ("m.ttl", ms.NewMemory(content="x", ttl=Duration())),
        (
            "m.valid_to",
            ms.NewMemory(content="x", valid_from=Timestamp(seconds=5), valid_to=Timestamp(seconds=5)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_new_memory_names_the_field_at_fault(field: str, message: ms.NewMemory) -> None:
    _refused(field, lambda: convert_memory.draft(message, SCOPE, "m"))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("query", ms.RecallRequest()),
        ("query", ms.RecallRequest(query=" \n")),
        ("query", ms.RecallRequest(query="q" * (limits.MAX_QUERY_BYTES + 1))),
        ("limit", ms.RecallRequest(query="q", limit=10_000_000)),
        ("max_episodes", ms.RecallRequest(query="q", max_episodes=limits.MAX_LIMIT + 1)),
        ("token_budget", ms.RecallRequest(query="q", token_budget=limits.MIN_TOKEN_BUDGET - 1)),
        ("token_budget", ms.RecallRequest(query="q", token_budget=limits.MAX_TOKEN_BUDGET + 1)),
        ("min_relevance", ms.RecallRequest(query="q", min_relevance=float("nan"))),
        ("tiers", ms.RecallRequest(query="q", tiers=[9])),  # type: ignore[list-item]
        ("tiers", ms.RecallRequest(query="q", tiers=[pb.TIER_UNSPECIFIED])),
        ("ranking.candidates", ms.RecallRequest(query="q", ranking=ms.RankingOptions(candidates=0))),
        ("ranking.vector_weight", ms.RecallRequest(query="q", ranking=ms.RankingOptions(vector_weight=2))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recall_names_the_field_at_fault(field: str, message: ms.RecallRequest) -> None:
    _refused(field, lambda: convert_recall.recall_request(message, SCOPE))


def test_recall_defaults_are_the_documented_ones() -> None:
    asked = convert_recall.recall_request(ms.RecallRequest(query="q", limit=0, token_budget=0), SCOPE)
    assert (asked.limit, asked.max_episodes, asked.token_budget) == (5, 3, 4_000)
    assert asked.tiers == convert_recall.ALL_TIERS
    assert asked.min_relevance is None
    assert asked.use_cache


def test_a_recall_without_semantic_and_procedural_needs_no_query() -> None:
    asked = convert_recall.recall_request(ms.RecallRequest(tiers=[pb.TIER_WORKING]), SCOPE)
    assert asked.query == ""


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("e.kind", pb.Event(content="x")),
        ("e.content", pb.Event(kind=pb.EVENT_KIND_TURN)),
        ("e.content", pb.Event(kind=pb.EVENT_KIND_TURN, content="x" * (limits.MAX_EVENT_BYTES + 1))),
        ("e.role", pb.Event(kind=pb.EVENT_KIND_TURN, content="x", role="r" * (limits.MAX_NAME_BYTES + 1))),
        ("e.importance", pb.Event(kind=pb.EVENT_KIND_TURN, content="x", importance=-1.0)),
        ("e.outcome", pb.Event(kind=pb.EVENT_KIND_TURN, content="x", outcome=7)),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_names_the_field_at_fault(field: str, message: pb.Event) -> None:
    _refused(field, lambda: convert_session.new_event(message, "e", extract=False))


def test_an_update_needs_a_mask_of_known_fields() -> None:
    request = ms.UpdateMemoryRequest(memory=pb.Memory(content="x"))
    _refused("update_mask", lambda: convert_memory.updates(request))
    request.update_mask.paths.append("version")
    _refused("update_mask", lambda: convert_memory.updates(request))
    del request.update_mask.paths[:]
    request.update_mask.paths.extend(["content", "event_time"])
    assert convert_memory.updates(request) == {"content": "x", "event_time": None}
