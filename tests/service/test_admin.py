"""Stats, settings, Verify, sessions, checkpoints and the sweep."""

from __future__ import annotations

import asyncio

import pytest

from memd.domain.errors import InvalidArgument, NotFound, VersionConflict, WrongState
from memd.domain.model import NamespaceSettings, Scope, WorkingSet
from memd.limits import DAY_US, HOUR_US
from memd.ports import IndexChange
from memd.service.admin import AdminService
from tests.service.conftest import SCOPE, Build, House
from tests.service.writing import draft, learn, request, say


async def test_stats_count_the_namespace_alone(house: House) -> None:
    await learn(house, "one", "two")
    await say(house, "a", "b", "c")
    await house.procedures.put(SCOPE, "key", "", "steps", {}, writer="test")
    await house.checkpoints.save("ns", "task", b"state")
    await learn(house, "elsewhere", scope=Scope("other"))
    stats = await house.admin.stats("ns")
    assert (stats.memories, stats.procedures, stats.sessions, stats.events, stats.checkpoints) == (2, 1, 1, 3, 1)
    assert stats.index_entries == 3
    assert stats.index_bytes > 0
    assert stats.seq == (await house.ask("one")).seq


async def test_verify_sees_that_index_and_rows_agree(build: Build) -> None:
    house = build()
    written = await learn(house, *[f"memory {n}" for n in range(20)])
    assert (await house.admin.verify("ns")).ok
    await learn(house, draft("memory 0", pinned=True))
    await house.forget.forget(SCOPE, memory_ids=[written.value[5].memory_id], writer="test")
    await house.procedures.put(SCOPE, "key", "", "steps", {}, writer="test")
    await house.admin.update_settings("ns", NamespaceSettings(working_max_items=7), writer="test")
    report = await house.admin.verify("ns")
    assert report.ok, report
    assert report.rows == report.index_entries == 19
    house = build()
    assert (await house.admin.verify("ns")).ok, "and after a restart"


async def test_verify_raises_no_false_alarm_while_others_write(house: House) -> None:
    async def write() -> None:
        for n in range(25):
            await learn(house, f"memory {n}", draft(f"memory {n % 5}, often", memory_id=f"m{n % 5}"))
            await house.forget.forget(SCOPE, memory_ids=[f"m{(n + 2) % 5}"], writer="test")

    await learn(house, "the first")
    writing = asyncio.ensure_future(write())
    reports = []
    while not writing.done():
        reports.append(await house.admin.verify("ns"))
    await writing
    assert len(reports) > 3
    assert [report for report in reports if not report.ok] == []


async def test_verify_names_what_differs(house: House) -> None:
    written = await learn(house, "one", "two", "three")
    await house.ask("one")
    seq = written.seq + 1
    ids = [one.memory_id for one in written.value]
    rows = dict(zip(ids, [row for rows in house.stores.memories.load("ns", "memory")[1] for row in rows], strict=True))
    stale = next(row for row in rows.values() if row.entry_id == ids[1])
    phantom = type(stale)("phantom", 1, stale.text, stale.embeddings, stale.fields)
    outdated = type(stale)(stale.entry_id, 9, stale.text, stale.embeddings, stale.fields)
    house.index.apply([IndexChange("ns", "memory", seq, put=(phantom, outdated), delete=(ids[0],))])
    report = await house.admin.verify("ns")
    assert not report.ok
    assert (report.missing, report.phantom, report.stale) == (1, 1, 1)
    assert (report.seq, report.index_seq) == (written.seq, seq)


async def test_settings_are_merged_reset_and_compared(house: House) -> None:
    first = await house.admin.update_settings("ns", NamespaceSettings(working_max_items=5), writer="test")
    assert first.value == NamespaceSettings(working_max_items=5, version=1)
    changes = NamespaceSettings(checkpoint_history=2)
    second = await house.admin.update_settings("ns", changes, expected_version=1, writer="test")
    assert second.value == NamespaceSettings(working_max_items=5, checkpoint_history=2, version=2)
    with pytest.raises(VersionConflict):
        await house.admin.update_settings("ns", changes, expected_version=1, writer="test")
    reset = frozenset({"working_max_items"})
    third = await house.admin.update_settings("ns", NamespaceSettings(), reset, writer="test")
    assert third.value == await house.admin.settings("ns") == NamespaceSettings(checkpoint_history=2, version=3)


