"""The client against a real daemon: every method, sync; the ones whose shape differs also async."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memd_client import (
    AsyncClient,
    Client,
    Durability,
    Event,
    EventKind,
    F,
    Health,
    NewMemory,
    OfferReason,
    Outcome,
    SessionSettings,
    SourceKind,
    Tier,
    TierState,
    errors,
)

from tests.daemon import Daemon

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the whole file; every test has its own user."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def memd(served: Daemon, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client with a user of its own."""
    with Client(served.address, user_id=request.node.name, session_id="s1") as client:
        yield client


def test_what_is_remembered_is_recalled(memd: Client) -> None:
    stored = memd.remember("Ada prefers trains to planes", tags=["travel"], metadata={"weight": 3})
    assert stored.memories[0].created
    assert stored.receipt.durability is Durability.SYNCED
    recall = memd.recall("how does she like to travel?", explain=True, min_seq=stored.receipt.seq)
    assert [h.memory.content for h in recall.memories] == ["Ada prefers trains to planes"]
    assert "Ada prefers trains to planes" in recall.context
    assert recall.memories[0].parts is not None
    assert recall.memories[0].memory.metadata == {"weight": 3}
    assert recall.tokens > 0
    assert recall.seq >= stored.receipt.seq
    states = {s.tier: s.state for s in recall.tier_status}
    assert states[Tier.SEMANTIC] is TierState.OK


def test_cues_are_switched_per_request_and_explained(memd: Client) -> None:
    said = datetime(2023, 5, 10, tzinfo=UTC)
    turns = [
        NewMemory(
            "Which city did you move to last spring?", session_id="s1", position=0, speaker="Ada", event_time=said
        ),
        NewMemory("Lyon, for the bridges and the bread", session_id="s1", position=1, speaker="Bob", event_time=said),
    ]
    memd.remember(turns)
    cued = memd.recall("which city was it that Ada moved to in May?", explain=True)
    parts = [hit.parts.cues for hit in cued.memories if hit.parts]
    assert all(parts[0][name] > 0 for name in ("speaker", "date", "turn"))
    assert all(parts[1][name] > 0 for name in ("reply", "context_words"))
    off = memd.recall(
        "which city was it that Ada moved to in May?", explain=True, cues=dict.fromkeys(parts[0].keys() - {"turn"}, 0)
    )
    kept = [hit.parts.cues for hit in off.memories if hit.parts]
    assert {name for part in kept for name, value in part.items() if value} == {"turn"}
    with pytest.raises(errors.InvalidArgument, match="unknown cues"):
        memd.recall("which city?", cues={"moon": 1})
    with pytest.raises(errors.InvalidArgument, match=r"ranking\.cues\.date"):
        memd.recall("which city?", cues={"date": 2})


def test_a_version_in_the_words_of_the_question_lends_them_to_the_valid_one(memd: Client) -> None:
    memd.remember(NewMemory("The database of Heron is Postgres", memory_id="old"))
    memd.remember(NewMemory("Heron moved over to MySQL", memory_id="new", supersedes="old"))
    memd.remember("The database of Basalt is Oracle")
    question = "What is the database of Heron?"
    cued = memd.recall(question, explain=True)
    assert cued.memories[0].memory.memory_id == "new"
    assert "old" not in {hit.memory.memory_id for hit in cued.memories}
    parts = cued.memories[0].parts
    assert parts is not None
    assert parts.cues["versions"] > 0
    off = memd.recall(question, explain=True, cues={"versions": 0})
    assert all(hit.parts is not None and hit.parts.cues["versions"] == 0 for hit in off.memories)
    assert memd.forget("old").counts
    gone = memd.recall(question, explain=True)
    assert all(hit.parts is not None and hit.parts.cues["versions"] == 0 for hit in gone.memories)


def test_nothing_relevant_is_asked_for_by_its_bound(memd: Client) -> None:
    memd.remember("Ada prefers trains to planes")
    assert memd.recall("quantum chromodynamics").nothing_relevant
    assert not memd.recall("does Ada prefer trains?").nothing_relevant
    assert memd.recall("how does she like to travel?", nothing_below=1.0).nothing_relevant
    assert not memd.recall("how does she like to travel?", nothing_below=-1.0).nothing_relevant


