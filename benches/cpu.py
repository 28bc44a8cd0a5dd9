"""CPU time of whole families of processes, as /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICK_MS = 1e3 / os.sysconf("SC_CLK_TCK")
_AFTER_NAME = 2
"""/proc/PID/stat from its third field on: the second, a name, may hold blanks."""
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = (field - 1 - _AFTER_NAME for field in (4, 14, 15, 16, 17))


def cpu_ms(groups: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Milliseconds of CPU each group's processes took so far, with all below them and those of them that ended and were
    waited for."""
    stats = {int(path.name): _stat(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        if stat:
            children.setdefault(int(stat[_PARENT]), []).append(pid)
    return {name: sum(_family_ms(pid, stats, children) for pid in pids) for name, pids in groups.items()}


def _stat(process: Path) -> list[str]:
    """Empty for one that has just gone."""
    try:
        return (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _family_ms(pid: int, stats: Mapping[int, list[str]], children: Mapping[int, list[int]]) -> float:
    stat = stats.get(pid)
    if not stat:
        return 0.0
    own = sum(int(stat[field]) for field in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    return own * _TICK_MS + sum(_family_ms(child, stats, children) for child in children.get(pid, ()))
