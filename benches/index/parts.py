"""What a namespace's index takes beside vectors and links: ids, words and fields, each by itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from benches.index.engines.engine import Vectors
from memd import _core

_BATCH = 10_000
_TURNS = 20  # of a session
_START_US = 1_700_000_000_000_000


def bytes_per_vector(rows: Vectors, texts: Sequence[str]) -> dict[str, float]:
    """Of an index of memories as a daemon holds them, by part: ``vectors`` (links among them), ``ids``, ``words``,
    ``fields``. A memory has a row as its vector, an id of 26 characters, and its user, session, position and time.
    """
    index = _core.NamespaceIndex(rows.shape[1])
    for start in range(0, len(rows), _BATCH):
        numbers = range(start, min(start + _BATCH, len(rows)))
        index.upsert([_entry(at, texts[at], rows[at].astype("<f4").tobytes()) for at in numbers], start)
    return {part: held / len(rows) for part, held in index.memory_parts.items()}


def _entry(at: int, text: str, vector: bytes) -> _core.IndexEntry:
    fields = {
        "user_id": "ada",
        "session_id": f"session-{at // _TURNS}",
        "position": at % _TURNS,
        "event_time": _START_US + at * 1_000_000,
    }
    return _core.IndexEntry(_id(at), 1, text, vector, json.dumps(fields).encode())


def _id(at: int) -> str:
    return hashlib.sha256(str(at).encode()).hexdigest()[:26]
