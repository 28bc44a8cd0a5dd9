"""How many CPUs this process may use, and whether they multiply int8 exactly."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_V2_QUOTA = "cpu.max"
_V1_QUOTA, _V1_PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


def usable_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), own_cgroups: Path = Path("/proc/self/cgroup")) -> int:
    """Whole CPUs: the smallest of affinity and every cgroup quota (v2 or v1) above this process; at least 1.

    A quota of 1.5 counts as 1: a second thread would be throttled half of the time, in the middle of somebody's query.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(directory) for directory in _own_directories(cgroup_root, own_cgroups))
    return max(1, int(min([float(affinity), *(quota for quota in quotas if quota is not None)])))


def _own_directories(root: Path, own_cgroups: Path) -> list[Path]:
    """Every cgroup directory that limits this process: its own and all above it, in each hierarchy."""
    found: list[Path] = [root, root / "cpu"]
    for line in (_read(own_cgroups) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        top = root if not controllers else root / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found.extend(top.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))
    return found


def _quota(directory: Path) -> float | None:
    """CPUs granted by one cgroup directory; None where it sets no bound."""
    text = _read(directory / _V2_QUOTA)
    if text is None:
        text = f"{_read(directory / _V1_QUOTA) or ''} {_read(directory / _V1_PERIOD) or ''}"
    fields = text.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def int8_saturates(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> bool:
    """True on x86 without VNNI: there uint8 x int8 products are summed in 16 bits and can clip (vpmaddubsw).

    An x86 whose flags cannot be read counts as one: the exact path is slower, never wrong.
    """
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64", "i686"):
        return False
    flags = next((line for line in (_read(cpuinfo) or "").splitlines() if line.startswith("flags")), "")
    return not {"avx512_vnni", "avx_vnni"} & set(flags.split())
