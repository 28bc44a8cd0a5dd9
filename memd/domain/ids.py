"""Deterministic and sortable ids. Content-hash ids make a repeated Remember an upsert instead of a duplicate."""

from __future__ import annotations

import hashlib

from memd.domain.model import Scope

_ID_HEX = 32  # 128 bits: no accidental collision among any number of memories that fits a disk


def memory_id(scope: Scope, content: str) -> str:
    """Id of a memory whose caller gave none: namespace, user, agent (set only where it is private) and content."""
    return "m_" + _digest(scope.namespace, scope.user_id, scope.agent_id, content)


def digest_id(scope: Scope, create_time: int) -> str:
    """Of the digest of a session; one that expired and was opened again is another session."""
    return "d_" + _digest(scope.namespace, scope.user_id, scope.agent_id, scope.session_id, str(create_time))


def promoted_id(scope: Scope, create_time: int, event_id: str) -> str:
    """Of what became of an event of a session: found again when the work is done a second time."""
    session = scope.namespace, scope.user_id, scope.agent_id, scope.session_id
    return "m_" + _digest(*session, str(create_time), event_id)


def made_of_events(scope: Scope) -> str:
    """Stands for whatever is made of the events of a session: a tombstone of it stops those that are being made."""
    return "s_" + _digest(scope.namespace, scope.user_id, scope.session_id)


def procedure_id(scope: Scope, key: str) -> str:
    """Names a procedure's key within namespace, user and agent (set only where it is private); all versions share it."""
    return "p_" + _digest(scope.namespace, scope.user_id, scope.agent_id, key)


def event_id(now_us: int, random_bits: bytes) -> str:
    """Sorts by time: microseconds in hex, then ``random_bits`` (8 bytes or more) against the same microsecond."""
    return f"e_{now_us & 0xFFFFFFFFFFFFFFFF:016x}{random_bits.hex()}"


def _digest(*parts: str) -> str:
    """SHA-256 over the parts, each with its length before it, so that no two lists of parts hash the same bytes."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode()
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:_ID_HEX]
