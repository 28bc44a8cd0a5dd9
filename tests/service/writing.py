"""Short ways to say what a test writes."""

from __future__ import annotations

from typing import Any

from memd.domain.model import Event, EventKind, Memory, ObservedEvent, RememberedMemory, RequestKey, Scope, Written
from memd.service.observe import UNSCORED
from memd.service.remember import Draft
from tests.service.conftest import SCOPE, House


def turn(content: str, **more: Any) -> Event:
    return Event(more.pop("event_id", ""), EventKind.TURN, content, **{"role": "user", "importance": UNSCORED, **more})


def draft(content: str, *, ttl_us: int | None = None, **more: Any) -> Draft:
    return Draft(Memory(more.pop("memory_id", ""), more.pop("scope", Scope("ns")), content, **more), ttl_us)


def request(name: str, body: str = "", namespace: str = "ns") -> RequestKey:
    return RequestKey(namespace, name, body.encode().ljust(32)[:32])


async def say(
    house: House, *events: Event | str, scope: Scope = SCOPE, **more: Any
) -> Written[tuple[ObservedEvent, ...]]:
    ready = [turn(event) if isinstance(event, str) else event for event in events]
    return await house.observe.observe(scope, ready, **more)


async def learn(
    house: House, *drafts: Draft | str, scope: Scope = SCOPE, **more: Any
) -> Written[tuple[RememberedMemory, ...]]:
    ready = [draft(one) if isinstance(one, str) else one for one in drafts]
    return await house.remember.remember(scope, ready, writer="test", **more)
