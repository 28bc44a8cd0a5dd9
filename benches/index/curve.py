"""Recall against time: the points one library reaches over its grid of ef, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One ef (0: exact): mean recall 0..1 and the median milliseconds of a search."""

    ef: int
    recall: float
    ms: float


def ms_at(curve: Sequence[Point], recall: float) -> float | None:
    """Milliseconds at ``recall``, linear between the neighbouring points; None when the curve does not get there.

    Where the first point is better than that already, its time: less would have to be guessed.
    """
    ordered = sorted(curve, key=lambda point: point.ef)
    for before, point in zip([None, *ordered], ordered, strict=False):
        if point.recall < recall:
            continue
        if before is None:
            return point.ms
        share = (recall - before.recall) / (point.recall - before.recall)
        return before.ms + share * (point.ms - before.ms)
    return None


def ef_at(curve: Sequence[Point], recall: float) -> int | None:
    """The smallest ef of the grid that reaches ``recall``."""
    return min((point.ef for point in curve if point.recall >= recall), default=None)


def cheapest(curve: Sequence[Point], recall: float) -> Point | None:
    """The fastest point that reaches ``recall``, else the one with the most; None of no points."""
    reaching = [point for point in curve if point.recall >= recall]
    if reaching:
        return min(reaching, key=lambda point: point.ms)
    return max(curve, key=lambda point: point.recall, default=None)
