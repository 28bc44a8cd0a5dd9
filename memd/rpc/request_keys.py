"""What makes two requests "the same request": method, resolved scope and body."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from memd.domain.model import RequestKey, Scope
from memd.limits import MAX_REQUEST_ID_BYTES
from memd.rpc import checks


def request_key(method: str, request: Message, scope: Scope) -> RequestKey | None:
    """None without a ``request_id``. The resolved scope is part of the digest: what a credential fills in makes another
    request of the same bytes."""
    request_id: str = request.request_id  # type: ignore[attr-defined]
    if not request_id:
        return None
    checks.identifier(request_id, "request_id", MAX_REQUEST_ID_BYTES)
    request.ClearField("request_id")
    body = request.SerializeToString(deterministic=True)
    request.request_id = request_id  # type: ignore[attr-defined]
    who = "\0".join((method, scope.namespace, scope.user_id, scope.agent_id, scope.session_id))
    digest = hashlib.sha256(who.encode() + b"\0" + body).digest()
    return RequestKey(scope.namespace, request_id, digest)