def test_a_memory_comes_back_whole(memd: Client) -> None:
    new = NewMemory(
        "whole",
        memory_id="m1",
        metadata={"s": "x", "i": 1, "f": 0.5, "b": False, "l": ["a", "b"]},
        tags=["b", "a", "b"],
        source="tool",
        speaker="Ada",
        event_time=NOON,
        position=0,
        importance=0.0,
        pinned=True,
        valid_from=NOON,
        ttl=timedelta(days=1),
        event_ids=["e1"],
    )
    memd.remember([new])
    memory = memd.get("m1")
    assert memory.metadata == new.metadata
    assert memory.tags == ("a", "b")
    assert (memory.source, memory.speaker, memory.position, memory.pinned) == (SourceKind.TOOL, "Ada", 0, True)
    assert (memory.event_time, memory.valid_from, memory.importance) == (NOON, NOON, 0.0)
    assert memory.event_ids == ("e1",)
    assert memory.version == 1
    assert memory.create_time is not None
    assert memory.expire_time is not None
    assert timedelta(hours=23) < memory.expire_time - memory.create_time <= timedelta(days=1, seconds=1)


def test_filters_mean_what_they_say(memd: Client) -> None:
    memd.remember(
        [
            NewMemory("a", memory_id="a", metadata={"n": 1}, tags=["x"], speaker="ada", event_time=NOON),
            NewMemory("b", memory_id="b", metadata={"n": 2}, tags=["x", "y"], speaker="bob"),
            NewMemory("c", memory_id="c", metadata={"k": "v"}, pinned=True),
        ]
    )

    def found(filter_: object) -> set[str]:
        return {m.memory_id for m in memd.list(filter=filter_)}  # type: ignore[arg-type]

    assert found(None) == {"a", "b", "c"}
    assert found(F.tag == "x") == {"a", "b"}
    assert found((F.tag == "x") & ~(F.tag == "y")) == {"a"}
    assert found((F.metadata["n"] >= 2) | (F.pinned == True)) == {"b", "c"}  # noqa: E712
    assert found(F.speaker.in_(["ada", "eve"])) == {"a"}
    assert found(~F.speaker.exists()) == {"c"}
    assert found(F.metadata["n"] != 1) == {"b", "c"}
    assert found(F.event_time <= NOON) == {"a"}
    assert {h.memory.memory_id for h in memd.recall("a b c", filter=F.exists("metadata.k")).memories} <= {"c"}
    with pytest.raises(errors.InvalidArgument):
        memd.list_page(filter=F.exists("no_such_field"))


def test_lists_go_over_all_pages(memd: Client) -> None:
    memd.remember([f"fact number {i}" for i in range(7)])
    page = memd.list_page(page_size=3)
    assert len(page.items) == 3
    assert page.next_page_token
    everything = [m.content for m in memd.list(page_size=3)]
    assert len(everything) == len(set(everything)) == 7
    with pytest.raises(errors.InvalidArgument):
        memd.list_page(page_token="nonsense")


def test_updates_are_compare_and_set_and_can_be_undone(memd: Client) -> None:
    memd.remember("first", memory_id="m", tags=["t"], event_time=NOON)
    second = memd.update("m", content="second", event_time=None, expected_version=1)
    assert (second.content, second.version, second.event_time, second.tags) == ("second", 2, None, ("t",))
    assert second.receipt is not None
    with pytest.raises(errors.VersionConflict) as lost:
        memd.update("m", content="third", expected_version=1)
    assert lost.value.current_version == 2
    assert [m.content for m in memd.revisions("m")] == ["second", "first"]
    restored = memd.restore_revision("m", 1)
    assert (restored.content, restored.version, restored.event_time) == ("first", 3, NOON)


def test_forget_deletes_and_says_what(memd: Client) -> None:
    ids = [m.memory_id for m in memd.remember(["one", "two", "three"], tags=["gone"]).memories]
    trial = memd.forget(filter=F.tag == "gone", dry_run=True)
    assert trial.dry_run
    assert trial.counts["memories"] == 3
    assert len(list(memd.list())) == 3
    receipt = memd.forget(ids[0])
    assert receipt.counts["memories"] == 1
    assert receipt.receipt_id
    with pytest.raises(errors.NotFound):
        memd.get(ids[0])
    memd.observe("hello")
    memd.scoped(session_id="").forget(everything=True)
    assert list(memd.list()) == []
    assert list(memd.episodes()) == []
    assert not memd.recall("one two three").memories


