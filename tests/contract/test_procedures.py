"""ProcedureStore: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from memd.domain.errors import InvalidArgument, NotFound, RequestIdReused, VersionConflict
from memd.domain.learning import Tally
from memd.domain.model import Outcome, OutcomeReport, Procedure, RequestKey, Scope, Written
from memd.limits import MAX_PROCEDURE_VERSIONS
from tests.contract.builders import USER, procedure, request, vector
from tests.contract.conftest import IndexedStores, Stores

pytestmark = pytest.mark.ports("memories", "procedures")

AGENT = Scope("n", "u", "a")
KEY_ID = "p-u--key"


async def put(
    stores: Stores, wanted: Procedure, *, expected: int | None = None, key: RequestKey | None = None
) -> Written[tuple[Procedure, bool]]:
    return await stores.procedures.put(
        wanted, (vector(),), expected_version=expected, fence=await stores.memories.fence("n"), writer="w", request=key
    )


class TestPut:
    async def test_versions_count_from_one(self, stores: Stores) -> None:
        first = await put(stores, procedure("key", "one", metadata={"k": [1, "x"]}))
        second = await put(stores, procedure("key", "two"))
        assert [(w.value[0].version, w.value[1], w.seq) for w in (first, second)] == [(1, True, 1), (2, True, 2)]
        assert await stores.procedures.get("n", KEY_ID, 0) == second.value[0]
        assert await stores.procedures.get("n", KEY_ID, 1) == first.value[0]
        assert first.value[0].metadata == {"k": [1, "x"]}
        await stores.reopen()
        assert await stores.procedures.get("n", KEY_ID, 1) == first.value[0]

    async def test_the_same_body_changes_nothing(self, stores: Stores) -> None:
        first = await put(stores, procedure("key"))
        again = await put(stores, procedure("key"))
        assert again.value == (first.value[0], False)
        assert again.seq == first.seq

    async def test_a_body_from_before_is_a_new_version(self, stores: Stores) -> None:
        for content in ("one", "two", "one"):
            last = await put(stores, procedure("key", content))
        assert last.value[0].version == 3

    async def test_compare_and_set(self, stores: Stores) -> None:
        with pytest.raises(VersionConflict) as conflict:
            await put(stores, procedure("key"), expected=1)
        assert conflict.value.current_version == 0
        await put(stores, procedure("key"), expected=0)
        with pytest.raises(VersionConflict) as conflict:
            await put(stores, procedure("key", "x"), expected=0)
        assert conflict.value.current_version == 1
        results = await asyncio.gather(
            *(put(stores, procedure("key", f"c{i}"), expected=1) for i in range(16)), return_exceptions=True
        )
        assert sum(isinstance(result, Written) for result in results) == 1

    async def test_the_oldest_versions_go(self, stores: Stores) -> None:
        for i in range(MAX_PROCEDURE_VERSIONS + 2):
            await put(stores, procedure("key", f"c{i}"))
        with pytest.raises(NotFound):
            await stores.procedures.get("n", KEY_ID, 2)
        assert (await stores.procedures.get("n", KEY_ID, 3)).content == "c2"

    async def test_a_repeat_gets_the_first_reply(self, stores: Stores) -> None:
        first = await put(stores, procedure("key", "one"), key=request("r"))
        await put(stores, procedure("key", "two"))
        assert await put(stores, procedure("key", "one"), key=request("r")) == replace(first, replayed=True)

    async def test_the_index_is_told(self, indexed: IndexedStores) -> None:
        await put(indexed, procedure("key", scope=AGENT, trigger="when tests fail"))
        (change,) = [change for change in indexed.changes if change.put]
        (row,) = change.put
        assert (change.kind, row.entry_id, row.version) == ("procedure", "p-u-a-key", 1)
        assert row.text == "key when tests fail"
        assert row.embeddings == vector()
        assert json.loads(row.fields) == {"user_id": "u", "agent_id": "a"}
        assert await indexed.entries("n", "procedure") == [row]
        await indexed.procedures.delete("n", "p-u-a-key", writer="w", request=None)
        assert [change.delete for change in indexed.changes if change.delete] == [("p-u-a-key",)]


class TestRead:
    async def test_unknown_ones(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            await stores.procedures.get("n", KEY_ID, 0)
        await put(stores, procedure("key"))
        with pytest.raises(NotFound):
            await stores.procedures.get("n", KEY_ID, 2)
        with pytest.raises(NotFound):
            await stores.procedures.get("m", KEY_ID, 0)

    async def test_fetch_newest_in_the_order_asked(self, stores: Stores) -> None:
        for key, content in (("a", "1"), ("b", "1"), ("a", "2")):
            await put(stores, procedure(key, content))
        found = await stores.fetch_procedures("n", ["p-u--b", "nobody", "p-u--a"])
        assert [(one.key, one.version) for one in found] == [("b", 1), ("a", 2)]

    async def test_pages_by_key_show_what_the_scope_sees(self, stores: Stores) -> None:
        for key in ("c", "a", "b"):
            await put(stores, procedure(key))
        await put(stores, procedure("b", scope=AGENT))
        await put(stores, procedure("b", scope=Scope("n", "u", "x")))
        await put(stores, procedure("b", scope=Scope("n", "v")))
        await put(stores, procedure("a", "newer"))
        seen, cursor = [], ""
        while True:
            page = await stores.procedures.page(AGENT, key="", size=2, cursor=cursor)
            seen += [(one.key, one.scope.agent_id, one.version) for one in page.items]
            cursor = page.next_cursor
            if not cursor:
                break
        assert seen == [("a", "", 2), ("b", "", 1), ("b", "a", 1), ("c", "", 1)]

    async def test_pages_of_one_key_show_all_versions(self, stores: Stores) -> None:
        for i in range(3):
            await put(stores, procedure("key", f"shared {i}"))
        for i in range(2):
            await put(stores, procedure("key", f"own {i}", scope=AGENT))
        await put(stores, procedure("other"))
        seen, cursor = [], ""
        while True:
            page = await stores.procedures.page(AGENT, key="key", size=2, cursor=cursor)
            seen += [one.content for one in page.items]
            cursor = page.next_cursor
            if not cursor:
                break
        assert seen == ["own 1", "own 0", "shared 2", "shared 1", "shared 0"]

    @pytest.mark.parametrize(("key", "cursor"), [("", "[1]"), ("", "x"), ("key", '["a","b"]')])
    async def test_a_foreign_page_token_is_refused(self, stores: Stores, key: str, cursor: str) -> None:
        with pytest.raises(InvalidArgument):
            await stores.procedures.page(AGENT, key=key, size=2, cursor=cursor)


class TestReport:
    async def test_outcomes_are_counted_by_version(self, stores: Stores) -> None:
        await put(stores, procedure("key", "one"))
        await put(stores, procedure("key", "two"))
        await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS), None)
        await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.FAILURE), None)
        last = await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS), None)
        assert (last.value.successes, last.value.failures) == (2, 1)
        assert last.value.last_outcome_time is not None
        newest = await stores.procedures.get("n", KEY_ID, 0)
        assert (newest.successes, newest.failures, newest.last_outcome_time) == (0, 0, None)

    async def test_a_repeat_counts_once(self, stores: Stores) -> None:
        await put(stores, procedure("key"))
        first = await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS), request("r"))
        await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS), None)
        again = await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS), request("r"))
        assert again == replace(first, replayed=True)
        assert (await stores.procedures.get("n", KEY_ID, 1)).successes == 2

    async def test_an_outcome_id_counts_once_under_any_request(self, stores: Stores) -> None:
        await put(stores, procedure("key"))
        report = OutcomeReport(Outcome.FAILURE, "run 7", "no such host\0", 1_500_000)
        for key in (request("r1"), request("r2"), None):
            last = await stores.procedures.report("n", KEY_ID, 1, report, key)
        assert (last.value.failures, last.replayed) == (1, False)
        with pytest.raises(RequestIdReused):
            await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS, "run 7"), None)
        (kept,) = await stores.procedures.outcomes("n", KEY_ID, 1, 9)
        assert replace(kept, time=0) == report

    async def test_the_newest_outcomes_are_kept(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        for adapter in ("sqlite", "postgres"):
            monkeypatch.setattr(f"memd.adapters.{adapter}.outcomes.MAX_KEPT_OUTCOMES", 3)
        await put(stores, procedure("key"))
        for i in range(5):
            await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.SUCCESS, f"run {i}"), None)
        kept = await stores.procedures.outcomes("n", KEY_ID, 1, 9)
        assert [one.outcome_id for one in kept] == ["run 4", "run 3", "run 2"]
        assert len(await stores.procedures.outcomes("n", KEY_ID, 1, 2)) == 2

    async def test_unknown_ones_and_no_outcome(self, stores: Stores) -> None:
        await put(stores, procedure("key"))
        with pytest.raises(NotFound):
            await stores.procedures.report("n", KEY_ID, 2, OutcomeReport(Outcome.SUCCESS), None)
        with pytest.raises(InvalidArgument):
            await stores.procedures.report("n", KEY_ID, 1, OutcomeReport(Outcome.NONE), None)


async def report(stores: Stores, version: int, won: int, lost: int) -> Procedure:
    for outcome in [Outcome.SUCCESS] * won + [Outcome.FAILURE] * lost:
        last = await stores.procedures.report("n", KEY_ID, version, OutcomeReport(outcome), None)
    return last.value


async def offered(stores: Stores) -> Procedure:
    (one,) = await stores.fetch_procedures("n", [KEY_ID])
    return one


class TestLearning:
    async def test_the_former_version_is_offered_again(self, stores: Stores) -> None:
        await put(stores, procedure("key", "one"))
        await report(stores, 1, 18, 2)
        await put(stores, procedure("key", "two"))
        assert (await offered(stores)).content == "two"
        assert (await report(stores, 2, 3, 4)).demotion is None
        second = await report(stores, 2, 0, 1)
        demotion = second.demotion
        assert demotion is not None
        assert (demotion.version, demotion.baseline_version) == (2, 1)
        assert (demotion.baseline, demotion.since) == (Tally(18, 2), Tally(0, 5))
        await stores.reopen()
        now = await offered(stores)
        assert (now.content, now.demotion) == ("one", None)
        assert (now.offer.version, now.offer.newest, now.offer.demotion) == (1, 2, demotion)
        assert now.offer.since == demotion.time
        assert await stores.procedures.get("n", KEY_ID, 0) == now
        assert (await stores.procedures.get("n", KEY_ID, 2)).demotion == demotion
        (listed,) = (await stores.procedures.page(USER, key="", size=9, cursor="")).items
        assert (listed, listed.offer) == (now, now.offer)
        history = (await stores.procedures.page(USER, key="key", size=9, cursor="")).items
        assert [(one.version, one.demotion) for one in history] == [(2, demotion), (1, None)]

    async def test_a_demotion_stays_until_a_new_version_comes(self, stores: Stores) -> None:
        await put(stores, procedure("key", "one"))
        await put(stores, procedure("key", "two"))
        demotion = (await report(stores, 2, 0, 12)).demotion
        assert demotion is not None
        assert (await report(stores, 2, 9, 0)).demotion == demotion
        assert (await put(stores, procedure("key", "two"))).value[1] is False
        assert (await offered(stores)).version == 1
        third = (await put(stores, procedure("key", "three"), expected=2)).value[0]
        assert (third.version, third.demotion) == (3, None)
        now = await offered(stores)
        assert (now.version, now.offer.demotion) == (3, None)

    async def test_without_a_good_one_to_go_back_to_it_stays_and_says_so(self, stores: Stores) -> None:
        await put(stores, procedure("key", "one"))
        await report(stores, 1, 20, 0)
        await report(stores, 1, 0, 6)
        now = await offered(stores)
        assert now.version == 1
        assert now.demotion is not None
        assert now.demotion.baseline_version == 0
        assert now.offer.demotion == now.demotion

    async def test_the_index_is_told_which_trigger_counts(self, indexed: IndexedStores) -> None:
        await put(indexed, procedure("key", "one", trigger="the old words"))
        await put(indexed, procedure("key", "two", trigger="the new words"))
        await report(indexed, 2, 0, 12)
        (row,) = await indexed.entries("n", "procedure")
        assert (row.version, row.text, row.embeddings) == (1, "key the old words", vector())
        told = [row for change in indexed.changes for row in change.put]
        assert told[-1] == row


class TestDelete:
    async def test_all_versions_go(self, stores: Stores) -> None:
        await put(stores, procedure("key", "one"))
        await put(stores, procedure("key", "two"))
        await put(stores, procedure("other"))
        deleted = await stores.procedures.delete("n", KEY_ID, writer="w", request=request("r"))
        assert deleted.value == 2
        again = await stores.procedures.delete("n", KEY_ID, writer="w", request=request("r"))
        assert again == replace(deleted, replayed=True)
        with pytest.raises(NotFound):
            await stores.procedures.delete("n", KEY_ID, writer="w", request=None)
        assert [one.key for one in (await stores.procedures.page(USER, key="", size=9, cursor="")).items] == ["other"]
