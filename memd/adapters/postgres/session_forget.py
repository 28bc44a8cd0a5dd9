"""What a Forget takes out of sessions: events, and the summaries that tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memd.adapters.postgres.session_heads import scoped
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.domain.model import SessionEvents

_FIND = (
    "SELECT s.pk, e.position FROM memd.session s JOIN memd.event e ON e.session_pk = s.pk"
    " WHERE {} AND e.event_id = ANY (${}::text[])"
)
_TOLD = (
    "SELECT count(*) FROM memd.working_summary WHERE session_pk = $1 AND EXISTS (SELECT FROM memd.working_summary w,"
    " unnest($2::bigint[]) told WHERE w.session_pk = $1 AND told BETWEEN w.first_position AND w.last_position)"
)
_TAKE = (
    "WITH gone AS (DELETE FROM memd.event WHERE session_pk = $1 AND position = ANY ($2::bigint[]) RETURNING ephemeral)"
    " UPDATE memd.session SET digested = 0, undigested = true, erased = erased + 1, seq = seq + 1,"
    " episodes = episodes - (SELECT count(*) FROM gone WHERE NOT ephemeral) WHERE pk = $1"
)


async def _find(reader: Reader, events: Sequence[SessionEvents]) -> Mapping[int, list[int]]:
    """Positions by session."""
    found: dict[int, set[int]] = {}
    for one in events:
        where, bindings = scoped(one.scope, all_users=False)
        rows = await reader.rows(_FIND.format(where, len(bindings) + 1), *bindings, list(one.event_ids))
        for pk, position in rows:
            found.setdefault(pk, set()).add(position)
    return {pk: sorted(positions) for pk, positions in found.items()}


async def count_events(reader: Reader, events: Sequence[SessionEvents]) -> Mapping[str, int]:
    """What ``take_events`` would count."""
    return await _counts(reader, await _find(reader, events))


async def take_events(tx: Transaction, events: Sequence[SessionEvents]) -> Mapping[str, int]:
    """``ports.SessionStore.forget_events``, but for the receipt. The caller has the namespace to itself."""
    found = await _find(tx, events)
    counts = await _counts(tx, found)
    for pk, positions in found.items():
        if await _told(tx, pk, positions):
            await tx.execute("DELETE FROM memd.working_summary WHERE session_pk = $1", pk)
        await tx.execute(_TAKE, pk, positions)
    return counts


async def _counts(reader: Reader, found: Mapping[int, list[int]]) -> Mapping[str, int]:
    told = [await _told(reader, pk, positions) for pk, positions in found.items()]
    return {"events": sum(map(len, found.values())), "summaries": sum(told)}


async def _told(reader: Reader, pk: int, positions: list[int]) -> int:
    """How many summaries the session has, where one of them tells one of the positions; else 0."""
    found = await reader.row(_TOLD, pk, positions)
    assert found is not None
    return int(found[0])
