"""The use cases over the real stores and the real index, in this process: a daemon without its socket and its model.

Vectors come from a hash of the text, since no promise about writes depends on their meaning; everything else is memd's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from memd._core import TokenCounter
from memd.adapters.clock import SystemClock
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import EmbeddingModel
from memd.domain.settings import DaemonDefaults
from memd.ports import Clock, EmbedderStats
from memd.service.admin import AdminService
from memd.service.checkpoints import CheckpointService
from memd.service.forget import ForgetService
from memd.service.observe import ObserveService
from memd.service.policy import PolicySource
from memd.service.procedures import ProcedureService
from memd.service.remember import RememberService
from memd.service.sessions import SessionService

T = TypeVar("T")
MODEL = EmbeddingModel("hash-of-text", "0" * 64, 16, "fp32", 256)


def vector(text: str) -> bytes:
    """A unit vector drawn from the text: float32 little-endian, MODEL.dimensions of them."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    numbers = np.random.default_rng(seed).standard_normal(MODEL.dimensions)
    return (numbers / np.linalg.norm(numbers)).astype("<f4").tobytes()


class HashEmbedder:
    """Implements ``ports.Embedder`` without a model: ``embed`` gives a text's vector."""

    def __init__(self, model: EmbeddingModel = MODEL, embed: Callable[[str], bytes] = vector) -> None:
        self.model = model
        self._embed = embed

    async def query(
        self,
        text: str,
        use: Callable[[bytes], T],
        *,
        meanwhile: Callable[[], None] | None = None,
        cache: bool = True,
        behind: bool = False,
    ) -> T:
        if meanwhile is not None:
            meanwhile()
        return use(self._embed(text))

    async def memories(self, texts: Sequence[str]) -> list[tuple[bytes, ...]]:
        return [(self._embed(text),) for text in texts]

    def stats(self) -> EmbedderStats:
        return EmbedderStats(0, 0, 0, 0, 0)

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """Stores, index and the use cases over them. ``failed`` is set when the stores called it quits."""

    stores: SqliteStores
    index: RustNamespaceIndex
    failed: threading.Event
    observe: ObserveService
    remember: RememberService
    forget: ForgetService
    sessions: SessionService
    procedures: ProcedureService
    checkpoints: CheckpointService
    admin: AdminService


@contextlib.asynccontextmanager
async def opened(data_dir: Path, *, vfs: str | None = None, clock: Clock | None = None) -> AsyncIterator[Stack]:
    """Open as the daemon does: migrations, indexes from rows, half-done forgets finished; close at the end."""
    clock, feed, failed = clock or SystemClock(), IndexFeed(), threading.Event()
    stores = SqliteStores.open(data_dir, model=MODEL, clock=clock, sink=feed, on_fatal=lambda _: failed.set(), vfs=vfs)
    files = IndexFiles(data_dir, MODEL.model_id, MODEL.dimensions)
    index = feed.index = RustNamespaceIndex(stores.memories, MODEL.dimensions, files=files)
    try:
        index.reconcile(await stores.memories.namespaces())
        stack = _assembled(stores, index, failed, clock)
        await stack.forget.resume()
        yield stack
    finally:
        index.close()
        stores.close()


def _assembled(stores: SqliteStores, index: RustNamespaceIndex, failed: threading.Event, clock: Clock) -> Stack:
    policy = PolicySource(stores.settings, DaemonDefaults())
    embedder = HashEmbedder()
    return Stack(
        stores=stores,
        index=index,
        failed=failed,
        observe=ObserveService(stores.sessions, TokenCounter(), policy, clock),
        remember=RememberService(stores.memories, embedder, stores.settings, policy, clock),
        forget=ForgetService(stores.memories, stores.sessions, stores.tasks, stores.steps, stores.settings),
        sessions=SessionService(stores.sessions, policy),
        procedures=ProcedureService(stores.procedures, stores.memories, embedder, stores.settings, policy),
        checkpoints=CheckpointService(stores.tasks, policy),
        admin=AdminService(stores.memories, stores.settings, index, policy, stores.backups),
    )
