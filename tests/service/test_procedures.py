"""Procedures: versions by key, outcomes per version, an agent's own before the shared one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from memd.domain.errors import NotFound, VersionConflict
from memd.domain.model import Outcome, OutcomeReport, Procedure, Scope
from memd.limits import MAX_OFFERED_PROCEDURES
from tests.service.conftest import SCOPE, House
from tests.service.writing import request

AGENT = Scope("ns", "ada", "a1", "s1")


async def put(
    house: House, key: str, trigger: str = "", content: str = "steps", scope: Scope = SCOPE, **more: Any
) -> Procedure:
    return (await house.procedures.put(scope, key, trigger, content, {}, writer="test", **more)).value[0]


async def offered(house: House, query: str, scope: Scope = SCOPE) -> list[str]:
    return [procedure.key for procedure, _ in (await house.ask(query, scope)).procedures]


async def test_each_new_body_is_a_version(house: House) -> None:
    await put(house, "deploy", content="one")
    written = await house.procedures.put(SCOPE, "deploy", "", "two", {}, writer="test")
    assert (written.value[0].version, written.value[1]) == (2, True)
    again = await house.procedures.put(SCOPE, "deploy", "", "two", {}, writer="test")
    assert (again.value[0].version, again.value[1]) == (2, False)
    assert (await house.procedures.get(SCOPE, "deploy")).content == "two"
    assert (await house.procedures.get(SCOPE, "deploy", 1)).content == "one"
    assert [p.version for p in (await house.procedures.list(SCOPE, "deploy", size=10)).items] == [2, 1]
    with pytest.raises(NotFound):
        await house.procedures.get(SCOPE, "deploy", 3)


async def test_put_is_compared_and_set(house: House) -> None:
    await put(house, "deploy", content="one", expected_version=0)
    with pytest.raises(VersionConflict) as lost:
        await put(house, "deploy", content="two", expected_version=0)
    assert lost.value.current_version == 1
    won = await asyncio.gather(
        *[put(house, "deploy", content=f"by {n}", expected_version=1) for n in range(8)], return_exceptions=True
    )
    assert sum(isinstance(one, Procedure) for one in won) == 1


async def test_outcomes_are_counted_per_version(house: House) -> None:
    await put(house, "deploy", content="one")
    await house.procedures.report(SCOPE, "deploy", 1, OutcomeReport(Outcome.FAILURE))
    await put(house, "deploy", content="two")
    for outcome in (Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILURE):
        await house.procedures.report(SCOPE, "deploy", 2, OutcomeReport(outcome))
    first, second = await house.procedures.get(SCOPE, "deploy", 1), await house.procedures.get(SCOPE, "deploy", 2)
    assert (first.successes, first.failures) == (0, 1)
    assert (second.successes, second.failures) == (2, 1)
    assert second.last_outcome_time is not None
    assert "- deploy v2 (2/3 ok): two" in (await house.ask("deploy")).context
    with pytest.raises(NotFound):
        await house.procedures.report(SCOPE, "deploy", 3, OutcomeReport(Outcome.SUCCESS))


async def test_a_retried_report_counts_once(house: House) -> None:
    await put(house, "deploy")
    for _ in range(3):
        written = await house.procedures.report(SCOPE, "deploy", 1, OutcomeReport(Outcome.SUCCESS), request("r1"))
    assert written.replayed
    assert (await house.procedures.get(SCOPE, "deploy")).successes == 1


async def test_an_agents_own_comes_before_the_shared_one(house: House) -> None:
    await put(house, "deploy", "ship it", "shared")
    await put(house, "deploy", "ship it", "own", AGENT, agent_private=True)
    assert (await house.procedures.get(AGENT, "deploy")).content == "own"
    assert (await house.procedures.get(SCOPE, "deploy")).content == "shared"
    assert (await house.procedures.get(replace(AGENT, agent_id="a2"), "deploy")).content == "shared"
    (only,) = (await house.ask("ship it", AGENT)).procedures
    assert only[0].content == "own"
    await house.procedures.report(AGENT, "deploy", 1, OutcomeReport(Outcome.SUCCESS))
    assert (await house.procedures.get(SCOPE, "deploy")).successes == 0
    assert (await house.procedures.delete(AGENT, "deploy", writer="test")).value == 1
    assert (await house.procedures.get(AGENT, "deploy")).content == "shared"
    for scope in (Scope("ns", "bob"), Scope("ns"), Scope("other", "ada")):
        with pytest.raises(NotFound):
            await house.procedures.get(scope, "deploy")


async def test_a_deleted_procedure_is_not_offered(house: House) -> None:
    await put(house, "deploy", "ship the release", "one")
    await put(house, "deploy", "ship the release", "two")
    assert await offered(house, "ship the release") == ["deploy"]
    assert (await house.procedures.delete(SCOPE, "deploy", writer="test")).value == 2
    assert await offered(house, "ship the release") == []
    with pytest.raises(NotFound):
        await house.procedures.delete(SCOPE, "deploy", writer="test")


async def test_offered_by_word_by_meaning_and_never_at_random(house: House) -> None:
    await put(house, "restart-server", "the web server does not answer any more")
    assert await offered(house, "how do I restart it") == ["restart-server"], "a word of the key"
    assert await offered(house, "our website is down") == ["restart-server"], "the meaning of the trigger"
    assert await offered(house, "bake a cake with chocolate") == []


async def test_without_a_trigger_the_key_is_what_it_is_about(house: House) -> None:
    await put(house, "water the plants")
    assert await offered(house, "irrigate the flowers") == ["water the plants"]


async def test_few_are_offered_best_first(house: House) -> None:
    for n in range(6):
        await put(house, f"other-{n}", f"something about shipping, case {n}")
    await put(house, "ship", "ship the release to the customers")
    keys = await offered(house, "ship the release to the customers")
    assert len(keys) == MAX_OFFERED_PROCEDURES
    assert keys[0] == "ship"


async def test_lists_page_by_key(house: House) -> None:
    for n in range(5):
        await put(house, f"key-{n}")
    first = await house.procedures.list(SCOPE, size=3)
    rest = await house.procedures.list(SCOPE, size=3, cursor=first.next_cursor)
    assert [p.key for p in (*first.items, *rest.items)] == [f"key-{n}" for n in range(5)]
    assert rest.next_cursor == ""


async def test_recall_goes_back_to_the_former_version_and_says_why(house: House) -> None:
    await put(house, "deploy", "ship the release", "one")
    for _ in range(20):
        await house.procedures.report(SCOPE, "deploy", 1, OutcomeReport(Outcome.SUCCESS))
    await put(house, "deploy", "put it on the servers", "two")
    assert "- deploy v2 (untried): two" in (await house.ask("how do I put it on the servers")).context
    for _ in range(5):
        await house.procedures.report(SCOPE, "deploy", 2, OutcomeReport(Outcome.FAILURE))
    assert "- deploy v1 (20/20 ok; v2 was demoted): one" in (await house.ask("ship our release")).context
    await put(house, "deploy", "ship the release", "three")
    assert "- deploy v3 (untried): three" in (await house.ask("ship our release")).context


async def test_a_version_that_fell_and_has_no_better_is_marked(house: House) -> None:
    await put(house, "deploy", "ship the release", "one")
    for outcome in [Outcome.SUCCESS] * 20 + [Outcome.FAILURE] * 6:
        await house.procedures.report(SCOPE, "deploy", 1, OutcomeReport(outcome))
    assert "failing lately): one" in (await house.ask("ship our release")).context