def test_sessions_and_their_events(memd: Client) -> None:
    memd.observe("please book the train", role="user", metadata={"channel": "web"})
    failed = memd.observe("no seats", kind="error", role="tool", tool_name="book", outcome="failure")
    memd.observe(
        [
            Event("took the later one", kind=EventKind.DECISION, resolves=failed.events[0].event_id, event_time=NOON),
            Event("booked", kind="tool_call", tool_name="book", tool_call_id="c1", outcome="success", event_id="e9"),
            Event("a passing thought", ephemeral=True),
        ]
    )
    working = memd.working_memory()
    assert [e.content for e in working.items] == [
        "please book the train",
        "no seats",
        "took the later one",
        "booked",
        "a passing thought",
    ]
    assert working.tokens == sum(e.tokens for e in working.items) > 0
    assert working.items[0].metadata == {"channel": "web"}
    episodes = list(memd.episodes(page_size=2))
    assert [e.content for e in episodes] == ["booked", "took the later one", "no seats", "please book the train"]
    assert episodes[0].outcome is Outcome.SUCCESS
    assert (episodes[0].event_id, episodes[0].kind) == ("e9", EventKind.TOOL_CALL)
    assert episodes[1].event_time == NOON
    assert [e.content for e in memd.episodes(kinds=["error"])] == ["no seats"]
    (session,) = memd.sessions()
    assert session.scope.session_id == "s1"
    assert session.event_count >= 4
    assert "please book the train" in memd.recall("train").context
    assert memd.clear_working_memory().count == 5
    assert memd.working_memory().items == ()
    assert memd.end_session().end_time is not None
    with pytest.raises(errors.NotFound):
        memd.scoped(session_id="never").end_session()


def test_the_same_event_id_is_one_event(memd: Client) -> None:
    first = memd.observe("yes", event_id="e1")
    again = memd.observe("yes", event_id="e1")
    assert not first.events[0].merged
    assert again.events[0].merged
    assert len(list(memd.episodes())) == 1


def test_recall_goes_back_to_the_version_that_worked(memd: Client, served: Daemon) -> None:
    memd.put_procedure("deploy", "blue and green", trigger="deploying the service")
    for run in range(20):
        memd.report_outcome("deploy", 1, Outcome.SUCCESS, outcome_id=f"run {run}", duration=timedelta(seconds=3))
    memd.put_procedure("deploy", "all at once", trigger="getting the service out")
    assert "deploy v2 (untried): all at once" in memd.recall("how do we deploy?").context
    for run in range(20, 25):
        for _ in range(2):  # by the agent, and by whoever watches it
            last = memd.report_outcome("deploy", 2, Outcome.FAILURE, outcome_id=f"run {run}", reason="it went down")
    assert last.failures == 5
    assert last.demotion is not None
    assert "deploy v1 (20/20 ok; v2 was demoted): blue and green" in memd.recall("how do we deploy?").context
    assert "v1" in memd.recall("the service must go live on our machines").context, "found by meaning"
    served.restart()
    offered = memd.get_procedure("deploy")
    assert offered.version == 1
    assert offered.offer is not None
    assert (offered.offer.reason, offered.offer.newest_version) == (OfferReason.FORMER, 2)
    assert offered.offer.demotion == last.demotion
    assert offered.offer.since == last.demotion.demote_time
    assert (last.demotion.baseline_successes, last.demotion.failures) == (20, 5)
    assert "deploy v1 (20/20 ok; v2 was demoted)" in memd.recall("how do we deploy?").context
    failed = memd.get_procedure("deploy", version=2, outcomes=2)
    assert failed.demotion == last.demotion
    assert [(one.outcome_id, one.reason) for one in failed.outcomes] == [
        ("run 24", "it went down"),
        ("run 23", "it went down"),
    ]
    assert memd.get_procedure("deploy", outcomes=1).outcomes[0].duration == timedelta(seconds=3)
    assert [p.version for p in memd.list_procedures()] == [1]


def test_bad_reports_are_refused(memd: Client) -> None:
    with pytest.raises(errors.NotFound):
        memd.report_outcome("nothing", 1, Outcome.SUCCESS)
    memd.put_procedure("deploy", "x")
    with pytest.raises(errors.NotFound):
        memd.report_outcome("deploy", 2, Outcome.SUCCESS)
    with pytest.raises(errors.InvalidArgument):
        memd.report_outcome("deploy", 1, Outcome.SUCCESS, duration=timedelta(seconds=-1))
    memd.report_outcome("deploy", 1, Outcome.SUCCESS, outcome_id="run")
    with pytest.raises(errors.InvalidArgument):
        memd.report_outcome("deploy", 1, Outcome.FAILURE, outcome_id="run")
    with pytest.raises(errors.InvalidArgument):
        memd.get_procedure("deploy", outcomes=100_000)
    assert memd.get_procedure("deploy").successes == 1


