"""Who sees what: the one place that turns a scope into a predicate over memories.

============================================ ================================================ =======================
what                                         must be equal                                    not compared
============================================ ================================================ =======================
working set, episodes                        namespace, user, agent, session
semantic memories, procedures                namespace, user; agent where the memory has one  session: provenance
what Forget everything removes               namespace, user; agent and session where set
============================================ ================================================ =======================

The namespace is not in the predicates: every store and index is asked about one namespace. An unset user sees what was
stored without a user, never everybody's.
"""

from __future__ import annotations

from typing import Any

from memd.domain.errors import PermissionDenied
from memd.domain.filters import And, Compare, Exists, Filter, Not, Or
from memd.domain.identity import Caller
from memd.domain.model import Memory, Scope

_WITHOUT_USER = Not(Exists("user_id"))
_WITHOUT_AGENT = Not(Exists("agent_id"))
EVERYTHING = And(())


def resolve_scope(caller: Caller, asked: Scope) -> Scope:
    """The scope a call is about: what the request leaves open comes from the credential; what the credential fixes the
    request may repeat but not change. PermissionDenied otherwise."""
    if not caller.namespace:
        raise PermissionDenied("the credential has no namespace", metadata={"part": "namespace"})
    return Scope(
        namespace=_narrow("namespace", "" if caller.any_namespace else caller.namespace, asked.namespace)
        or caller.namespace,
        user_id=_narrow("user_id", caller.user_id, asked.user_id),
        agent_id=_narrow("agent_id", caller.agent_id, asked.agent_id),
        session_id=asked.session_id,
    )


def _narrow(part: str, fixed: str, asked: str) -> str:
    if not fixed or not asked or fixed == asked:
        return fixed or asked
    raise PermissionDenied(f"the credential does not cover this {part}", metadata={"part": part})


def owned(scope: Scope) -> Filter:
    """Memories the scope may touch at all, whatever their validity: same user, and no agent or the same."""
    return And(_owner(scope))


def visible(scope: Scope, *, at_us: int, now_us: int, include_invalid: bool = False) -> And:
    """Memories the scope sees: owned, valid at ``at_us`` (unless ``include_invalid``), not expired at ``now_us``.

    Validity is [valid_from, valid_to), an absent bound is open; times are microseconds since the epoch.
    """
    parts: tuple[Filter, ...] = (*_owner(scope), Not(Compare("le", "expire_time", now_us)))
    if not include_invalid:
        parts += (Not(Compare("gt", "valid_from", at_us)), Not(Compare("le", "valid_to", at_us)))
    return And(parts)


def forgettable(scope: Scope) -> Filter:
    """What Forget everything removes: the user's; of the agent and the session only, where the scope names them.

    Validity and expiry are ignored: what is no longer shown is forgotten as well.
    """
    parts = [_user(scope)]
    if scope.agent_id:
        parts.append(Compare("eq", "agent_id", scope.agent_id))
    if scope.session_id:
        parts.append(Compare("eq", "session_id", scope.session_id))
    return And(tuple(parts))


def _owner(scope: Scope) -> tuple[Filter, ...]:
    if not scope.agent_id:
        return (_user(scope), _WITHOUT_AGENT)
    return (_user(scope), Or((_WITHOUT_AGENT, Compare("eq", "agent_id", scope.agent_id))))


def _user(scope: Scope) -> Filter:
    return Compare("eq", "user_id", scope.user_id) if scope.user_id else _WITHOUT_USER


def fields_of(memory: Memory) -> dict[str, Any]:
    """The filterable fields of a memory, as ``filters.matches`` and the index take them, and, for the ranking, its versions;
    unset ones are absent."""
    fields: dict[str, Any] = {
        "memory_id": memory.memory_id,
        "user_id": memory.scope.user_id or None,
        "agent_id": memory.scope.agent_id or None,
        "session_id": memory.scope.session_id or None,
        "source": memory.source.value,
        "speaker": memory.speaker or None,
        "event_time": memory.event_time,
        "create_time": memory.create_time,
        "update_time": memory.update_time,
        "valid_from": memory.valid_from,
        "valid_to": memory.valid_to,
        "expire_time": memory.expire_time,
        "supersedes": memory.supersedes or None,
        "superseded_by": memory.superseded_by or None,
        "importance": memory.importance,
        "position": memory.position,
        "pinned": memory.pinned,
        "tags": list(memory.tags),
        "metadata": dict(memory.metadata),
    }
    return {name: value for name, value in fields.items() if value is not None}
