"""What is kept of a Forget until every store has done its part, and how far it reaches beyond the memories it names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from memd.domain import ids
from memd.domain.model import Scope, SessionEvents, SourceKind
from memd.domain.visibility import EVERYTHING, forgettable
from memd.limits import MAX_LINKS
from memd.ports import ForgetPlan


@dataclass(frozen=True, slots=True)
class Links:
    """Of one memory row: which events it was made of."""

    scope: Scope
    digest: bool
    event_ids: tuple[str, ...]

    def touches(self, events: SessionEvents) -> bool:
        """Of a digest also where it has more events than it links to."""
        one, other = self.scope, events.scope
        if (one.user_id, one.session_id) != (other.user_id, other.session_id):
            return False
        if other.agent_id and one.agent_id != other.agent_id:
            return False
        full = self.digest and len(self.event_ids) >= MAX_LINKS
        return full or not set(self.event_ids).isdisjoint(events.event_ids)


def links(namespace: str, fields: str, body: str) -> Links:
    """From the columns of a memory."""
    named = json.loads(fields)
    scope = Scope(namespace, named.get("user_id", ""), named.get("agent_id", ""), named.get("session_id", ""))
    return Links(scope, named["source"] == SourceKind.DIGEST.value, tuple(json.loads(body)[3]))


def sources(plan: ForgetPlan, forgotten: Iterable[Links]) -> tuple[SessionEvents, ...]:
    """The events that go with the memories, by session. A digest that is named goes alone: its events are the session."""
    found: dict[Scope, dict[str, None]] = {}
    if plan.event_ids:
        found[plan.scope] = dict.fromkeys(plan.event_ids)
    for one in forgotten:
        if one.scope.session_id and one.event_ids and not one.digest:
            found.setdefault(one.scope, {}).update(dict.fromkeys(one.event_ids))
    return tuple(SessionEvents(scope, tuple(event_ids)) for scope, event_ids in found.items())


def buried(plan: ForgetPlan, memory_ids: Sequence[str], events: Sequence[SessionEvents]) -> tuple[str, ...]:
    """Ids that want a tombstone: of what went, of what was named, and of what is being made of those events."""
    made = [ids.made_of_events(one.scope) for one in events]
    return tuple(dict.fromkeys((*plan.memory_ids, *memory_ids, *made)))


def encode_plan(plan: ForgetPlan, events: Sequence[SessionEvents]) -> str:
    """What is needed to finish the Forget: no filter, which could quote content."""
    return json.dumps(
        {
            "scope": asdict(plan.scope),
            "everything": plan.everything,
            "all_users": plan.all_users,
            "task_ids": plan.task_ids,
            "events": [[asdict(one.scope), one.event_ids] for one in events],
        }
    )


def decode_plan(text: str) -> tuple[ForgetPlan, tuple[SessionEvents, ...]]:
    """The plan, as far as it is to be finished, and the events that are to go."""
    stored = json.loads(text)
    scope = Scope(**stored["scope"])
    plan = ForgetPlan(
        scope,
        EVERYTHING if stored["all_users"] else forgettable(scope),
        everything=stored.get("everything", True),
        all_users=stored["all_users"],
        task_ids=tuple(stored["task_ids"]),
    )
    events = [SessionEvents(Scope(**of), tuple(event_ids)) for of, event_ids in stored.get("events", ())]
    return plan, tuple(events)