def test_procedures_count_their_outcomes(memd: Client) -> None:
    first = memd.put_procedure("deploy", "run the tests, then push", trigger="deploying the service")
    assert first.created
    assert not memd.put_procedure("deploy", "run the tests, then push", trigger="deploying the service").created
    memd.report_outcome("deploy", 1, "success", duration=timedelta(seconds=3))
    after = memd.report_outcome("deploy", 1, "failure", reason="flaky test")
    assert (after.successes, after.failures) == (1, 1)
    second = memd.put_procedure("deploy", "push to staging first", trigger="deploying the service", expected_version=1)
    assert second.procedure.version == 2
    with pytest.raises(errors.VersionConflict):
        memd.put_procedure("deploy", "x", expected_version=1)
    assert [p.version for p in memd.list_procedures(key="deploy")] == [2, 1]
    assert [p.key for p in memd.list_procedures()] == ["deploy"]
    assert memd.get_procedure("deploy", version=1).content == "run the tests, then push"
    assert [p.key for p in memd.recall("how do I deploy the service?").procedures] == ["deploy"]
    assert memd.delete_procedure("deploy").count == 2
    with pytest.raises(errors.NotFound):
        memd.get_procedure("deploy")


def test_checkpoints_are_compare_and_set(memd: Client, request: pytest.FixtureRequest) -> None:
    task = request.node.name
    state = bytes(range(256))
    saved = memd.save_checkpoint(task, state, expected_version=0, ttl=timedelta(minutes=5))
    assert (saved.version, saved.size_bytes, saved.state) == (1, 256, b"")
    loaded = memd.load_checkpoint(task)
    assert loaded.state == state
    assert loaded.sha256 == hashlib.sha256(state).digest()
    with pytest.raises(errors.VersionConflict) as lost:
        memd.save_checkpoint(task, b"stale", expected_version=0)
    assert lost.value.current_version == 1
    memd.save_checkpoint(task, b"two", expected_version=1)
    assert memd.load_checkpoint(task, version=1).state == state
    assert [c.version for c in memd.list_checkpoints(task_id=task)] == [2, 1]
    assert task in [c.task_id for c in memd.list_checkpoints()]
    assert memd.delete_checkpoint(task).count == 2
    with pytest.raises(errors.NotFound):
        memd.load_checkpoint(task)
    assert memd.save_checkpoint(task, b"again", expected_version=0).version > 2


def test_a_repeated_request_id_has_one_effect(memd: Client) -> None:
    first = memd.remember("once", request_id="r1")
    again = memd.remember("once", request_id="r1")
    assert again.memories == first.memories
    assert again.receipt.replayed
    assert not first.receipt.replayed
    with pytest.raises(errors.RequestIdReused):
        memd.remember("something else", request_id="r1")


def test_the_daemon_says_how_it_is(memd: Client) -> None:
    memd.remember("counted")
    stats = memd.stats()
    assert stats.version
    assert stats.namespace.memories >= 1
    assert [t.tier for t in stats.tiers] == [Tier.WORKING, Tier.EPISODIC, Tier.SEMANTIC, Tier.PROCEDURAL]
    assert memd.health() is Health.SERVING
    assert memd.verify().ok


def test_namespace_settings(served: Daemon) -> None:
    with Client(served.address) as memd:
        first = memd.update_namespace_settings(working_max_items=6, episodic_ttl=timedelta(hours=2))
        second = memd.update_namespace_settings(working_max_items=7, expected_version=first.version)
        assert (second.working_max_items, second.episodic_ttl) == (7, timedelta(hours=2))
        assert second.version == first.version + 1
        with pytest.raises(errors.VersionConflict):
            memd.update_namespace_settings(working_max_items=8, expected_version=first.version)
        memd.update_namespace_settings(working_max_items=0, episodic_ttl=timedelta(0))
        assert memd.namespace_settings().working_max_items in (None, 0)