async def test_concurrent_changes_of_settings_are_all_kept(house: House) -> None:
    changes = (
        NamespaceSettings(working_max_items=5),
        NamespaceSettings(working_max_tokens=500),
        NamespaceSettings(episodic_max_items=50),
        NamespaceSettings(episodic_ttl_us=HOUR_US),
        NamespaceSettings(checkpoint_history=2),
    )
    await asyncio.gather(*[house.admin.update_settings("ns", one, writer="test") for one in changes])
    assert await house.admin.settings("ns") == NamespaceSettings(5, 500, 50, HOUR_US, 2, version=5)


@pytest.mark.parametrize(
    "bad",
    [
        NamespaceSettings(working_max_items=0),
        NamespaceSettings(working_max_tokens=-1),
        NamespaceSettings(episodic_ttl_us=1),
        NamespaceSettings(checkpoint_history=10**6),
    ],
)
async def test_settings_out_of_range_are_refused(house: House, bad: NamespaceSettings) -> None:
    with pytest.raises(InvalidArgument):
        await house.admin.update_settings("ns", bad, writer="test")
    assert (await house.admin.settings("ns")).version == 0


async def test_a_session_ends_and_opens_again(house: House) -> None:
    with pytest.raises(NotFound):
        await house.sessions.end(SCOPE)
    await say(house, "one", "two")
    ended = await house.sessions.end(SCOPE, request("end"))
    assert ended.value.end_time is not None
    assert (await house.sessions.working(SCOPE)).items == ()
    assert len((await house.sessions.episodes(SCOPE, size=10)).items) == 2
    reply = await house.ask("")
    assert [event.content for event in reply.episodes] == ["one", "two"]
    await say(house, "three")
    (session,) = (await house.sessions.list(SCOPE, size=10)).items
    assert (session.end_time, session.event_count) == (None, 3)


async def test_clearing_keeps_the_episodes(house: House) -> None:
    await say(house, "one", "two")
    assert (await house.sessions.clear(SCOPE)).value == 2
    assert await house.sessions.working(SCOPE) == WorkingSet((), 0, (await house.sessions.working(SCOPE)).seq)
    assert len((await house.sessions.episodes(SCOPE, size=10)).items) == 2


async def test_checkpoints_take_ttl_and_history_from_the_settings(build: Build) -> None:
    house = build(checkpoint_ttl_us=2 * HOUR_US, checkpoint_history=3)
    for n in range(5):
        saved = await house.checkpoints.save("ns", "task", b"%d" % n, expected_version=n)
    assert saved.value.expire_time - saved.value.create_time == 2 * HOUR_US
    assert [c.version for c in (await house.checkpoints.list("ns", "task", size=10)).items] == [5, 4, 3]
    with pytest.raises(VersionConflict) as lost:
        await house.checkpoints.save("ns", "task", b"late", expected_version=4)
    assert lost.value.current_version == 5
    await house.admin.update_settings("ns", NamespaceSettings(checkpoint_history=1), writer="test")
    await house.checkpoints.save("ns", "task", b"5", ttl_us=DAY_US)
    assert [c.version for c in (await house.checkpoints.list("ns", "task", size=10)).items] == [6]
    house.clock.advance(2 * HOUR_US)
    assert (await house.checkpoints.load("ns", "task")).state == b"5"
    house.clock.advance(DAY_US)
    with pytest.raises(NotFound):
        await house.checkpoints.load("ns", "task")


async def test_the_sweep_gives_expired_rows_back_and_leaves_the_rest(house: House) -> None:
    await learn(house, draft("for an hour", ttl_us=HOUR_US), "for ever")
    await say(house, "a turn")
    await house.checkpoints.save("ns", "task", b"state", ttl_us=HOUR_US)
    assert await house.sweeper.run_once() == 0
    house.clock.advance(DAY_US)
    while await house.sweeper.run_once():
        pass
    stats = await house.admin.stats("ns")
    kept = "what is for ever, and the digest of the session"
    assert (stats.memories, stats.events, stats.checkpoints, stats.index_entries) == (2, 0, 0, 2), kept
    assert (await house.admin.verify("ns")).ok


async def test_pgvector_is_refused_where_it_cannot_be_had(house: House) -> None:
    reason = "this daemon has no pgvector"
    admin = AdminService(house.stores.memories, house.stores.settings, house.index, house.policy, no_pgvector=reason)
    with pytest.raises(WrongState, match=reason):
        await admin.update_settings("ns", NamespaceSettings(index="pgvector"), writer="test")
    written = await admin.update_settings("ns", NamespaceSettings(index="memory"), writer="test")
    assert written.value.index == "memory"
    written = await admin.update_settings("ns", NamespaceSettings(), frozenset({"index"}), writer="test")
    assert written.value.index is None
