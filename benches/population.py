"""What a daemon holds while it is measured: memories of one user, a session in progress, a few procedures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from memd_client import AsyncClient, Event, NewMemory

from benches.corpus import PROCEDURES, Corpus
from benches.report import progress

USER = "bench-user"
SESSION = "bench-session"
BATCH = 128
BATCHES_IN_FLIGHT = 4
BATCH_TIMEOUT_S = 110.0


def user_client(address: str) -> AsyncClient:
    """A client whose scope is the population's user and session."""
    return AsyncClient(address, user_id=USER, session_id=SESSION)


async def remember_all(client: AsyncClient, memories: Sequence[NewMemory], label: str) -> None:
    """Store ``memories`` in batches, some in flight at a time."""
    batches = iter([memories[start : start + BATCH] for start in range(0, len(memories), BATCH)])
    stored = 0

    async def caller() -> None:
        nonlocal stored
        for batch in batches:
            await client.remember(batch, timeout_s=BATCH_TIMEOUT_S)
            stored += len(batch)
            if stored % (16 * BATCH) == 0 or stored == len(memories):
                progress(f"{label}: {stored:,} of {len(memories):,} memories stored")

    async with asyncio.TaskGroup() as group:
        for _ in range(BATCHES_IN_FLIGHT):
            group.create_task(caller())


async def populate(client: AsyncClient, corpus: Corpus, memories: int, events: int) -> None:
    """``memories`` memories, ``events`` turns of the session, the procedures of the corpus."""
    texts = corpus.memories(memories)
    await remember_all(client, [NewMemory(text) for text in texts], "population")
    turns = [
        Event(text, role=("user", "assistant")[n % 2])
        for n, text in enumerate(itertools.islice(corpus.events(), events))
    ]
    if turns:
        await client.observe(turns)
    for key, trigger, content in PROCEDURES:
        await client.put_procedure(key, content, trigger=trigger)