def test_session_settings(memd: Client) -> None:
    assert memd.working_memory().settings == SessionSettings()
    opened = memd.update_session_settings(working_max_tokens=500, compress=False, request_id="first")
    assert (opened.event_count, opened.settings) == (0, SessionSettings(working_max_tokens=500, compress=False))
    memd.observe("hello")
    own = SessionSettings(working_max_tokens=500, compress=False, compress_at=0.123456789, compress_keep=3)
    changed = memd.update_session_settings(compress_at=0.123456789, compress_keep=3)
    assert changed.settings == memd.working_memory().settings == own
    assert [session.settings for session in memd.sessions()] == [own]
    again = memd.update_session_settings(working_max_tokens=500, compress=False, request_id="first")
    assert again == opened
    assert again.receipt is not None
    assert again.receipt.replayed
    assert memd.working_memory().settings == own
    less = memd.update_session_settings(working_max_tokens=0, compress_keep=0)
    assert less.settings == SessionSettings(compress=False, compress_at=0.123456789)
    assert memd.update_session_settings(working_max_items=7, reset=True).settings == SessionSettings(7)
    assert memd.end_session().settings == SessionSettings(7)
    assert memd.update_session_settings(reset=True).settings == SessionSettings()
    assert memd.scoped(session_id="s2").working_memory().settings == SessionSettings()


def test_session_settings_out_of_bounds_name_the_field(memd: Client) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.update_session_settings(compress_at=2.0)
    assert caught.value.field == "settings.compress_at"
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.update_session_settings()
    assert caught.value.field == "settings"
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.scoped(session_id="").update_session_settings(compress_keep=3)
    assert caught.value.field == "scope.session_id"
    assert list(memd.sessions()) == [], "a refused change opens nothing"


def test_refusals_name_the_field(memd: Client) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.remember("")
    assert "content" in caught.value.field
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.scoped(session_id="").observe("x")
    assert "session_id" in caught.value.field
    with pytest.raises(errors.InvalidArgument) as caught:
        memd.scoped(namespace="a/b").recall("x")
    assert "namespace" in caught.value.field


async def test_the_async_client_is_the_same(served: Daemon) -> None:
    async with AsyncClient(served.address, user_id="async", session_id="s1") as memd:
        await asyncio.gather(*(memd.remember(f"fact {i}") for i in range(10)))
        await memd.observe("hello")
        await memd.update_session_settings(compress_keep=3)
        assert (await memd.working_memory()).settings.compress_keep == 3
        assert len([m async for m in memd.list(page_size=4)]) == 10
        assert [e.content async for e in memd.episodes()] == ["hello"]
        assert (await memd.recall("fact 3")).memories
        assert await memd.health() is Health.SERVING
        with pytest.raises(errors.NotFound):
            await memd.get("nowhere")


def test_a_killed_daemon_is_found_again_and_nothing_acknowledged_is_lost(daemon: Daemon) -> None:
    acknowledged: list[str] = []
    stop = threading.Event()

    def write() -> None:
        with Client(daemon.address, user_id="ada", timeout_s=60.0) as memd:
            while not stop.is_set():
                acknowledged.extend(m.memory_id for m in memd.remember(f"fact {len(acknowledged)}").memories)

    def let_it_write(writing: Future[None]) -> None:
        seen = len(acknowledged)
        while len(acknowledged) < seen + 10 and not writing.done():
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for _ in range(2):
            let_it_write(writing)
            daemon.kill()
            daemon.start()
        let_it_write(writing)
        stop.set()
        writing.result()
    with Client(daemon.address, user_id="ada") as memd:
        stored = [m.memory_id for m in memd.list()]
    assert sorted(stored) == sorted(acknowledged)
    assert len(set(acknowledged)) == len(acknowledged) >= 30


def test_a_clean_stop_ends_with_code_0(daemon: Daemon, tmp_path: Path) -> None:
    with Client(daemon.address, user_id="ada") as memd:
        memd.remember("tea")
        assert daemon.terminate() == 0
        daemon.start()
        assert [m.content for m in memd.list()] == ["tea"]


def test_a_token_is_bound_to_its_namespace(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"s3cret").hexdigest()
    tokens.write_text(f'[[tokens]]\nname = "ci"\nsha256 = "{digest}"\nnamespace = "team-a"\n')
    tokens.chmod(0o600)
    with Daemon(tmp_path / "daemon", arguments=["--token-file", str(tokens)]) as daemon:
        with Client(daemon.address, token="s3cret") as memd:
            memd.remember("tea")
            assert [m.scope.namespace for m in memd.list()] == ["team-a"]
            with pytest.raises(errors.PermissionDenied):
                memd.scoped(namespace="team-b").recall("tea")
            with pytest.raises(errors.PermissionDenied):
                memd.verify()
        for stranger in (Client(daemon.address), Client(daemon.address, token="guess")):
            with stranger, pytest.raises(errors.Unauthenticated):
                stranger.recall("tea")
