"""Values for the store contract: short to write, explicit where a test cares."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from memd.domain.model import EmbeddingModel, Event, EventKind, Memory, NewMemory, Procedure, RequestKey, Scope
from memd.ports import SessionPolicy

MODEL = EmbeddingModel(model_id="test/fp32", digest="ab" * 32, dimensions=4, precision="fp32", max_tokens=256)
POLICY = SessionPolicy(working_max_items=3, working_max_tokens=100, episodic_max_items=5, ttl_us=1_000_000)
SESSION = Scope("n", "u", "a", "s")
USER = Scope("n", "u")


def event(event_id: str, content: str = "", **fields: Any) -> Event:
    """A turn of ten tokens; the content is the id unless given."""
    plain: dict[str, Any] = {"kind": EventKind.TURN, "role": "user", "tokens": 10, "event_time": 7, "last_seen": 7}
    return Event(event_id=event_id, content=content or event_id, **{**plain, **fields})


def vector(seed: int = 1) -> bytes:
    return struct.pack("<4f", seed, 0.0, 0.0, 1.0)


def draft(memory_id: str, content: str = "", *, scope: Scope = USER, windows: int = 1, **fields: Any) -> NewMemory:
    memory = Memory(memory_id=memory_id, scope=scope, content=content or f"content of {memory_id}", **fields)
    return NewMemory(memory, tuple(vector(i + 1) for i in range(windows)))


def procedure(key: str, content: str = "do it", *, scope: Scope = USER, **fields: Any) -> Procedure:
    agent = scope.agent_id
    return Procedure(
        procedure_id=f"p-{scope.user_id}-{agent}-{key}",
        scope=scope,
        key=key,
        version=0,
        trigger=fields.pop("trigger", f"when {key}"),
        content=content,
        **fields,
    )


def request(request_id: str, body: str = "body", namespace: str = "n") -> RequestKey:
    return RequestKey(namespace, request_id, hashlib.sha256(body.encode()).digest())
