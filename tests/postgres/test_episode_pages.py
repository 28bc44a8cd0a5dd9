"""A page of episodes costs what is in the session, not its square, whatever plan the server finds for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from memd.adapters.postgres import PostgresStores, sessions
from memd.adapters.postgres.transaction import Reader
from memd.limits import HOUR_US, MAX_EVENTS_PER_OBSERVE
from tests.contract.builders import POLICY, SESSION, event
from tests.postgres.conftest import OpenStores

EVENTS = 4 * MAX_EVENTS_PER_OBSERVE
LONG = replace(POLICY, ttl_us=HOUR_US, episodic_max_items=EVENTS)
CAPPED = EVENTS // 2
PLANNERS: Mapping[str, tuple[str, ...]] = {
    "as it likes": (),
    "without sorts": ("sort", "bitmapscan"),
    "without indexes": ("indexscan", "indexonlyscan", "bitmapscan"),
}
"""What the planner is not to use: without statistics, as after a crash of the server, it may come to any of these."""


def _steps(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _steps(part)


def _looked_at(plan: Mapping[str, Any]) -> int:
    """Rows of the table of events, each as often as it was looked at."""
    removed = "Rows Removed by Filter"
    return sum(
        round((step["Actual Rows"] + step.get(removed, 0)) * step["Actual Loops"])
        for step in _steps(plan)
        if step.get("Relation Name") == "event"
    )


@pytest.mark.parametrize("planner", PLANNERS)
async def test_no_event_is_looked_at_again_for_every_other(open_stores: OpenStores, planner: str) -> None:
    stores = await open_stores()
    for start in range(0, EVENTS, MAX_EVENTS_PER_OBSERVE):
        names = range(start, start + MAX_EVENTS_PER_OBSERVE)
        await stores.sessions.append(SESSION, [event(f"e{n}") for n in names], LONG, None)
    plan = await _plan(stores, PLANNERS[planner])
    assert plan["Actual Rows"] == CAPPED
    assert _looked_at(plan) <= 3 * EVENTS


async def _plan(stores: PostgresStores, without: tuple[str, ...]) -> Mapping[str, Any]:
    """How the server, as memd's role, lists a session that has more episodes than its cap."""

    async def operation(reader: Reader) -> Mapping[str, Any]:
        for method in without:
            await reader.connection.execute(f"SET LOCAL enable_{method} = off")
        scope = SESSION.namespace, SESSION.user_id, SESSION.agent_id, SESSION.session_id
        bindings = *scope, reader.now_us, CAPPED - 1, EVENTS + 1, None, EVENTS
        found = await reader.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {sessions._EPISODES}", *bindings)
        plan: Mapping[str, Any] = json.loads(found[0][0])[0]["Plan"]
        return plan

    return await stores.sessions._database.read(SESSION.namespace, operation)
