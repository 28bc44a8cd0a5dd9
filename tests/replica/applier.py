"""A process that applies one batch of changes to a replica on a file system that kills it: ``DIRECTORY FAULT``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from memd.adapters.clock import SystemClock
from memd.adapters.rows.memory import replica_memory
from memd.adapters.sqlite import SqliteStores
from memd.domain.model import Scope
from memd.ports import ChangeBatch, Head, ReplicaMemory
from tests import faultvfs
from tests.contract.builders import MODEL, draft

N = "n"
ROWS = 200
LONG = "a text that fills pages " * 40
EPOCH = 7


def row(memory_id: str, version: int) -> ReplicaMemory:
    new = draft(memory_id, f"{LONG} {version}", scope=Scope(N, "u"), version=version)
    return replica_memory(new.memory, new.embeddings)


BEFORE = ChangeBatch(N, 0, Head(1, EPOCH), memories=tuple(row(f"m{n}", 1) for n in range(ROWS)))
"""What the replica has."""
AFTER = ChangeBatch(
    N,
    1,
    Head(2, EPOCH),
    deleted=tuple(("memory", f"m{n}") for n in range(0, ROWS, 2)),
    memories=tuple(row(f"m{n}", 2) for n in range(1, ROWS + ROWS // 2, 2)),
)
"""Deletes half of it, changes the other half and adds a quarter."""


def versions(first: ChangeBatch, *more: ChangeBatch) -> dict[str, int]:
    """Of each memory once these were applied."""
    found = {one.memory_id: one.version for one in first.memories}
    for batch in more:
        for _, memory_id in batch.deleted:
            found.pop(memory_id, None)
        found |= {one.memory_id: one.version for one in batch.memories}
    return found


def opened(directory: Path, vfs: str | None = None) -> SqliteStores:
    return SqliteStores.open(
        directory, model=MODEL, clock=SystemClock(), sink=lambda changes: None, vfs=vfs, disposable=True
    )


async def _apply(directory: Path, fault: faultvfs.Fault) -> None:
    vfs = faultvfs.install()
    stores = opened(directory, faultvfs.NAME)
    vfs.faults.fault = fault
    applied = await stores.replica.apply(AFTER)
    vfs.faults.fault = None
    stores.close()
    assert applied


if __name__ == "__main__":
    asyncio.run(_apply(Path(sys.argv[1]), faultvfs.Fault.from_json(sys.argv[2])))
