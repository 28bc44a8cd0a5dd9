"""Searches of several indexes in turn, slice by slice, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benches.index.contenders import Index
from benches.index.curve import Point
from benches.index.truth import Truth
from benches.report import median, progress

SLICE = 100
_EXACT_SHARE = 10  # a scan is asked a tenth of the queries: it takes a hundred times as long and varies less


@dataclass(slots=True)
class _Taken:
    ms: list[float] = field(default_factory=list)
    right: float = 0.0


def curves(
    what: str,
    indexes: Sequence[Index],
    grid: Sequence[int],
    truth: Truth,
    *,
    rounds: int,
    visible: Path | None = None,
) -> Mapping[str, list[Point]]:
    """Every index over its part of the grid. ``what``: for the progress. ``visible``: file of the filter's mask.

    An index that cannot search like that has an empty curve.
    """
    taken: dict[tuple[str, int], _Taken] = {}
    unable: set[str] = set()
    for number in range(rounds):
        for turn, first in enumerate(range(0, len(truth.queries), SLICE)):
            shift = (turn + number) % len(indexes)
            order = [*indexes[shift:], *indexes[:shift]]
            for position, index in itertools.product(range(len(grid)), order):
                efs = index.contender.efs(grid)
                if position < len(efs) and index.contender.name not in unable:
                    key = (index.contender.name, efs[position])
                    if not _search_slice(index, key[1], truth, first, visible, taken.setdefault(key, _Taken())):
                        unable.add(index.contender.name)
        progress(f"{what}: round {number + 1} of {rounds}")
    found: dict[str, list[Point]] = {index.contender.name: [] for index in indexes}
    for (name, ef), one in taken.items():
        if name not in unable:
            found[name].append(Point(ef, one.right / len(one.ms), median(one.ms)))
    return found


def _search_slice(index: Index, ef: int, truth: Truth, first: int, visible: Path | None, taken: _Taken) -> bool:
    last = min(first + SLICE, len(truth.queries))
    if index.contender.exact:
        last = first + max(1, (last - first) // _EXACT_SHARE)
    mask = None if visible is None else str(visible)
    answer = index.ask("search", first=first, last=last, k=truth.k, ef=ef, visible=mask)
    if answer is None:
        return False
    taken.ms += answer["ms"]
    taken.right += truth.recall(first, answer["slots"]) * (last - first)
    return True
