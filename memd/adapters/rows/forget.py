"""What is kept of a Forget until every store has done its part."""

from __future__ import annotations

import json
from dataclasses import asdict

from memd.domain.model import Scope
from memd.domain.visibility import EVERYTHING, forgettable
from memd.ports import ForgetPlan


def encode_plan(plan: ForgetPlan) -> str:
    """What is needed to finish the Forget: no filter, which could quote content."""
    return json.dumps({"scope": asdict(plan.scope), "all_users": plan.all_users, "task_ids": plan.task_ids})


def decode_plan(text: str) -> ForgetPlan:
    """The plan of a Forget of everything; no other is left half done."""
    stored = json.loads(text)
    scope = Scope(**stored["scope"])
    return ForgetPlan(
        scope,
        EVERYTHING if stored["all_users"] else forgettable(scope),
        everything=True,
        all_users=stored["all_users"],
        task_ids=tuple(stored["task_ids"]),
    )
