"""Whether the rows of the replica are those of the truth: ids and versions, at one change number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memd.adapters.replica.follower import Follower
from memd.adapters.sqlite.memories import SqliteMemories
from memd.limits import REPLICA_VERIFY_ATTEMPTS, REPLICA_WAIT_S
from memd.ports import MemoryTruth

Verified = tuple[int, Mapping[str, int], Sequence[str]]


class Comparison:
    def __init__(self, truth: MemoryTruth, local: SqliteMemories, follower: Follower) -> None:
        self._truth = truth
        self._local = local
        self._follower = follower

    async def run(self, namespace: str) -> Verified:
        """What the replica has, and as problems what either store found by itself and how they differ.

        Writes go on meanwhile: only what differs at every attempt is a difference, and an attempt at one change number
        decides.
        """
        suspects: frozenset[str] | None = None
        for _ in range(REPLICA_VERIFY_ATTEMPTS):
            true_seq, true_rows, true_problems = await self._truth.verify(namespace)
            await self._follower.follow(namespace, true_seq, REPLICA_WAIT_S)
            seq, rows, problems = await self._local.verify(namespace)
            differing = _differing(true_rows, rows)
            suspects = differing if suspects is None else suspects & differing
            if seq == true_seq or not suspects:
                break
        told = [*problems, *(f"Postgres: {problem}" for problem in true_problems)]
        if seq < true_seq:
            told.append(f"the replica is at change {seq}, Postgres at {true_seq}")
        if suspects:
            told.append(_words(suspects, true_rows, rows))
        return seq, rows, told


def _differing(one: Mapping[str, int], other: Mapping[str, int]) -> frozenset[str]:
    return frozenset(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _words(suspects: frozenset[str], truth: Mapping[str, int], rows: Mapping[str, int]) -> str:
    missing = sum(1 for name in suspects if name not in rows)
    phantom = sum(1 for name in suspects if name not in truth)
    other = len(suspects) - missing - phantom
    return (
        f"{missing} rows of Postgres are missing in the replica, {phantom} are there only, {other} in another version"
    )
