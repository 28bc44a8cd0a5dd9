"""Rows as an index reads them: ``ports.IndexSource`` in memory, with a gate at which a load can be held."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from memd.domain.filters import And
from memd.ports import IndexChange, IndexChanges, IndexRow

DIMENSIONS = 16
ALL = And(())
MANY = 10_000


def vector(seed: int) -> bytes:
    bare = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (bare / np.linalg.norm(bare)).astype("<f4").tobytes()


def row(entry_id: str, seed: int, text: str = "words", version: int = 1, user: str = "u", windows: int = 1) -> IndexRow:
    embeddings = b"".join(vector(seed + 1_000 * window) for window in range(windows))
    return IndexRow(entry_id, version, text, embeddings, json.dumps({"user_id": user}).encode())


class Rows:
    """Rows of every (namespace, kind) with a change number and a log, as ``ports.IndexSource`` gives them out."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[str, IndexRow]] = {}
        self.log: list[IndexChange] = []
        self.seq = 0
        self.loads = 0
        self.gate = threading.Semaphore(MANY)
        """A permit a batch, for the loading threads."""
        self.loading = threading.Event()
        self.lock = threading.Lock()

    def put(self, *rows: IndexRow, namespace: str = "ns", kind: str = "memory") -> IndexChange:
        with self.lock:
            self.seq += 1
            self.rows.setdefault((namespace, kind), {}).update({one.entry_id: one for one in rows})
            self.log.append(IndexChange(namespace, kind, self.seq, put=rows))
            return self.log[-1]

    def delete(self, *ids: str, namespace: str = "ns", kind: str = "memory") -> IndexChange:
        with self.lock:
            self.seq += 1
            for one in ids:
                self.rows[namespace, kind].pop(one, None)
            self.log.append(IndexChange(namespace, kind, self.seq, delete=ids))
            return self.log[-1]

    def load(self, namespace: str, kind: str) -> tuple[int, Iterator[Sequence[IndexRow]]]:
        with self.lock:
            self.loads += 1
            seq, rows = self.seq, list(self.rows.get((namespace, kind), {}).values())
        return seq, self._batches(rows)

    def changed(self, namespace: str, kind: str, since: int, mark: str) -> IndexChanges | None:
        with self.lock:
            if self.mark(namespace, since) != mark:
                return None
            later = [one for one in self.log if (one.namespace, one.kind) == (namespace, kind) and one.seq > since]
            touched = {entry.entry_id for one in later for entry in one.put} | {i for one in later for i in one.delete}
            now = self.rows.get((namespace, kind), {})
            put = [now[one] for one in sorted(touched & now.keys())]
            return IndexChanges(self.seq, tuple(sorted(touched - now.keys())), self._batches(put))

    def mark(self, namespace: str, seq: int) -> str:
        known = [repr(one) for one in self.log if one.namespace == namespace and one.seq <= seq]
        return hashlib.sha256("".join(known).encode()).hexdigest()[:16] if known else ""

    def erased_since(self, namespace: str, kind: str, seq: int) -> bool:
        return any(one.delete for one in self.log if (one.namespace, one.kind) == (namespace, kind) and one.seq > seq)

    def _batches(self, rows: list[IndexRow]) -> Iterator[Sequence[IndexRow]]:
        for start in range(0, len(rows), 10):
            yield rows[start : start + 10]
            if threading.current_thread().name.startswith("memd-index-load"):
                self.loading.set()
                assert self.gate.acquire(timeout=10)
