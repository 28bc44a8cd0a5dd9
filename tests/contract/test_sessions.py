"""SessionStore: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memd.domain.errors import InvalidArgument, NotFound, RequestIdReused
from memd.domain.model import Event, EventKind, Outcome, Scope
from memd.limits import TRIM_SLACK
from tests.contract.builders import POLICY, SESSION, event, request
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("sessions")

ALL = frozenset[EventKind]()


def ids(events: tuple[Event, ...]) -> list[str]:
    return [one.event_id for one in events]


async def episode_ids(stores: Stores, scope: Scope = SESSION, size: int = 100) -> list[str]:
    return ids((await stores.sessions.episodes(scope, POLICY, kinds=ALL, size=size, cursor="")).items)


class TestAppend:
    async def test_what_was_appended_comes_back_whole(self, stores: Stores) -> None:
        full = Event(
            event_id="e1",
            kind=EventKind.TOOL_CALL,
            content='tab\t quote " nul \0 é 漢 \U0001f600',
            role="tool",
            tool_name="bash",
            tool_call_id="c1",
            outcome=Outcome.FAILURE,
            resolves="e0",
            importance=0.1 + 0.2,
            importance_reasons=("failure", "first"),
            event_time=5,
            tokens=9,
            count=1,
            last_seen=5,
            position=1,
            original_bytes=70_000,
            original_sha256=b"\x00\xff" * 16,
            metadata={"a": 1, "b": [True, False], "c": "x", "d": 0.1},
        )
        written = await stores.sessions.append(SESSION, [full], POLICY, None)
        assert written.durability is stores.durability
        assert not written.replayed
        working = await stores.sessions.working(SESSION, POLICY)
        assert working.items == (full,)
        assert (working.tokens, working.seq) == (9, written.seq)
        page = await stores.sessions.episodes(SESSION, POLICY, kinds=ALL, size=10, cursor="")
        assert page.items == (full,)

    async def test_positions_count_from_one_in_order(self, stores: Stores) -> None:
        first = await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, None)
        second = await stores.sessions.append(SESSION, [event("c")], POLICY, None)
        assert [one.position for one in first.value + second.value] == [1, 2, 3]
        assert second.seq == first.seq + 1

    async def test_the_same_event_id_is_one_event(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, None)
        again = await stores.sessions.append(SESSION, [event("a", "other"), event("c")], POLICY, None)
        assert [(one.event_id, one.merged, one.position) for one in again.value] == [("a", True, 1), ("c", False, 3)]
        assert await episode_ids(stores) == ["c", "b", "a"]
        page = await stores.sessions.episodes(SESSION, POLICY, kinds=ALL, size=10, cursor="")
        assert page.items[-1].content == "a"
        assert page.items[-1].count == 1

    async def test_the_same_event_id_twice_in_one_call_is_one_event(self, stores: Stores) -> None:
        written = await stores.sessions.append(SESSION, [event("a"), event("b"), event("a")], POLICY, None)
        assert [one.merged for one in written.value] == [False, False, True]
        assert await episode_ids(stores) == ["b", "a"]

    async def test_an_id_already_there_is_not_counted_as_a_repeat_of_the_last(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a", "yes"), event("b", "no"), event("c", "yes")], POLICY, None)
        await stores.sessions.append(SESSION, [event("a", "yes")], POLICY, None)
        await stores.sessions.append(SESSION, [event("c", "yes")], POLICY, None)
        assert [one.count for one in (await stores.sessions.working(SESSION, POLICY)).items] == [1, 1, 1]

    async def test_a_direct_repeat_is_merged_and_counted(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a", "same")], POLICY, None)
        later = event("b", "same", event_time=50, last_seen=50)
        merged = await stores.sessions.append(SESSION, [later, replace(later, event_id="c")], POLICY, None)
        assert [(one.event_id, one.merged, one.position) for one in merged.value] == [("a", True, 1)] * 2
        (one,) = (await stores.sessions.working(SESSION, POLICY)).items
        assert (one.event_id, one.count, one.last_seen, one.event_time) == ("a", 3, 50, 7)

    async def test_a_repeat_is_merged_after_a_restart(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a", "same")], POLICY, None)
        await stores.reopen()
        merged = await stores.sessions.append(SESSION, [event("b", "same")], POLICY, None)
        assert merged.value[0].merged
        assert merged.value[0].event_id == "a"

    @pytest.mark.parametrize(
        "different",
        [
            {"kind": EventKind.DECISION},
            {"role": "assistant"},
            {"tool_call_id": "c"},
            {"content": "other"},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    async def test_what_differs_is_not_merged(self, stores: Stores, different: dict[str, object]) -> None:
        base = event("a", "same")
        await stores.sessions.append(SESSION, [base], POLICY, None)
        other = replace(base, event_id="b", **different)  # type: ignore[arg-type]
        written = await stores.sessions.append(SESSION, [other], POLICY, None)
        assert not written.value[0].merged

    async def test_a_repeat_further_back_is_kept(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a", "yes"), event("b", "no"), event("c", "yes")], POLICY, None)
        assert await episode_ids(stores) == ["c", "b", "a"]

    async def test_concurrent_appends_are_all_there_once_in_some_order(self, stores: Stores) -> None:
        wide = replace(POLICY, episodic_max_items=1_000)
        await asyncio.gather(
            *(
                stores.sessions.append(SESSION, [event(f"{k}-{i}") for i in range(3)], wide, request(f"r{k}"))
                for k in range(40)
            )
        )
        page = await stores.sessions.episodes(SESSION, wide, kinds=ALL, size=1_000, cursor="")
        assert sorted(ids(page.items)) == sorted(f"{k}-{i}" for k in range(40) for i in range(3))
        assert [one.position for one in page.items] == list(range(120, 0, -1))
        by_caller = [one.event_id.split("-")[0] for one in page.items]
        assert all(by_caller[i] == by_caller[i + 1] == by_caller[i + 2] for i in range(0, 120, 3)), "a call was split"

    async def test_sessions_are_apart_in_every_part_of_the_scope(self, stores: Stores) -> None:
        scopes = [
            SESSION,
            replace(SESSION, namespace="other"),
            replace(SESSION, user_id="other"),
            replace(SESSION, user_id=""),
            replace(SESSION, agent_id=""),
            replace(SESSION, session_id="other"),
            replace(SESSION, session_id="s%"),
        ]
        for i, scope in enumerate(scopes):
            await stores.sessions.append(scope, [event("same-id", f"of {i}")], POLICY, None)
        for i, scope in enumerate(scopes):
            assert [one.content for one in (await stores.sessions.working(scope, POLICY)).items] == [f"of {i}"]


class TestRequests:
    async def test_a_repeat_gets_the_first_reply_and_stores_nothing(self, stores: Stores) -> None:
        first = await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, request("r"))
        await stores.sessions.append(SESSION, [event("c")], POLICY, None)
        again = await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, request("r"))
        assert again == replace(first, replayed=True)
        await stores.reopen()
        assert await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, request("r")) == again
        assert await episode_ids(stores) == ["c", "b", "a"]

    async def test_simultaneous_repeats_have_one_effect(self, stores: Stores) -> None:
        calls = [stores.sessions.append(SESSION, [event(f"e{i}", "same")], POLICY, request("r")) for i in range(20)]
        replies = await asyncio.gather(*calls)
        assert sum(not reply.replayed for reply in replies) == 1
        assert len({reply.value for reply in replies}) == 1
        (one,) = (await stores.sessions.working(SESSION, POLICY)).items
        assert one.count == 1

    async def test_another_body_is_refused_alone(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, request("r"))
        refused, kept = await asyncio.gather(
            stores.sessions.append(SESSION, [event("b")], POLICY, request("r", "other body")),
            stores.sessions.append(SESSION, [event("c")], POLICY, request("r2")),
            return_exceptions=True,
        )
        assert isinstance(refused, RequestIdReused)
        assert not isinstance(kept, BaseException)
        assert await episode_ids(stores) == ["c", "a"]

    async def test_request_ids_of_namespaces_are_apart(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, request("r"))
        other = replace(SESSION, namespace="m")
        written = await stores.sessions.append(other, [event("a")], POLICY, request("r", namespace="m"))
        assert not written.replayed

    async def test_an_id_may_be_used_again_after_a_day(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, request("r"))
        stores.clock.advance(24 * 3_600 * 1_000_000)
        written = await stores.sessions.append(SESSION, [event("b")], POLICY, request("r", "other body"))
        assert not written.replayed

    async def test_clear_and_end_are_replayed(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, None)
        cleared = await stores.sessions.clear_working(SESSION, request("r1"))
        assert await stores.sessions.clear_working(SESSION, request("r1")) == replace(cleared, replayed=True)
        ended = await stores.sessions.end(SESSION, request("r2"))
        assert await stores.sessions.end(SESSION, request("r2")) == replace(ended, replayed=True)


class TestWorking:
    async def test_empty_for_an_unknown_session(self, stores: Stores) -> None:
        working = await stores.sessions.working(SESSION, POLICY)
        assert (working.items, working.tokens, working.seq) == ((), 0, 0)
        assert await stores.sessions.recent(SESSION, POLICY, 3) == (working, ())

    async def test_newest_within_the_item_cap_oldest_first(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abcde"], POLICY, None)
        working = await stores.sessions.working(SESSION, POLICY)
        assert ids(working.items) == ["c", "d", "e"]
        assert working.tokens == 30

    async def test_newest_within_the_token_cap(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b", tokens=60), event("c", tokens=40)], POLICY, None)
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["b", "c"]

    async def test_the_newest_item_is_there_however_large(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b", tokens=5_000)], POLICY, None)
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["b"]

    async def test_lower_caps_hold_at_once(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abc"], POLICY, None)
        tight = replace(POLICY, working_max_items=1)
        assert ids((await stores.sessions.working(SESSION, tight)).items) == ["c"]
        working, older = await stores.sessions.recent(SESSION, tight, 2)
        assert (ids(working.items), ids(older)) == (["c"], ["a", "b"])

    async def test_it_survives_a_restart(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abcd"], POLICY, None)
        await stores.reopen()
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["b", "c", "d"]
        await stores.sessions.append(SESSION, [event("e")], POLICY, None)
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["c", "d", "e"]

    async def test_ephemeral_events_never_become_episodes(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b", ephemeral=True)], POLICY, None)
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["a", "b"]
        assert await episode_ids(stores) == ["a"]
        await stores.sessions.append(SESSION, [event(c) for c in "cde"], POLICY, None)
        _, older = await stores.sessions.recent(SESSION, POLICY, 10)
        assert ids(older) == ["a"]
        assert await episode_ids(stores) == ["e", "d", "c", "a"]

    async def test_recent_is_what_came_before_the_working_set(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abcde"], POLICY, None)
        working, older = await stores.sessions.recent(SESSION, POLICY, 1)
        assert (ids(working.items), ids(older)) == (["c", "d", "e"], ["b"])
        _, older = await stores.sessions.recent(SESSION, POLICY, 10)
        assert ids(older) == ["a", "b"]

    async def test_recent_keeps_to_the_episode_cap(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abcdefgh"], POLICY, None)
        _, older = await stores.sessions.recent(SESSION, POLICY, 10)
        assert ids(older) == ["d", "e"]

    async def test_clearing_leaves_episodes_and_deletes_ephemeral_ones(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b", ephemeral=True)], POLICY, None)
        cleared = await stores.sessions.clear_working(SESSION, None)
        assert cleared.value == 2
        assert (await stores.sessions.working(SESSION, POLICY)).items == ()
        assert await episode_ids(stores) == ["a"]
        assert (await stores.sessions.count(SESSION, all_users=False))["events"] == 1
        assert (await stores.sessions.clear_working(SESSION, None)).value == 0
        await stores.sessions.append(SESSION, [event("c")], POLICY, None)
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["c"]

    async def test_a_repeat_of_what_clearing_deleted_is_a_new_event(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a", "same", ephemeral=True)], POLICY, None)
        await stores.sessions.clear_working(SESSION, None)
        written = await stores.sessions.append(SESSION, [event("b", "same")], POLICY, None)
        assert [(one.event_id, one.merged) for one in written.value] == [("b", False)]
        assert ids((await stores.sessions.working(SESSION, POLICY)).items) == ["b"]

    async def test_clearing_an_unknown_session_clears_nothing(self, stores: Stores) -> None:
        assert (await stores.sessions.clear_working(SESSION, None)).value == 0


class TestEpisodes:
    async def test_the_cap_holds_exactly_at_every_read(self, stores: Stores) -> None:
        for i in range(3 * TRIM_SLACK):
            await stores.sessions.append(SESSION, [event(f"e{i}")], POLICY, None)
            newest = [f"e{j}" for j in range(i, max(-1, i - 5), -1)]
            if i % 37 == 0:
                assert await episode_ids(stores) == newest
        assert await episode_ids(stores) == newest
        counted = await stores.sessions.count(SESSION, all_users=False)
        assert counted["events"] <= POLICY.episodic_max_items + TRIM_SLACK, "the cap must bound the rows as well"

    async def test_pages_follow_each_other(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event(c) for c in "abcde"], POLICY, None)
        seen, cursor = [], ""
        while True:
            page = await stores.sessions.episodes(SESSION, POLICY, kinds=ALL, size=2, cursor=cursor)
            seen += ids(page.items)
            cursor = page.next_cursor
            if not cursor:
                break
        assert seen == ["e", "d", "c", "b", "a"]

    async def test_kinds_select(self, stores: Stores) -> None:
        kinds = [EventKind.TURN, EventKind.ERROR, EventKind.DECISION, EventKind.ERROR]
        await stores.sessions.append(SESSION, [event(f"e{i}", kind=kind) for i, kind in enumerate(kinds)], POLICY, None)
        page = await stores.sessions.episodes(SESSION, POLICY, kinds=frozenset({EventKind.ERROR}), size=9, cursor="")
        assert ids(page.items) == ["e3", "e1"]

    @pytest.mark.parametrize("cursor", ["x", "[", '["a"]', "[1,2]", "[true]", "[99999999999999999999]", "{}"])
    async def test_a_foreign_page_token_is_refused(self, stores: Stores, cursor: str) -> None:
        with pytest.raises(InvalidArgument):
            await stores.sessions.episodes(SESSION, POLICY, kinds=ALL, size=2, cursor=cursor)


class TestSessions:
    async def test_most_recently_active_first_paged(self, stores: Stores) -> None:
        for name in ("s1", "s2", "s3"):
            await stores.sessions.append(replace(SESSION, session_id=name), [event("a")], POLICY, None)
        await stores.sessions.append(replace(SESSION, session_id="s1"), [event("b")], POLICY, None)
        await stores.sessions.append(replace(SESSION, agent_id="other"), [event("b")], POLICY, None)
        scope = replace(SESSION, session_id="")
        first = await stores.sessions.sessions(scope, size=2, cursor="")
        rest = await stores.sessions.sessions(scope, size=2, cursor=first.next_cursor)
        assert [one.scope.session_id for one in first.items + rest.items] == ["s1", "s3", "s2"]
        assert rest.next_cursor == ""
        assert first.items[0].event_count == 2
        assert first.items[0].create_time < first.items[0].update_time
        assert first.items[0].expire_time == first.items[0].update_time + POLICY.ttl_us

    async def test_ending_clears_working_memory_and_happens_once(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        ended = await stores.sessions.end(SESSION, None)
        assert ended.value.end_time is not None
        assert (await stores.sessions.working(SESSION, POLICY)).items == ()
        assert await episode_ids(stores) == ["a"]
        again = await stores.sessions.end(SESSION, None)
        assert again.value == ended.value
        await stores.sessions.append(SESSION, [event("b")], POLICY, None)
        (reopened,) = (await stores.sessions.sessions(replace(SESSION, session_id=""), size=9, cursor="")).items
        assert reopened.end_time is None

    async def test_ending_an_unknown_session(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await stores.sessions.end(SESSION, None)


class TestLive:
    async def names(self, stores: Stores, size: int) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        cursor = ""
        while True:
            page = await stores.sessions.live(size, cursor)
            found |= {(one.scope.namespace, one.scope.session_id) for one in page.items}
            cursor = page.next_cursor
            if not cursor:
                return found

    @pytest.mark.parametrize("size", [1, 7, 100])
    async def test_every_session_of_every_namespace_in_pages(self, stores: Stores, size: int) -> None:
        assert await self.names(stores, size) == set()
        wanted = set()
        for number in range(20):
            scope = replace(SESSION, namespace=f"n{number % 3}", session_id=f"s{number}")
            await stores.sessions.append(scope, [event("a"), event("b")], POLICY, None)
            wanted.add((scope.namespace, scope.session_id))
        assert await self.names(stores, size) == wanted

    async def test_what_ended_or_expired_is_not_there(self, stores: Stores) -> None:
        for name, ttl_us in (("ended", POLICY.ttl_us), ("expired", 1_000), ("live", POLICY.ttl_us)):
            scope = replace(SESSION, session_id=name)
            policy = replace(POLICY, ttl_us=ttl_us)
            await stores.sessions.append(scope, [event("a"), event("b")], policy, None)
        await stores.sessions.end(replace(SESSION, session_id="ended"), None)
        stores.clock.advance(2_000)
        assert await self.names(stores, 10) == {(SESSION.namespace, "live")}


class TestExpiry:
    async def test_expired_sessions_are_invisible_before_any_sweep(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        stores.clock.advance(POLICY.ttl_us)
        assert (await stores.sessions.working(SESSION, POLICY)).items == ()
        assert await episode_ids(stores) == []
        assert (await stores.sessions.sessions(replace(SESSION, session_id=""), size=9, cursor="")).items == ()
        assert await stores.sessions.count(SESSION, all_users=True) == {"events": 0, "sessions": 0}
        with pytest.raises(NotFound):
            await stores.sessions.end(SESSION, None)

    async def test_an_append_refreshes_the_ttl(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        stores.clock.advance(POLICY.ttl_us - 100)
        await stores.sessions.append(SESSION, [event("b")], POLICY, None)
        stores.clock.advance(POLICY.ttl_us - 100)
        assert await episode_ids(stores) == ["b", "a"]

    async def test_an_expired_session_starts_anew(self, stores: Stores) -> None:
        await stores.sessions.append(SESSION, [event("a"), event("b")], POLICY, None)
        stores.clock.advance(POLICY.ttl_us)
        written = await stores.sessions.append(SESSION, [event("a", "again")], POLICY, None)
        assert [(one.merged, one.position) for one in written.value] == [(False, 1)]
        assert await episode_ids(stores) == ["a"]

    async def test_sweep_is_bounded_and_complete(self, stores: Stores) -> None:
        for i in range(4):
            scope = replace(SESSION, session_id=f"s{i}")
            await stores.sessions.append(scope, [event(c) for c in "abc"], POLICY, None)
        stores.clock.advance(POLICY.ttl_us)
        await stores.sessions.append(SESSION, [event("x")], POLICY, None)
        swept = []
        while n := await stores.sessions.sweep(5):
            swept.append(n)
        assert sum(swept) == 4 * 3 + 4
        assert max(swept) <= 2 * 5
        assert await episode_ids(stores) == ["x"]
        assert await stores.sessions.sweep(5) == 0


class TestForget:
    async def fill(self, stores: Stores) -> None:
        for scope in (
            SESSION,
            replace(SESSION, session_id="s2"),
            replace(SESSION, agent_id="b"),
            replace(SESSION, user_id="v"),
            replace(SESSION, user_id=""),
            replace(SESSION, namespace="m"),
        ):
            await stores.sessions.append(scope, [event("a"), event("b")], POLICY, None)

    @pytest.mark.parametrize(
        ("scope", "all_users", "sessions"),
        [
            (SESSION, False, 1),
            (Scope("n", "u", "a"), False, 2),
            (Scope("n", "u"), False, 3),
            (Scope("n", ""), False, 1),
            (Scope("n"), True, 5),
            (Scope("n", "nobody"), False, 0),
        ],
    )
    async def test_it_takes_the_scope_and_nothing_else(
        self, stores: Stores, scope: Scope, all_users: bool, sessions: int
    ) -> None:
        await self.fill(stores)
        expected = {"events": 2 * sessions, "sessions": sessions}
        assert await stores.sessions.count(scope, all_users=all_users) == expected
        assert await stores.sessions.forget(scope, all_users=all_users, receipt_id="r") == expected
        assert await stores.sessions.count(scope, all_users=all_users) == {"events": 0, "sessions": 0}
        left = await stores.sessions.count(Scope("n"), all_users=True)
        assert left["sessions"] == 5 - sessions
        assert (await stores.sessions.count(Scope("m"), all_users=True))["sessions"] == 1

    async def test_the_same_receipt_again_deletes_nothing(self, stores: Stores) -> None:
        await self.fill(stores)
        counts = await stores.sessions.forget(SESSION, all_users=False, receipt_id="r")
        await stores.sessions.append(SESSION, [event("later")], POLICY, None)
        assert await stores.sessions.forget(SESSION, all_users=False, receipt_id="r") == counts
        assert await episode_ids(stores) == ["later"]
        assert (await stores.sessions.append(SESSION, [event("x")], POLICY, None)).value[0].position == 2
