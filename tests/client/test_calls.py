"""From arguments to requests, and from replies to dataclasses: pure."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from memd_client import KEEP, AsyncClient, Client, Event, F, NewMemory, Scope, enums, errors, parse, wire, words
from memd_client._proto.v1 import (
    admin_service_pb2,
    checkpoint_service_pb2,
    memory_service_pb2,
    procedure_service_pb2,
    session_service_pb2,
)
from memd_client._proto.v1 import common_pb2 as common
from memd_client.bind import build
from memd_client.calls import admin, checkpoints, memories, procedures, sessions, steps
from memd_client.calls.call import Call
from memd_client.types import Metadata

ADA = Scope("n", "ada", "a1", "s1")
NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)

# One call of every method, with what it needs.
EVERY_CALL: list[Call[Any]] = [
    memories.recall(ADA, "q"),
    memories.observe(ADA, "hello"),
    memories.remember(ADA, "tea"),
    memories.forget(ADA, "m1"),
    memories.get(ADA, "m1"),
    memories.list_page(ADA),
    memories.update(ADA, "m1", content="x"),
    memories.revisions_page(ADA, "m1"),
    memories.restore_revision(ADA, "m1", 1),
    sessions.working_memory(ADA),
    sessions.clear_working_memory(ADA),
    sessions.episodes_page(ADA),
    sessions.sessions_page(ADA),
    sessions.end_session(ADA),
    sessions.update_session_settings(ADA),
    procedures.put_procedure(ADA, "k", "do it"),
    procedures.get_procedure(ADA, "k"),
    procedures.list_procedures_page(ADA),
    procedures.delete_procedure(ADA, "k"),
    procedures.report_outcome(ADA, "k", 1, "success"),
    checkpoints.save_checkpoint(ADA, "t", b"s"),
    checkpoints.load_checkpoint(ADA, "t"),
    checkpoints.list_checkpoints_page(ADA),
    checkpoints.delete_checkpoint(ADA, "t"),
    steps.begin_step(ADA, "t", "s"),
    steps.renew_step(ADA, "t", "s", fencing_token=1),
    steps.complete_step(ADA, "t", "s", fencing_token=1, result=b"r"),
    steps.fail_step(ADA, "t", "s", fencing_token=1),
    steps.list_steps_page(ADA, "t"),
    admin.stats(ADA),
    admin.namespace_settings(ADA),
    admin.update_namespace_settings(ADA),
    admin.verify(ADA),
    admin.backup(ADA, "b"),
    admin.run_lifecycle(ADA),
]

NOT_UNARY = {
    "WatchMemories",
    "ExportNamespace", "ImportNamespace", "Reembed",
}  # fmt: skip

SERVICES: dict[str, Any] = {
    service.name: service
    for module in (
        admin_service_pb2,
        checkpoint_service_pb2,
        memory_service_pb2,
        procedure_service_pb2,
        session_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}


def test_every_served_rpc_has_its_call() -> None:
    served = {(s.name, m.name) for s in SERVICES.values() for m in s.methods if m.name not in NOT_UNARY}
    assert {(c.service, c.method) for c in EVERY_CALL} == served


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda c: c.method)
def test_requests_and_replies_have_the_contracts_types(call: Call[Any]) -> None:
    method = SERVICES[call.service].methods_by_name[call.method]
    assert call.request.DESCRIPTOR is method.input_type
    call.parse(GetMessageClass(method.output_type)())
    user = call.request.scope.user_id  # type: ignore[attr-defined]
    assert user == "ada"


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda c: c.method)
def test_mutating_requests_carry_a_request_id(call: Call[Any]) -> None:
    if "request_id" in call.request.DESCRIPTOR.fields_by_name:
        assert call.request.request_id  # type: ignore[attr-defined]


MAKERS = {"task", "watch", "cancel_reembed", "export_namespace", "import_namespace", "reembed"}
"""Methods that call nothing themselves; a watch has no end, so no timeout; a transfer takes as long as its file is long."""


def test_both_clients_have_the_same_documented_methods() -> None:
    def public(cls: type) -> dict[str, Any]:
        return {n: f for n, f in vars(cls).items() if not n.startswith("_") and n != "close"}

    sync, asynchronous = public(Client), public(AsyncClient)
    assert sync.keys() == asynchronous.keys()
    for name, method in sync.items():
        assert inspect.getdoc(method)
        ours, theirs = inspect.signature(method), inspect.signature(asynchronous[name])
        assert list(ours.parameters.values()) == list(theirs.parameters.values())
        assert name in MAKERS or "timeout_s" in ours.parameters
        assert next(iter(ours.parameters)) == "self"


def test_a_recall_says_only_what_was_given() -> None:
    bare: Any = memories.recall(Scope(), "q").request
    assert [f.name for f, _ in bare.ListFields()] == ["scope", "query"]
    full: Any = memories.recall(
        ADA, "q", max_episodes=0, min_relevance=0.0, trim_ratio=0.0, tiers=["semantic", enums.Tier.WORKING], as_of=NOON
    ).request
    assert full.HasField("max_episodes")
    assert full.HasField("min_relevance")
    assert full.ranking.HasField("trim_ratio")
    assert not full.ranking.HasField("candidates")
    assert list(full.tiers) == [common.TIER_SEMANTIC, common.TIER_WORKING]
    assert full.as_of.ToMicroseconds() == round(NOON.timestamp() * 1e6)


def test_remember_takes_texts_and_memories_mixed() -> None:
    request: Any = memories.remember(
        ADA, ["one", NewMemory("two", tags=["own"], ttl=timedelta(hours=1))], tags=["given"], source="tool"
    ).request
    assert [m.content for m in request.memories] == ["one", "two"]
    assert [list(m.tags) for m in request.memories] == [["given"], ["own"]]
    assert [m.source for m in request.memories] == [common.SOURCE_KIND_TOOL, common.SOURCE_KIND_USER]
    assert request.memories[1].ttl.seconds == 3600
    assert not request.memories[0].HasField("ttl")


def test_observe_takes_a_text_or_events() -> None:
    one: Any = memories.observe(ADA, "boom", kind="error", role="tool", importance=0.0).request
    assert one.events[0].kind == common.EVENT_KIND_ERROR
    assert one.events[0].HasField("importance")
    many: Any = memories.observe(ADA, [Event("a"), Event("b", kind="tool_call", outcome="failure")]).request
    assert [e.outcome for e in many.events] == [common.OUTCOME_UNSPECIFIED, common.OUTCOME_FAILURE]


def test_update_names_just_the_given_fields_and_none_clears() -> None:
    request: Any = memories.update(ADA, "m", content="x", expire_time=None, metadata=None, pinned=False).request
    assert sorted(request.update_mask.paths) == ["content", "expire_time", "metadata", "pinned"]
    assert not request.memory.HasField("expire_time")
    assert memories.update(ADA, "m", tags=KEEP).request.update_mask.paths == []  # type: ignore[attr-defined]


def test_sessions_are_listed_for_the_whole_user() -> None:
    request: Any = sessions.sessions_page(ADA).request
    assert (request.scope.user_id, request.scope.agent_id, request.scope.session_id) == ("ada", "a1", "")


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "field"),
    [
        (memories.forget, (), {}, "target"),
        (memories.forget, ("m",), {"everything": True}, "target"),
        (memories.forget, ("m",), {"all_users": True}, "target"),
        (memories.remember, ("x",), {"tags": "oops"}, "memories[0].tags"),
        (memories.remember, ("x",), {"metadata": {"a": {"b": 1}}}, "memories[0].metadata"),
        (memories.remember, ("x",), {"metadata": {"a": 2**60}}, "memories[0].metadata"),
        (memories.remember, ("x",), {"event_time": datetime(2024, 1, 1)}, "memories[0].event_time"),
        (memories.remember, ("x",), {"source": "rumour"}, "memories[0].source"),
        (memories.observe, ("x",), {"kind": "unknown"}, "events[0].kind"),
        (memories.recall, ("x",), {"limit": -1}, ""),
        (memories.recall, ("half a pair \ud800",), {}, ""),
        (procedures.report_outcome, ("k", 1, "meh"), {}, "outcome"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        build(function, ADA, *args, **kwargs)
    assert caught.value.field == field


def test_times_and_durations_keep_their_microseconds() -> None:
    for when in (NOON, NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), datetime(1, 1, 1, tzinfo=UTC)):
        sent = wire.timestamp(when, "t")
        assert sent is not None
        assert wire.moment(sent) == when
        assert wire.moment(sent).tzinfo is UTC
    for span in (timedelta(), timedelta(microseconds=1), timedelta(days=400, microseconds=-1), timedelta(seconds=-1.5)):
        made = wire.duration(span)
        assert made is not None
        assert wire.span(made) == span


def test_metadata_comes_back_as_it_went() -> None:
    metadata: Metadata = {"s": "x", "i": 3, "f": 0.5, "b": True, "l": ["a", 1, False], "big": 2**53, "e": []}
    sent = wire.struct(metadata)
    assert sent is not None
    assert wire.plain(sent) == metadata
    assert type(wire.plain(sent)["i"]) is int


def test_words_cover_the_contract_and_survive_a_newer_one() -> None:
    for table in (words.TIER, words.TIER_STATE, words.EVENT_KIND, words.OUTCOME, words.SOURCE_KIND, words.OVERFLOW):
        assert table.word(99).name == "UNKNOWN"
    assert words.DURABILITY.word(common.DURABILITY_SYNCED) is enums.Durability.SYNCED
    for kind, number in common.EventKind.items():
        if number:
            assert words.EVENT_KIND.word(number).name == kind.removeprefix("EVENT_KIND_")


def test_a_full_memory_is_parsed_whole() -> None:
    stamp = wire.timestamp(NOON, "t")
    message = common.Memory(memory_id="m", content="c", tags=["a"], position=0, importance=0.25, event_time=stamp)
    memory = parse.memory(message)
    assert (memory.position, memory.importance, memory.event_time, memory.valid_to) == (0, 0.25, NOON, None)


def test_filters_are_built_as_written() -> None:
    built = (F.tag == "x") & (F.metadata["a"] >= 3) & F.speaker.in_(["ada", "bob"]) & ~F.exists("metadata.b")
    parts = getattr(built.proto, "and").filters
    assert [p.WhichOneof("node") for p in parts] == ["compare", "compare", "in", "not"]
    assert (parts[0].compare.field, parts[0].compare.op) == ("tags", common.Comparison.OP_EQ)
    assert parts[1].compare.field == "metadata.a"
    assert parts[1].compare.value.number_value == 3
    assert [v.string_value for v in getattr(parts[2], "in").values] == ["ada", "bob"]
    assert getattr(parts[3], "not").exists == "metadata.b"


def test_filters_mix_and_keep_their_structure() -> None:
    either = (F.pinned == True) | (F.event_time < NOON) | (F.importance != 0.5)  # noqa: E712
    assert len(getattr(either.proto, "or").filters) == 3
    mixed = getattr((either & F.tags.exists()).proto, "and").filters
    assert [p.WhichOneof("node") for p in mixed] == ["or", "exists"]
    assert getattr(mixed[0], "or").filters[1].compare.value.HasField("time_value")
    assert getattr(mixed[0], "or").filters[0].compare.value.WhichOneof("kind") == "bool_value"


def test_filters_refuse_python_boolean_operators() -> None:
    with pytest.raises(TypeError, match="&"):
        _ = (F.tag == "x") and (F.tag == "y")
    with pytest.raises(TypeError):
        _ = 1 < F.position < 3
