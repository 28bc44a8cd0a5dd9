"""The names of keys.

Every part is percent-encoded, so that no namespace, user or id can hold the colon between parts, the braces of the hash
tag or anything else that means something to Redis: different scopes have different keys, whatever they are called.

| key | type | holds |
|---|---|---|
| `memd:s:{N:U:A:S}:meta` | hash | a session's numbers |
| `memd:s:{N:U:A:S}:events` | hash | events by position |
| `memd:s:{N:U:A:S}:ids` | hash | positions by event id |
| `memd:s:{N:U:A:S}:old:meta`, `:old:events`, `:old:ids` | hashes | the life before, not consolidated yet |
| `memd:s:{N:U:A:S}:r:ID` | string | the first reply to a request |
| `memd:u:{N:U}` | sorted set | `A:S` of a user's sessions, by time of registration |
| `memd:n:{N}` | sorted set | users of a namespace, by time of registration |
| `memd:due:{sessions}` | sorted set | `N:U:A:S`, by when to look whether it has expired |
| `memd:work:{sessions}` | sorted set | `N:U:A:S` of sessions with something to consolidate, by name |
| `memd:work:{fresh}` | sorted set | those of them with events not looked at for what is worth remembering |
| `memd:f:{N}:sessions:ID` | hash | what a Forget has done |
| `memd:f:{N}:events:ID` | hash | what a Forget has taken out of sessions |
| `memd:t:{N:T}:meta` | hash | a task's numbers and what its versions are |
| `memd:t:{N:T}:states` | hash | states by version |
| `memd:t:{N:T}:r:ID` | string | the first reply to a request |
| `memd:tn:{N}:names`, `:at` | sorted sets | tasks of a namespace, by name and by time of registration |
| `memd:due:{tasks}` | sorted set | `N:T`, by when to look whether it has expired |
| `memd:f:{N}:tasks:ID` | hash | what a Forget has done |

Braces are the cluster's hash tag: keys with the same one are in one slot and change in one step.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from memd.domain.model import RequestKey, Scope

DUE_SESSIONS = "memd:due:{sessions}"
DUE_TASKS = "memd:due:{tasks}"
WORK, FRESH = "memd:work:{sessions}", "memd:work:{fresh}"


def joined(*parts: str) -> str:
    """Parts to one name; no other parts give the same one."""
    return ":".join(quote(part, safe="") for part in parts)


def split(name: str) -> tuple[str, ...]:
    """The parts that were joined."""
    return tuple(map(unquote, name.split(":")))


def session_name(scope: Scope) -> str:
    return joined(scope.namespace, scope.user_id, scope.agent_id, scope.session_id)


def session_keys(scope: Scope, request: RequestKey | None = None) -> list[str]:
    """Numbers, events, ids; and the request's record where there is a request."""
    keys = _life(scope, "")
    return keys if request is None else [*keys, f"memd:s:{{{session_name(scope)}}}:r:{joined(request.request_id)}"]


def both_lives(scope: Scope) -> list[str]:
    """As ``session_keys``, and as ``old_session_keys``."""
    return [*session_keys(scope), *old_session_keys(scope)]


def append_keys(scope: Scope, request: RequestKey | None) -> list[str]:
    """As ``session_keys``, with those of the life before it in between."""
    three = session_keys(scope, request)
    return [*three[:3], *old_session_keys(scope), *three[3:]]


def old_session_keys(scope: Scope) -> list[str]:
    """Numbers, events, ids of the life before, which expired and was opened again before it was consolidated."""
    return _life(scope, ":old")


def _life(scope: Scope, which: str) -> list[str]:
    tag = f"memd:s:{{{session_name(scope)}}}{which}"
    return [f"{tag}:meta", f"{tag}:events", f"{tag}:ids"]


def user_index(namespace: str, user_id: str) -> str:
    return f"memd:u:{{{joined(namespace, user_id)}}}"


def namespace_index(namespace: str) -> str:
    return f"memd:n:{{{joined(namespace)}}}"


def task_keys(namespace: str, task_id: str, request: RequestKey | None = None) -> list[str]:
    """Numbers, states; and the request's record where there is a request."""
    tag = f"memd:t:{{{joined(namespace, task_id)}}}"
    keys = [f"{tag}:meta", f"{tag}:states"]
    return keys if request is None else [*keys, f"{tag}:r:{joined(request.request_id)}"]


def task_index(namespace: str) -> list[str]:
    """Names in order, and when they were registered."""
    tag = f"memd:tn:{{{joined(namespace)}}}"
    return [f"{tag}:names", f"{tag}:at"]


def receipt(namespace: str, store: str, receipt_id: str) -> str:
    return f"memd:f:{{{joined(namespace)}}}:{store}:{joined(receipt_id)}"
